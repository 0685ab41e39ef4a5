"""Reads and writes WebSocket frames as a client, at little cost (RFC 6455, section 5.2)."""

import struct

TEXT = 0x81
"""First byte of an unfragmented text frame: FIN and opcode 1."""
CLOSE = 0x88
PING = 0x89
PONG = 0x8A

_MASKED = 0x80
_NO_MASK = b"\0\0\0\0"
"""A mask of zeros leaves the payload as it is. Masks protect proxies, and there are none here."""


def split_frames(buffer: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the complete frames in `buffer` as (first byte, payload), and the remaining bytes."""
    frames: list[tuple[int, bytes]] = []
    begin, end = 0, len(buffer)
    while end - begin >= 2:
        size = buffer[begin + 1]
        payload = begin + 2
        if size == 126:
            payload += 2
            if payload > end:
                break
            size = int.from_bytes(buffer[begin + 2 : payload])
        elif size == 127:
            payload += 8
            if payload > end:
                break
            size = int.from_bytes(buffer[begin + 2 : payload])
        after = payload + size
        if after > end:
            break
        frames.append((buffer[begin], buffer[payload:after]))
        begin = after
    return frames, buffer[begin:]


def client_frame(first: int, payload: bytes) -> bytes:
    """Return one frame as a client sends it: with a mask."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, _MASKED | size)
    elif size < 2**16:
        head = struct.pack("!BBH", first, _MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", first, _MASKED | 127, size)
    return head + _NO_MASK + payload
