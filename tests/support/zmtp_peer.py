"""ZMTP 3.1 by hand: sends any bytes to one of the relay's sockets, right or wrong.

libzmq sends only what is right, reads always, and connects again by itself. Nothing here uses
`relay.zmtp`, so that a mistake there is not made here as well.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
TIMEOUT_S = 20.0


def frame(body: bytes, *, more: bool = False) -> bytes:
    """Return one frame of a message."""
    if len(body) < 256:
        return bytes((more, len(body))) + body
    return bytes((2 | more,)) + len(body).to_bytes(8, "big") + body


def message(*frames: bytes) -> bytes:
    """Return a message of `frames`."""
    last = len(frames) - 1
    return b"".join(frame(body, more=number < last) for number, body in enumerate(frames))


def command(name: bytes, data: bytes = b"") -> bytes:
    """Return a command."""
    body = bytes((len(name),)) + name + data
    if len(body) < 256:
        return bytes((4, len(body))) + body
    return b"\x06" + len(body).to_bytes(8, "big") + body


def ready(socket_type: bytes) -> bytes:
    """Return the command that ends the handshake without encryption."""
    name = b"Socket-Type"
    property_ = bytes((len(name),)) + name + len(socket_type).to_bytes(4, "big") + socket_type
    return command(b"READY", property_)


def ping(context: bytes = b"") -> bytes:
    """Return a ping; its answer is due in 10 s."""
    return command(b"PING", b"\x00\x64" + context)


class ZmtpPeer:
    """One connection."""

    def __init__(self, endpoint: str, socket_type: bytes | None = None) -> None:
        """With `socket_type`, the handshake is made."""
        self.socket = _connected(endpoint)
        self.socket.settimeout(TIMEOUT_S)
        self._received = b""
        if socket_type is not None:
            self.send(GREETING + ready(socket_type))
            self.read_greeting()
            assert self.read_frame()[0] == 4, "the answer to READY"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`. Raises `OSError` if the relay has ended the connection."""
        self.socket.sendall(data)

    def try_send(self, data: bytes) -> bool:
        """Send as much as the relay takes until it ends the connection; return whether all."""
        try:
            self.send(data)
        except OSError:
            return False
        return True

    def read_greeting(self) -> bytes:
        """Return the relay's greeting."""
        return self._read(64)

    def read_frame(self) -> tuple[int, bytes]:
        """Return flags, without that of the size, and body of the next frame."""
        flags = self._read(1)[0]
        size = int.from_bytes(self._read(8 if flags & 2 else 1), "big")
        return flags & ~2, self._read(size)

    def read_message(self) -> list[bytes]:
        """Return the frames of the next message."""
        frames: list[bytes] = []
        while True:
            flags, body = self.read_frame()
            assert not flags & 4, "a command"
            frames.append(body)
            if not flags & 1:
                return frames

    def is_cut(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Wait until the relay has ended the connection; what it sends before is thrown away."""
        self.socket.settimeout(timeout_s)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionError("the relay has ended the connection")
            self._received += data
        taken, self._received = self._received[:size], self._received[size:]
        return taken


def _connected(endpoint: str) -> socket.socket:
    transport, _, address = endpoint.partition("://")
    if transport == "tcp":
        host, _, port = address.rpartition(":")
        return socket.create_connection((host, int(port)), TIMEOUT_S)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT_S)
    connection.connect("\0" + address[1:] if address.startswith("@") else address)
    return connection


def close_all(peers: Sequence[ZmtpPeer]) -> None:
    """End all connections."""
    for peer in peers:
        with suppress(OSError):
            peer.close()
