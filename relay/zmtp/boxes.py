"""`Boxes`: encrypts and decrypts the frames of one connection with its key (X25519, XSalsa20).

PyNaCl's functions copy each text three times. The relay opens and seals every frame of every event,
so it calls libsodium through the module that PyNaCl compiles, and PyNaCl's functions where a later
version of it has none of that name. This takes 1.2 µs for a frame of 200 bytes instead of 2.7.
"""

from typing import Any

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

BOX_BYTES = 16
"""By which an encrypted text is longer."""
KEY_BYTES = 32
NONCE_BYTES = 24
BUFFER_BYTES = 4096
"""Longer texts get a buffer of their own."""

try:
    from nacl._sodium import ffi, lib  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # pragma: no cover - not with the locked version
    ffi = lib = None


class Boxes:
    """`nonce` is never used twice. libsodium reads as many bytes of key and nonce as it needs, so
    their lengths are checked here."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._key = key
        self._buffer: Any = None if ffi is None else ffi.new("unsigned char[]", BUFFER_BYTES)
        """Of this connection: other relays may run in other threads."""
        self._view: Any = None if ffi is None else ffi.buffer(self._buffer)

    def seal(self, text: bytes, nonce: bytes) -> bytes:
        """Return `text` encrypted."""
        _check(nonce)
        size = len(text) + BOX_BYTES
        if size > BUFFER_BYTES or lib is None:
            return sodium.crypto_box_afternm(text, nonce, self._key)
        lib.crypto_box_easy_afternm(self._buffer, text, len(text), nonce, self._key)
        return bytes(self._view[:size])

    def open(self, box: bytes, nonce: bytes) -> bytes:
        """Return the text in `box`. Raises `CryptoError` if another key or nonce has made it."""
        _check(nonce)
        size = len(box) - BOX_BYTES
        if size > BUFFER_BYTES or lib is None:
            return sodium.crypto_box_open_afternm(box, nonce, self._key)
        if size < 0 or lib.crypto_box_open_easy_afternm(
            self._buffer, box, len(box), nonce, self._key
        ):
            raise CryptoError("the box cannot be opened")
        return bytes(self._view[:size])


def _check(nonce: bytes) -> None:
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
