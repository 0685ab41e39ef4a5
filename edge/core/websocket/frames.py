"""WebSocket frames as a server sends them: unmasked, unfragmented (RFC 6455, section 5.2)."""

import struct
import zlib
from enum import IntEnum

from edge.core.websocket.close_codes import Close

FIN = 0x80
COMPRESSED = 0x40
"""RSV1: the message is deflated (RFC 7692, section 6)."""


class Opcode(IntEnum):
    """What a frame is (RFC 6455, section 11.8)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_TEXT = FIN | Opcode.TEXT
_MAX_SHORT = 125
_MIN_COMPRESSED = 128
"""What is shorter gains nothing."""
_TAIL = b"\x00\x00\xff\xff"
"""Ends every flushed block, and is left out (RFC 7692, section 7.2.1)."""


def text_frame(payload: bytes) -> bytes:
    """Return `payload`, which is UTF-8, as one text frame."""
    return _frame(_TEXT, payload)


def frame_payload(frame: bytes) -> bytes:
    """Return what `text_frame` was given."""
    match frame[1]:
        case 126:
            return frame[4:]
        case 127:
            return frame[10:]
        case _:
            return frame[2:]


def ping_frame(payload: bytes) -> bytes:
    """Return a ping; `payload` has at most 125 bytes."""
    return _frame(FIN | Opcode.PING, payload)


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a ping with `payload`."""
    return _frame(FIN | Opcode.PONG, payload)


def close_frame(close: Close) -> bytes:
    """Return a close frame. A code of 1005 stands for none at all."""
    if close.code == 1005:
        return _frame(FIN | Opcode.CLOSE, b"")
    return _frame(FIN | Opcode.CLOSE, struct.pack("!H", close.code) + close.reason.encode()[:123])


class FrameDeflater:
    """Turns text frames into compressed ones, each once however many clients are sent it.

    Every message is compressed by itself (`no_context_takeover`), so all clients can be sent the
    same bytes.
    """

    MAX_REMEMBERED_BYTES = 1024 * 1024

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(level=6, wbits=-zlib.MAX_WBITS)
        self._deflated: dict[bytes, bytes] = {}
        self._remembered_bytes = 0

    def deflate(self, frame: bytes) -> bytes:
        """Return the compressed frame; a short one as it is."""
        if len(frame) < _MIN_COMPRESSED:
            return frame
        deflated = self._deflated.get(frame)
        if deflated is None:
            if self._remembered_bytes > self.MAX_REMEMBERED_BYTES:
                self._deflated.clear()
                self._remembered_bytes = 0
            deflated = self._compress(frame)
            self._deflated[frame] = deflated
            self._remembered_bytes += len(frame) + len(deflated)
        return deflated

    def _compress(self, frame: bytes) -> bytes:
        # A full flush forgets what was before, which is cheaper than another compressor.
        payload = self._compressor.compress(frame_payload(frame))
        payload += self._compressor.flush(zlib.Z_FULL_FLUSH)
        return _frame(_TEXT | COMPRESSED, payload.removesuffix(_TAIL))


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size <= _MAX_SHORT:
        return struct.pack("!BB", first, size) + payload
    if size < 2**16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload
