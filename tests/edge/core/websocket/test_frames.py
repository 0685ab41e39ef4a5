"""Frames, read back by an independent implementation."""

import random
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from edge.core.websocket.close_codes import Close
from edge.core.websocket.frames import (
    FrameDeflater,
    close_frame,
    frame_payload,
    ping_frame,
    pong_frame,
    split_frames,
    text_frame,
)


def read_back(data: bytes, extensions: Sequence[PerMessageDeflate] = ()) -> Frame:
    """Parse `data` as a client does; it must be one frame and nothing more."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parser = Frame.parse(reader.read_exact, mask=False, extensions=extensions)
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
    assert [(size, content) for _, size, content in split_frames(frame)] == [(len(frame), payload)]


@given(st.text(st.characters(codec="utf-8"), max_size=400))
def test_any_text_is_read_back_as_it_was(text: str) -> None:
    frame = text_frame(text.encode())
    assert bytes(read_back(frame).data).decode() == text
    assert frame_payload(frame).decode() == text


@given(st.binary(max_size=125))
def test_pings_and_pongs_are_read_back(payload: bytes) -> None:
    ping, pong = read_back(ping_frame(payload)), read_back(pong_frame(payload))
    assert (ping.opcode, bytes(ping.data)) == (Opcode.PING, payload)
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, payload)


@pytest.mark.parametrize(
    "close", [Close(1001, "edge is shutting down"), Close(4013, ""), Close(1000, "ä" * 61)]
)
def test_a_close_frame_is_read_back(close: Close) -> None:
    frame = read_back(close_frame(close))
    assert frame.opcode is Opcode.CLOSE
    parsed = CloseFrame.parse(bytes(frame.data))
    assert (parsed.code, parsed.reason) == close


def test_no_code_makes_an_empty_close_frame() -> None:
    assert close_frame(Close(1005, "")) == b"\x88\x00"


def test_a_reason_is_cut_to_what_a_control_frame_may_carry() -> None:
    frame = read_back(close_frame(Close(1000, "x" * 124)))
    assert bytes(frame.data) == b"\x03\xe8" + b"x" * 123


# Compression.

texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=300),
    st.text("abc ", min_size=1, max_size=10).map(lambda text: text * 400),
).map(str.encode)


def inflater() -> PerMessageDeflate:
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,
        local_max_window_bits=15,
    )


@given(st.lists(texts, max_size=12), st.randoms())
def test_every_compressed_frame_is_read_back_by_itself_in_any_order(
    payloads: list[bytes], dice: random.Random
) -> None:
    deflater = FrameDeflater()
    frames = [(deflater.deflate(text_frame(payload)), payload) for payload in payloads * 2]
    dice.shuffle(frames)
    client = inflater()
    for frame, payload in frames:
        read = read_back(frame, [client])
        assert (read.opcode, read.fin, bytes(read.data)) == (Opcode.TEXT, True, payload)


@given(texts, st.lists(texts, max_size=5))
def test_a_frame_is_the_same_bytes_whatever_came_before(
    payload: bytes, others: list[bytes]
) -> None:
    """Also once it was forgotten: a connection may be in the middle of it."""
    deflater, fresh = FrameDeflater(), FrameDeflater()
    for other in others:
        deflater.deflate(text_frame(other))
    assert deflater.deflate(text_frame(payload)) == fresh.deflate(text_frame(payload))


def test_what_is_short_stays_as_it_is() -> None:
    frame = text_frame(b"x" * 100)
    assert FrameDeflater().deflate(frame) == frame
    long = text_frame(b"x" * 1000)
    assert len(FrameDeflater().deflate(long)) < 100


def test_what_is_remembered_is_bounded() -> None:
    """Counted by the peak of what Python allocates while it is given frames without end."""
    deflater = FrameDeflater()
    dice = random.Random(1)
    tracemalloc.start()
    try:
        for _ in range(3_000):
            deflater.deflate(text_frame(dice.randbytes(2_000).hex().encode()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * FrameDeflater.MAX_REMEMBERED_BYTES, "12 MB went through"
    assert peak > FrameDeflater.MAX_REMEMBERED_BYTES // 2, "it remembers at all"


def test_the_memory_of_compressed_frames_is_bounded_with_events_of_1_mib() -> None:
    """The newest frame is remembered however large it is: all clients are sent it."""
    deflater = FrameDeflater()
    for number in range(5):
        frame = text_frame(b"%d" % number + random.Random(number).randbytes(2**20))
        deflated = deflater.deflate(frame)
        assert deflater.deflate(frame) is deflated
        assert deflater.remembered_bytes == len(frame) + len(deflated)
    for number in range(5000):
        deflater.deflate(text_frame(b"%06d" % number * 40))
        assert deflater.remembered_bytes <= FrameDeflater.MAX_REMEMBERED_BYTES


def test_frames_that_fill_the_memory_exactly_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = [text_frame(b"%d" % number * 1_000) for number in range(3)]
    sizes = [len(frame) + len(FrameDeflater().deflate(frame)) for frame in frames]
    monkeypatch.setattr(FrameDeflater, "MAX_REMEMBERED_BYTES", sum(sizes))
    deflater = FrameDeflater()
    once = [deflater.deflate(frame) for frame in frames]
    assert all(deflater.deflate(frame) is each for frame, each in zip(frames, once, strict=True))
    deflater.deflate(text_frame(b"a byte more" * 100))
    assert deflater.deflate(frames[0]) is not once[0]


@given(st.lists(st.binary(max_size=300) | st.just(b"x" * 70_000), max_size=5))
def test_frames_are_split_as_they_were_joined(payloads: list[bytes]) -> None:
    frames = [text_frame(payload) for payload in payloads] + [ping_frame(b"!")]
    split = [
        (int(opcode), size, payload) for opcode, size, payload in split_frames(b"".join(frames))
    ]
    assert [size for _, size, _ in split] == [len(frame) for frame in frames]
    assert [payload for _, _, payload in split] == [*payloads, b"!"]
    assert [opcode for opcode, _, _ in split] == [1] * len(payloads) + [9]
