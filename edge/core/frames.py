"""WebSocket text frames as a server sends them: unmasked, unfragmented (RFC 6455, section 5.2)."""

import struct

_TEXT = 0x81
"""FIN and opcode 1."""
_MAX_SHORT = 125


def text_frame(payload: bytes) -> bytes:
    """Return `payload`, which is UTF-8, as one text frame."""
    size = len(payload)
    if size <= _MAX_SHORT:
        return struct.pack("!BB", _TEXT, size) + payload
    if size < 2**16:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload


def frame_payload(frame: bytes) -> bytes:
    """Return what `text_frame` was given."""
    match frame[1]:
        case 126:
            return frame[4:]
        case 127:
            return frame[10:]
        case _:
            return frame[2:]
