"""Headers and stamps: the vectors, round trips, and any bytes at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.errors import InvalidFrame
from relay.wire.header import (
    MAX_OFFSET,
    MAX_TIME_MS,
    Header,
    Stamp,
    event_checksum,
    pack_header,
    pack_stamp,
    pack_stamps,
    unpack_header,
    unpack_stamp,
)
from tests.relay.wire.vectors import case_name, vectors

VECTORS = vectors("headers")
numbers = st.integers(0, 2**64 - 1)
offsets = st.integers(0, MAX_OFFSET)
times = st.integers(0, MAX_TIME_MS)
near_frames = st.binary(max_size=60) | st.builds(
    lambda version, rest: bytes([version]) + rest,
    st.integers(0, 3),
    st.binary(min_size=24, max_size=24) | st.binary(min_size=32, max_size=32),
)


@pytest.mark.parametrize("case", VECTORS["headers"], ids=case_name)
def test_vector_is_this_header(case: dict[str, Any]) -> None:
    header = Header(bytes.fromhex(case["emitter_id"]), case["epoch"], case["sequence"])
    assert unpack_header(bytes.fromhex(case["hex"])) == header
    assert pack_header(header).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["stamps"], ids=case_name)
def test_vector_is_this_stamp(case: dict[str, Any]) -> None:
    stamp = Stamp(case["epoch"], case["offset"], case["relayed_at"])
    assert unpack_stamp(bytes.fromhex(case["hex"])) == stamp
    assert pack_stamp(stamp).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["invalid_headers"], ids=case_name)
def test_vector_is_not_a_header(case: dict[str, str]) -> None:
    with pytest.raises(InvalidFrame) as caught:
        unpack_header(bytes.fromhex(case["hex"]))
    assert caught.value.reason == case["reason"]


@pytest.mark.parametrize("case", VECTORS["invalid_stamps"], ids=case_name)
def test_vector_is_not_a_stamp(case: dict[str, str]) -> None:
    with pytest.raises(InvalidFrame) as caught:
        unpack_stamp(bytes.fromhex(case["hex"]))
    assert caught.value.reason == case["reason"]


@given(st.binary(min_size=16, max_size=16), numbers, numbers)
def test_a_header_survives_the_wire(emitter_id: bytes, epoch: int, sequence: int) -> None:
    header = Header(emitter_id, epoch, sequence)
    assert unpack_header(pack_header(header)) == header


@given(numbers, offsets, times)
def test_a_stamp_survives_the_wire(epoch: int, offset: int, relayed_at: int) -> None:
    stamp = Stamp(epoch, offset, relayed_at)
    assert unpack_stamp(pack_stamp(stamp)) == stamp


@given(near_frames)
def test_any_bytes_are_a_header_or_an_invalid_frame(frame: bytes) -> None:
    try:
        header = unpack_header(frame)
    except InvalidFrame:
        return
    assert pack_header(header) == frame


@given(near_frames)
def test_any_bytes_are_a_stamp_or_an_invalid_frame(frame: bytes) -> None:
    try:
        stamp = unpack_stamp(frame)
    except InvalidFrame:
        return
    assert pack_stamp(stamp) == frame


@given(numbers, st.lists(offsets, max_size=3), times)
def test_stamps_of_one_batch_are_those_of_its_events(
    epoch: int, offsets: list[int], relayed_at: int
) -> None:
    stamps = [unpack_stamp(stamp) for stamp in pack_stamps(epoch, offsets, relayed_at)]
    assert stamps == [Stamp(epoch, offset, relayed_at) for offset in offsets]


def test_the_checksum_of_an_event_is_the_same_in_every_version() -> None:
    """Edge and relay compare theirs, and may be of different versions."""
    assert event_checksum(1_790_000_000_000, b"event:a", b"\x80") == 0xB7108C34
    assert event_checksum(1_790_000_000_000, b"event:a", b"\x81") != 0xB7108C34
    assert event_checksum(1_790_000_000_001, b"event:a", b"\x80") != 0xB7108C34
