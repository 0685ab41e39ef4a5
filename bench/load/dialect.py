"""How a client talks to one kind of server: what a peer tells the load generator about itself."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from bench.load.frames import Message, split_messages

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The server's answer to it is not checked: the bare loop does not compute one."""


class Reaction(NamedTuple):
    """To a message that is not an event."""

    reply: bytes = b""
    """A whole frame, if anything."""
    is_ready_sign: bool = False
    """Whether this is what a new client waits for."""


class Dialect(Protocol):
    """One kind of server, as its clients see it. Goes to the generator's process by pickle."""

    @property
    def port(self) -> int:
        """Where the server listens."""

    @property
    def ready_signs(self) -> int:
        """So many must come until a client counts as subscribed."""

    @property
    def is_stream(self) -> bool:
        """Whether frames are only a wrapping, so that `split` is to see what they carry."""

    def opening(self, client: int) -> bytes:
        """The HTTP request with which client number `client` begins."""

    def first(self, client: int) -> bytes:
        """The frames that it sends when the WebSocket is open."""

    def split(self, buffer: bytes) -> Iterator[Message]:
        """Yield the complete messages in `buffer`."""

    def event(self, payload: bytes) -> bytes | None:
        """The JSON of the event in a message, None if it is something else."""

    def react(self, payload: bytes) -> Reaction:
        """Take a message that is not an event."""


def opening(port: int, path: str, headers: str = "") -> bytes:
    """The request that opens a WebSocket; each of `headers` ends with a line break."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        f"{headers}\r\n"
    ).encode()


class PlainDialect:
    """A server that sends every client every event, one a frame, and wants nothing from it."""

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
