"""Frames of every length, however their headers arrive, and what is between them."""

import pytest

from edge.core.websocket.close_codes import Close
from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import FrameReader, Message, ProtocolViolation
from tests.support.websocket_frames import CLOSE, TEXT, client_frame

MAX_BYTES = 100_000
HEADER = 14
"""Bytes of the longest header with its mask."""


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 70_000, MAX_BYTES])
def test_a_frame_of_any_length_is_read_wherever_its_header_is_cut(size: int) -> None:
    payload = (b"%05d" % size * (size // 5 + 1))[:size]
    data = client_frame(TEXT, payload)
    for cut in range(HEADER + 1):
        reader = FrameReader(MAX_BYTES)
        came = [*reader.feed(data[:cut]), *reader.feed(data[cut:] + data)]
        assert came == [Message(Opcode.TEXT, payload)] * 2


@pytest.mark.parametrize(("limit", "header"), [(1_000, 4), (66_000, 10)])
def test_a_frame_that_is_too_large_is_refused_when_its_length_is_there(
    limit: int, header: int
) -> None:
    data = client_frame(TEXT, b"x" * (limit + 1))
    reader = FrameReader(limit)
    assert list(reader.feed(data[: header - 1])) == []
    with pytest.raises(ProtocolViolation) as violated:
        list(reader.feed(data[header - 1 : header]))
    assert violated.value.close == Close(1009, "message too large")


@pytest.mark.parametrize("bits", [16, 32, 56, 63])
def test_every_byte_of_a_length_counts(bits: int) -> None:
    with pytest.raises(ProtocolViolation) as violated:
        list(FrameReader(2**16 - 1).feed(b"\x81\xff" + (2**bits).to_bytes(8)))
    assert violated.value.close == Close(1009, "message too large")


def test_a_client_may_close_in_the_middle_of_a_message() -> None:
    data = client_frame(0x01, b"begun") + client_frame(CLOSE, b"\x03\xe8")
    assert list(FrameReader(MAX_BYTES).feed(data)) == [None, Message(Opcode.CLOSE, b"\x03\xe8")]


def test_messages_that_are_abandoned_leave_nothing_behind() -> None:
    """Not the beginning of the first of them either."""
    reader = FrameReader(MAX_BYTES)
    whole = client_frame(TEXT, b"hello")
    assert list(reader.feed(whole[:4])) == []
    messages = reader.feed(whole[4:] + whole)
    assert next(messages) == Message(Opcode.TEXT, b"hello")
    del messages
    assert list(reader.feed(whole)) == [Message(Opcode.TEXT, b"hello")]
