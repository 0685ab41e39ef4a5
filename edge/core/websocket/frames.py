"""WebSocket frames as a server sends them: unmasked, unfragmented (RFC 6455, section 5.2)."""

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum

from edge.core.websocket.close_codes import Close

FIN = 0x80
COMPRESSED = 0x40
"""RSV1: the message is deflated (RFC 7692, section 6)."""


class Opcode(IntEnum):
    """The type of a frame (RFC 6455, section 11.8)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_TEXT = FIN | Opcode.TEXT
_MAX_SHORT = 125
_MIN_COMPRESSED = 128
"""Bytes of a frame; compressing a shorter one gains nothing."""
_TAIL = b"\x00\x00\xff\xff"
"""The end of every flushed block. It is not sent (RFC 7692, section 7.2.1)."""


def text_frame(payload: bytes) -> bytes:
    """Return one text frame with `payload`, which must be UTF-8."""
    return _frame(_TEXT, payload)


def frame_payload(frame: bytes) -> bytes:
    """Return the payload of a frame that `text_frame` made."""
    match frame[1]:
        case 126:
            return frame[4:]
        case 127:
            return frame[10:]
        case _:
            return frame[2:]


def split_frames(data: bytes) -> Iterator[tuple[Opcode, int, bytes]]:
    """Yield opcode, size of the frame in bytes, and payload of each frame in `data`.

    The frames must be whole, and as the functions of this file make them.
    """
    start = 0
    while start < len(data):
        size, header = data[start + 1], 2
        if size > _MAX_SHORT:
            header = 4 if size == 126 else 10
            size = int.from_bytes(data[start + 2 : start + header])
        end = start + header + size
        yield Opcode(data[start] & 0x0F), header + size, data[start + header : end]
        start = end


def ping_frame(payload: bytes) -> bytes:
    """Return a ping; `payload` has at most 125 bytes."""
    return _frame(FIN | Opcode.PING, payload)


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a ping with `payload`."""
    return _frame(FIN | Opcode.PONG, payload)


def close_frame(close: Close) -> bytes:
    """Return a close frame. Code 1005 makes one without a code (RFC 6455, section 7.4.1)."""
    if close.code == 1005:
        return _frame(FIN | Opcode.CLOSE, b"")
    return _frame(FIN | Opcode.CLOSE, struct.pack("!H", close.code) + close.reason.encode()[:123])


class FrameDeflater:
    """Compresses data frames, each once however many clients receive it (RFC 7692).

    Every message is compressed by itself (`no_context_takeover`), so the same bytes suit all
    clients. Bound: `MAX_REMEMBERED_BYTES` of frames and their compressed forms; a single frame
    that is larger is remembered alone, until the next.
    """

    MAX_REMEMBERED_BYTES = 1024 * 1024

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(level=6, wbits=-zlib.MAX_WBITS)
        self._deflated: dict[bytes, bytes] = {}
        self.remembered_bytes = 0

    def deflate(self, frame: bytes) -> bytes:
        """Return `frame` compressed, or as it is when it is short."""
        if len(frame) < _MIN_COMPRESSED:
            return frame
        deflated = self._deflated.get(frame)
        if deflated is None:
            deflated = self._compress(frame)
            size = len(frame) + len(deflated)
            # Frames are fresh or never asked for again, so dropping all of them costs little.
            if self.remembered_bytes + size > self.MAX_REMEMBERED_BYTES:
                self._deflated.clear()
                self.remembered_bytes = 0
            self._deflated[frame] = deflated
            self.remembered_bytes += size
        return deflated

    def _compress(self, frame: bytes) -> bytes:
        # A full flush forgets the messages before, and is cheaper than a new compressor.
        payload = self._compressor.compress(frame_payload(frame))
        payload += self._compressor.flush(zlib.Z_FULL_FLUSH)
        return _frame(frame[0] | COMPRESSED, payload.removesuffix(_TAIL))


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size <= _MAX_SHORT:
        return struct.pack("!BB", first, size) + payload
    if size < 2**16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload
