"""The protocol of one kind of server, as the load generator's clients speak it."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from bench.load.frames import Message, split_messages

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The same key for all: the server's answer is not checked, because the bare loop sends none."""


class Reaction(NamedTuple):
    """The reaction to a message that is not an event."""

    reply: bytes = b""
    """A whole frame to send, or nothing."""
    is_ready_sign: bool = False
    """Whether a new client waits for this message."""


class Dialect(Protocol):
    """One kind of server, as its clients see it. Pickled for the generator's process."""

    @property
    def port(self) -> int:
        """The port of the server."""

    @property
    def ready_signs(self) -> int:
        """Number of signs after which a client counts as subscribed."""

    @property
    def is_stream(self) -> bool:
        """Whether frames only wrap a stream of bytes, so that `split` gets their payloads."""

    def opening(self, client: int) -> bytes:
        """Return the HTTP request of client number `client`."""

    def first(self, client: int) -> bytes:
        """Return the frames that client number `client` sends when the WebSocket is open."""

    def split(self, buffer: bytes) -> Iterator[Message]:
        """Yield the complete messages in `buffer`."""

    def event(self, payload: bytes) -> bytes | None:
        """Return the JSON of the event in a message; None if it is no event."""

    def react(self, payload: bytes) -> Reaction:
        """Return the reaction to a message that is not an event."""


def opening(port: int, path: str, headers: str = "") -> bytes:
    """Return the request that opens a WebSocket; each of `headers` ends with a line break."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        f"{headers}\r\n"
    ).encode()


class PlainDialect:
    """A server that sends every event to every client, one a frame, and expects no message."""

    ready_signs = 0
    is_stream = False

    def __init__(self, port: int, path: str = "/") -> None:
        self.port = port
        self._path = path

    def opening(self, client: int) -> bytes:
        """See `Dialect`."""
        return opening(self.port, self._path)

    def first(self, client: int) -> bytes:
        """See `Dialect`."""
        return b""

    def split(self, buffer: bytes) -> Iterator[Message]:
        """See `Dialect`."""
        return split_messages(buffer)

    def event(self, payload: bytes) -> bytes | None:
        """See `Dialect`."""
        return payload

    def react(self, payload: bytes) -> Reaction:
        """See `Dialect`."""
        return Reaction()
