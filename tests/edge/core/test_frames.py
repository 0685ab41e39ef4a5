"""Text frames, read back by an independent implementation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from edge.core.frames import frame_payload, text_frame


def read_back(data: bytes) -> Frame:
    """Parse `data` as a client does; it must be one frame and nothing more."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parser = Frame.parse(reader.read_exact, mask=False)
    try:
        while True:
            next(parser)
    except StopIteration as parsed:
        frame: Frame = parsed.value
    at_end = reader.at_eof()
    with pytest.raises(StopIteration) as end:
        next(at_end)
    assert end.value.value, "bytes are left over"
    return frame


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8100"),
        (1, "8101"),
        (125, "817d"),
        (126, "817e007e"),
        (127, "817e007f"),
        (65535, "817effff"),
        (65536, "817f0000000000010000"),
        (2**20, "817f0000000000100000"),
    ],
)
def test_the_header_at_the_boundaries_of_the_length(size: int, header: str) -> None:
    payload = b"x" * size
    frame = text_frame(payload)
    assert frame[: len(frame) - size].hex() == header
    assert frame_payload(frame) == payload
    parsed = read_back(frame)
    assert (parsed.opcode, parsed.fin, bytes(parsed.data)) == (Opcode.TEXT, True, payload)


@given(st.text(st.characters(codec="utf-8"), max_size=400))
def test_any_text_is_read_back_as_it_was(text: str) -> None:
    frame = text_frame(text.encode())
    assert bytes(read_back(frame).data).decode() == text
    assert frame_payload(frame).decode() == text
