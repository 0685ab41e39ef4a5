"""CURVE keys: their files and their text.

A public key is shown as 64 hexadecimal digits, which need no quotes in any file or shell. The form
of ZeroMQ (Z85, 40 characters) is read as well.
"""

import contextlib
import os
import stat
import struct
import tomllib
from pathlib import Path
from typing import NamedTuple

import zmq
from zmq.utils import z85

KEY_BYTES = 32
HEX_CHARS = 2 * KEY_BYTES
Z85_CHARS = 40
MAX_FILE_BYTES = 4096
_FORM = "must be a public key: 64 hexadecimal digits, as `event-relay keys` prints them"


class KeyPair(NamedTuple):
    """A key of one process, 32 bytes for each part."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Without the secret part, which must not get into a log."""
        return f"KeyPair(public={self.public.hex()!r})"


class ClientKeys(NamedTuple):
    """The keys for connecting to a relay."""

    own: KeyPair
    relay: bytes
    """The public key that the relay has to prove."""


def new_key_pair() -> KeyPair:
    """Return a fresh key."""
    public, secret = zmq.curve_keypair()
    return KeyPair(z85.decode(public), z85.decode(secret))


def parse_public_key(text: str) -> bytes:
    """Return the key in `text`. Raises `ValueError`."""
    key = b""
    with contextlib.suppress(ValueError, KeyError, struct.error):
        if len(text) == HEX_CHARS:
            key = bytes.fromhex(text)
        elif len(text) == Z85_CHARS:
            key = z85.decode(text)
    # Hexadecimal digits may have spaces between them, and then are fewer.
    if len(key) != KEY_BYTES:
        raise ValueError(_FORM)
    return key


def write_key_file(path: Path, name: str, pair: KeyPair) -> None:
    """Write a new file that its owner alone can read. Raises `OSError`, also if it exists."""
    with open(path, "x", encoding="utf-8", opener=_open_private) as file:
        file.write(
            f'# The key of "{name}". Whoever has the secret key can speak as "{name}".\n'
            f'name = "{name}"\npublic = "{pair.public.hex()}"\nsecret = "{pair.secret.hex()}"\n'
        )


def read_key_file(path: Path) -> KeyPair:
    """Return the key in the file at `path`. Raises `ValueError`, whose text has no key."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    # Stricter than for other secrets: not even the group of a file of root's may read a key.
    if mode & 0o077 and os.name == "posix":
        raise ValueError(f"other users may use it (its mode is {mode:03o}): chmod 600 {path}")
    pair = KeyPair(b"", b"")
    if len(content) <= MAX_FILE_BYTES:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            read = tomllib.loads(content.decode())
            pair = KeyPair(bytes.fromhex(read["public"]), bytes.fromhex(read["secret"]))
    if len(pair.public) != KEY_BYTES or len(pair.secret) != KEY_BYTES:
        raise ValueError("is no key file: make one with `event-relay keys new NAME`")
    return pair


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
