"""The client's half of CURVE (RFC 26) by hand: right by default, and wrong where a test says so.

Nothing here uses `relay.zmtp`, so that a mistake there is not made here as well.
"""

from nacl import bindings as sodium

from relay.shared.curve_keys import KeyPair

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
MORE = 1
COMMAND = 2
"""Flags inside an encrypted frame."""


def frame(body: bytes, flags: int = 0) -> bytes:
    """Return one frame on the wire: 1 for more, 4 for a command."""
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | 2,)) + len(body).to_bytes(8, "big") + body


def named(name: bytes, data: bytes = b"") -> bytes:
    """Return the body of a command."""
    return bytes((len(name),)) + name + data


def command(name: bytes, data: bytes = b"") -> bytes:
    """Return a command on the wire, not encrypted."""
    return frame(named(name, data), 4)


def split_frames(received: bytes) -> list[tuple[int, bytes]]:
    """Return the flags, without that of the size, and the body of each frame."""
    found = []
    while received:
        start = 9 if received[0] & 2 else 2
        end = start + int.from_bytes(received[1:start], "big")
        found.append((received[0] & ~2, received[start:end]))
        received = received[end:]
    return found


def command_data(received: bytes, name: bytes) -> bytes:
    """Return the data of the one command in `received`, which has this name."""
    [(flags, body)] = split_frames(received)
    assert (flags, body[: 1 + len(name)]) == (4, named(name))
    return body[1 + len(name) :]


def socket_type(kind: bytes) -> bytes:
    """Return the metadata of a socket of that type."""
    return named(b"Socket-Type", len(kind).to_bytes(4, "big") + kind)


class CurveClient:
    """One connection. A test may change every attribute before a step."""

    def __init__(self, server_key: bytes, keys: KeyPair, kind: bytes = b"DEALER") -> None:
        self.server_key = server_key
        self.keys = keys
        self.short = KeyPair(*sodium.crypto_box_keypair())
        """The key of this connection alone."""
        self.version = b"\1\0"
        self.metadata = socket_type(kind)
        self.nonce = 0
        self.cookie = b""
        self.server_short = b""
        self.vouched_client = self.short.public
        self.vouched_server = server_key
        self.vouching = keys.secret
        """The secret key with which the vouch is made."""
        self._heard = 0

    def next_nonce(self) -> bytes:
        """Return the nonce of the next command or frame."""
        self.nonce += 1
        return self.nonce.to_bytes(8, "big")

    def hello(self) -> bytes:
        """Return the data of `HELLO`: 194 bytes."""
        nonce = self.next_nonce()
        box = sodium.crypto_box(
            bytes(64), b"CurveZMQHELLO---" + nonce, self.server_key, self.short.secret
        )
        return self.version + bytes(72) + self.short.public + nonce + box

    def take_welcome(self, data: bytes) -> None:
        """Read the data of `WELCOME`."""
        text = sodium.crypto_box_open(
            data[16:], b"WELCOME-" + data[:16], self.server_key, self.short.secret
        )
        assert len(text) == 128
        self.server_short, self.cookie = text[:32], text[32:]

    def vouch(self) -> bytes:
        """Return the proof that the owner of the client's key has made this connection's."""
        nonce = b"n" * 16
        text = self.vouched_client + self.vouched_server
        box = sodium.crypto_box(text, b"VOUCH---" + nonce, self.server_short, self.vouching)
        return nonce + box

    def initiate(self, vouch: bytes | None = None) -> bytes:
        """Return the data of `INITIATE`."""
        text = self.keys.public + (self.vouch() if vouch is None else vouch) + self.metadata
        nonce = self.next_nonce()
        box = sodium.crypto_box(
            text, b"CurveZMQINITIATE" + nonce, self.server_short, self.short.secret
        )
        return self.cookie + nonce + box

    def take_ready(self, data: bytes) -> bytes:
        """Return the metadata in the data of `READY`."""
        return self._opened(b"CurveZMQREADY---", data)

    def seal(self, body: bytes, flags: int = 0) -> bytes:
        """Return the body of an encrypted frame."""
        nonce = self.next_nonce()
        text = bytes((flags,)) + body
        box = sodium.crypto_box(
            text, b"CurveZMQMESSAGEC" + nonce, self.server_short, self.short.secret
        )
        return named(b"MESSAGE", nonce + box)

    def open(self, body: bytes) -> tuple[int, bytes]:
        """Return flags and body of an encrypted frame of the server."""
        assert body.startswith(named(b"MESSAGE"))
        text = self._opened(b"CurveZMQMESSAGES", body[8:])
        return text[0], text[1:]

    def _opened(self, prefix: bytes, data: bytes) -> bytes:
        nonce = int.from_bytes(data[:8], "big")
        assert nonce > self._heard, "the server counts as well"
        self._heard = nonce
        return sodium.crypto_box_open(
            data[8:], prefix + data[:8], self.server_short, self.short.secret
        )
