"""`Boxes`: encrypts and decrypts the frames of one connection (RFC 26; X25519, XSalsa20, Poly1305).

The relay opens and seals every frame of every event. PyNaCl's functions for that copy each text
three times, so libsodium is called through the module that PyNaCl compiles, without a function call
of ours for a frame: 1.2 µs for one of 200 bytes instead of 2.1.
"""

from typing import Any

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import COMMAND, LONG, MAX_SHORT_BYTES, MORE

BOX_BYTES = 16
"""By which an encrypted text is longer."""
KEY_BYTES = 32
NONCE_BYTES = 8
"""Of a nonce on the wire; 16 bytes that both sides know stand before it."""
MESSAGE = b"\7MESSAGE"
_HEAD_BYTES = len(MESSAGE) + NONCE_BYTES
_OURS = b"CurveZMQMESSAGES"
_THEIRS = b"CurveZMQMESSAGEC"
_BUFFER_BYTES = 4096
"""Longer texts go through PyNaCl's functions, where the time for the cipher counts."""
_FLAGS = (0, MORE, COMMAND, MORE | COMMAND)
"""Of a frame, by the first byte of its text."""
_SHORT_HEADS = [bytes((0, size)) + MESSAGE for size in range(MAX_SHORT_BYTES + 1)]

try:
    from nacl._sodium import ffi, lib
except ImportError:  # pragma: no cover - not with the locked version
    ffi = lib = None


class Boxes:
    """The traffic of one connection, of which `key` is the shared key."""

    def __init__(self, key: bytes, received: int = 0) -> None:
        """`received` is the nonce of the peer's last message, with another key."""
        # libsodium reads 32 bytes, however many there are.
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._key = key
        # Of this connection: libsodium runs without Python's lock, and other relays may run in
        # other threads.
        self._buffer: Any = ffi and ffi.new("unsigned char[]", _BUFFER_BYTES)
        self._view: Any = ffi and ffi.buffer(self._buffer)
        self._received = received.to_bytes(NONCE_BYTES, "big")
        """The greatest nonce of the peer. In this order of bytes a greater number is greater."""
        self._sent = 0

    def open_handshake(self, box: bytes, prefix: bytes, nonce: bytes) -> bytes:
        """Return the text in a box of the handshake. Raises `CryptoError`."""
        if nonce <= self._received:
            raise CryptoError("a nonce comes again")
        self._received = nonce
        return sodium.crypto_box_open_afternm(box, prefix + nonce, self._key)

    def seal_handshake(self, text: bytes, prefix: bytes) -> bytes:
        """Return the next nonce, and `text` in a box of the handshake."""
        self._sent += 1
        nonce = self._sent.to_bytes(NONCE_BYTES, "big")
        return nonce + sodium.crypto_box_afternm(text, prefix + nonce, self._key)

    def seal(self, packed: bytes) -> bytes:
        """Return the encrypted frames of messages of `pack_message`, or of a command."""
        key, buffer, view, seal = self._key, self._buffer, self._view, self._seal
        parts: list[bytes] = []
        position, number, end = 0, self._sent, len(packed)
        while position < end:
            flags = packed[position]
            if flags & LONG:
                start = position + 9
                position = start + int.from_bytes(packed[position + 1 : start], "big")
            else:
                start = position + 2
                position = start + packed[position + 1]
            number += 1
            nonce = number.to_bytes(NONCE_BYTES, "big")
            kind = b"\1" if flags & MORE else b"\2" if flags & COMMAND else b"\0"
            text = kind + packed[start:position]
            size = len(text) + BOX_BYTES
            if lib is None or size > _BUFFER_BYTES:
                box = sodium.crypto_box_afternm(text, _OURS + nonce, key)
            else:
                seal(buffer, text, len(text), _OURS + nonce, key)
                box = view[:size]
            size += _HEAD_BYTES
            if size <= MAX_SHORT_BYTES:
                parts += (_SHORT_HEADS[size], nonce, box)
            else:
                parts += (b"\2", size.to_bytes(8, "big"), MESSAGE, nonce, box)
        self._sent = number
        return b"".join(parts)

    def open(self, frames: list[list[bytes]]) -> list[tuple[int, bytes]]:
        """Return flags and body of each encrypted frame; of `frames`, each is alone in its list.

        Raises `ZmtpError`.
        """
        key, buffer, view, open_box = self._key, self._buffer, self._view, self._open
        opened: list[tuple[int, bytes]] = []
        received = self._received
        for [frame] in frames:
            size = len(frame) - _HEAD_BYTES
            if size <= BOX_BYTES or frame[:8] != MESSAGE:
                raise ZmtpError("invalid_frame", "a frame is not encrypted")
            nonce = frame[8:16]
            if nonce <= received:
                raise ZmtpError("invalid_frame", "a frame comes again")
            received = nonce
            if lib is None or size > _BUFFER_BYTES:
                text = self._open_large(frame[16:], nonce)
                opened.append((_FLAGS[text[0] & 3], text[1:]))
            elif open_box(buffer, frame[16:], size, _THEIRS + nonce, key):
                raise _not_opened()
            else:
                opened.append((_FLAGS[buffer[0] & 3], view[1 : size - BOX_BYTES]))
        self._received = received
        return opened

    def _open_large(self, box: bytes, nonce: bytes) -> bytes:
        try:
            return sodium.crypto_box_open_afternm(box, _THEIRS + nonce, self._key)
        except CryptoError:
            raise _not_opened() from None

    _seal = staticmethod(lib and lib.crypto_box_easy_afternm)
    _open = staticmethod(lib and lib.crypto_box_open_easy_afternm)


def _not_opened() -> ZmtpError:
    """Return a new error: one that is raised again keeps every frame that it has passed."""
    return ZmtpError("invalid_frame", "a frame cannot be decrypted")
