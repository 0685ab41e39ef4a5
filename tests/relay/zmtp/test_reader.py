"""Bytes in, messages out: the same however they are cut, and never more in memory than allowed."""

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import COMMAND, LONG, MORE, pack_command, pack_frame, pack_message
from relay.zmtp.reader import MAX_COMMAND_BYTES, SMALL_BYTES, Bounds, ZmtpReader

BOUNDS = Bounds(kept_bytes=20_000, frame_bytes=50_000, frames=4)
CHUNK = 65_536
SIZES = st.one_of(
    st.integers(0, 300), st.sampled_from([255, 256, SMALL_BYTES, SMALL_BYTES + 1, 9_000])
)
MESSAGES = st.lists(st.lists(SIZES.map(bytes), min_size=1, max_size=4), max_size=6)


def read_all(reader: ZmtpReader, most: int = 1000) -> list[list[bytes]]:
    """Read all that can be read; a command shows as `[b"command", body]`."""
    found: list[list[bytes]] = []
    while True:
        messages = reader.read(most)
        found += messages
        if (command := reader.take_command()) is not None:
            found.append([b"command", command])
        elif not messages:
            assert not reader.has_more(), "it says that there is more, and gives nothing"
            return found


@given(MESSAGES, st.integers(1, 5), st.randoms(use_true_random=False))
def test_messages_are_the_same_however_the_bytes_are_cut(
    messages: list[list[bytes]], most: int, chance: random.Random
) -> None:
    data = b"".join(map(pack_message, messages))
    reader, found = ZmtpReader(BOUNDS._replace(kept_bytes=10**6)), []
    while data:
        size = chance.choice([1, 2, 9, 100, 4096, CHUNK])
        reader.feed(data[:size])
        data = data[size:]
        found += read_all(reader, most)
    assert found == messages
    assert reader.waiting_bytes == 0


@given(st.binary(max_size=400), st.randoms(use_true_random=False))
def test_any_bytes_have_one_result_however_they_are_cut(data: bytes, chance: random.Random) -> None:
    def outcome(sizes: list[int]) -> tuple[list[list[bytes]], str]:
        reader, found, rest = ZmtpReader(Bounds(100, 200, 2)), [], data
        while rest:
            size = chance.choice(sizes)
            reader.feed(rest[:size])
            rest = rest[size:]
            try:
                while True:
                    messages = reader.read(1)
                    found += messages
                    if (command := reader.take_command()) is not None:
                        found.append([b"command", command])
                    elif not messages:
                        break
            except ZmtpError as error:
                return found, error.reason
        return found, ""

    assert outcome([1, 2, 3, 7]) == outcome([400])


@given(
    st.lists(st.tuples(st.integers(0, 50_000), st.booleans()), max_size=12), st.integers(1, CHUNK)
)
def test_never_more_is_kept_than_the_bound_and_what_was_fed_last(
    frames: list[tuple[int, bool]], chunk: int
) -> None:
    reader = ZmtpReader(BOUNDS)
    data = b"".join(pack_frame(MORE if more else 0, bytes(size)) for size, more in frames)
    with suppress(ZmtpError):
        for position in range(0, len(data), chunk):
            reader.feed(data[position : position + chunk])
            for message in reader.read(1000):
                assert len(message) <= BOUNDS.frames
            assert reader.waiting_bytes <= BOUNDS.kept_bytes + 1 + 4 * SMALL_BYTES + 4 * chunk


def test_a_large_frame_is_cut_at_the_bound_and_the_next_message_is_whole() -> None:
    reader = ZmtpReader(BOUNDS)
    for data in (pack_message((b"topic", bytes(45_000))), pack_message((b"next",))):
        for position in range(0, len(data), 1000):
            reader.feed(data[position : position + 1000])
            assert reader.waiting_bytes <= BOUNDS.kept_bytes + 1
            if messages := reader.read(10):
                break
        (message,) = messages
        if message[0] == b"topic":
            assert sum(map(len, message)) == BOUNDS.kept_bytes + 1
    assert message == [b"next"]


def test_what_was_read_is_not_kept_in_memory() -> None:
    """A connection keeps the begin of a frame, not the 64 KiB with which it came."""
    reader = ZmtpReader(BOUNDS)
    reader.feed(pack_message((bytes(200),)) * 300 + b"\x00\x05abc")
    reader.read(1000)
    assert len(reader._unread) == reader.waiting_bytes == 5
    reader.feed(pack_message((bytes(200),)) * 300 + b"\x02" + (40_000).to_bytes(8, "big") + b"x")
    reader.read(1000)
    assert len(reader._unread) == 0
    assert reader.waiting_bytes == 1


def test_a_message_of_too_many_frames_is_refused_before_it_ends() -> None:
    reader = ZmtpReader(BOUNDS)
    reader.feed(pack_frame(MORE, b"x") * 3)
    assert reader.read(10) == []
    reader.feed(pack_frame(MORE, b"x"))
    with pytest.raises(ZmtpError, match="over 4 frames") as refused:
        reader.read(10)
    assert refused.value.reason == "too_many_frames"


def test_large_frames_count_as_well() -> None:
    reader = ZmtpReader(BOUNDS)
    part = pack_frame(MORE, bytes(10_000))
    for half in (part[:5000], part[5000:]) * 3 + (part[:5000],):
        reader.feed(half)
        assert reader.read(10) == []
    reader.feed(part[5000:])
    with pytest.raises(ZmtpError, match="over 4 frames"):
        reader.read(10)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes((LONG,)) + (50_001).to_bytes(8, "big"), "too_large"),
        (bytes((LONG,)) + b"\xff" * 8, "too_large"),
        (bytes((COMMAND | LONG,)) + (MAX_COMMAND_BYTES + 1).to_bytes(8, "big"), "too_large"),
        (bytes((COMMAND | MORE, 0)), "invalid_frame"),
        (bytes((8, 0)), "invalid_frame"),
        (bytes((0xFF, 0)), "invalid_frame"),
    ],
)
def test_a_wrong_frame_is_refused_by_its_head(data: bytes, reason: str) -> None:
    reader = ZmtpReader(BOUNDS)
    reader.feed(data)
    with pytest.raises(ZmtpError) as refused:
        reader.read(1)
    assert refused.value.reason == reason


def test_a_command_waits_until_it_is_taken() -> None:
    reader = ZmtpReader(BOUNDS)
    reader.feed(pack_message((b"a",)) + pack_command(b"PING", b"") + pack_message((b"b",)))
    assert reader.read(10) == [[b"a"]]
    assert reader.has_more()
    assert reader.read(10) == []
    assert reader.take_command() == b"\x04PING"
    assert reader.take_command() is None
    assert reader.read(10) == [[b"b"]]


def test_a_command_may_come_between_the_frames_of_a_message() -> None:
    reader = ZmtpReader(BOUNDS)
    reader.feed(pack_frame(MORE, b"a") + pack_command(b"PING", b"") + pack_frame(0, b"b"))
    assert reader.read(10) == []
    assert reader.take_command() == b"\x04PING"
    assert reader.read(10) == [[b"a", b"b"]]
