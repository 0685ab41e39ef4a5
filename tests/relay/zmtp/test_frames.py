"""The form of frames, commands and metadata, beside the form that a test writes by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.zmtp.frames import (
    COMMAND,
    LONG,
    MORE,
    pack_command,
    pack_frame,
    pack_message,
    pack_metadata,
    pack_three,
    split_command,
    unpack_metadata,
)
from tests.support import zmtp_peer

FRAMES = st.lists(st.integers(0, 600).map(bytes), min_size=1, max_size=5)


@given(FRAMES)
def test_a_message_has_the_form_of_the_specification(frames: list[bytes]) -> None:
    assert pack_message(frames) == zmtp_peer.message(*frames)


@given(st.integers(0, 255).map(bytes), st.integers(0, 255).map(bytes), st.integers(0, 600))
def test_three_frames_are_a_message_of_three_frames(first: bytes, second: bytes, last: int) -> None:
    assert pack_three(first, second, bytes(last)) == pack_message((first, second, bytes(last)))


@pytest.mark.parametrize(
    ("size", "head"), [(255, b"\x01\xff"), (256, b"\x03" + b"\0" * 6 + b"\1\0")]
)
def test_a_frame_is_long_above_255_bytes(size: int, head: bytes) -> None:
    assert pack_frame(MORE, bytes(size)) == head + bytes(size)


@given(st.binary(max_size=255), st.binary(max_size=600))
def test_a_command_is_split_into_name_and_data(name: bytes, data: bytes) -> None:
    packed = pack_command(name, data)
    assert packed == zmtp_peer.command(name, data)
    assert packed[0] & ~LONG == COMMAND
    assert split_command(packed[9 if packed[0] & LONG else 2 :]) == (name, data)


@pytest.mark.parametrize("body", [b"", b"\x05PING", b"\xff"])
def test_a_command_whose_name_ends_behind_it_has_none(body: bytes) -> None:
    assert split_command(body) == (b"", b"")


NAMES = st.binary(min_size=1, max_size=255)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=300)), unique_by=lambda each: each[0].lower()))
def test_metadata_comes_back_by_names_in_lower_case(
    properties: list[tuple[bytes, bytes]],
) -> None:
    expected = {name.lower(): value for name, value in properties}
    assert unpack_metadata(pack_metadata(properties)) == expected


@given(st.binary(max_size=60))
def test_any_metadata_is_read_or_refused(data: bytes) -> None:
    try:
        properties = unpack_metadata(data)
    except ValueError:
        return
    assert sum(5 + len(name) + len(value) for name, value in properties.items()) <= len(data)


@pytest.mark.parametrize(
    "data",
    [b"\x0bSocket-Type", b"\x01a\0\0\0\x02b", b"\0\0\0\0\0", b"\x01a\xff\xff\xff\xffb"],
)
def test_metadata_that_ends_too_early_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="behind the end"):
        unpack_metadata(data)
