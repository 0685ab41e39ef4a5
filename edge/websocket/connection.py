"""The server's side of a WebSocket on a transport: reading, pings, and the closing handshake."""

import asyncio
from typing import Any, Protocol

from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.frames import Opcode, pong_frame
from edge.core.websocket.reader import FrameReader, Message, ProtocolViolation, read_close
from edge.websocket.writer import Client, DirectClient

SHUTDOWN_TIMEOUT_S = 2.0
"""For a client to answer that the edge is shutting down."""


class Host(Protocol):
    """Who serves the clients."""

    def counted(self, client: Client) -> bool:
        """A frame has come; return whether the client may go on sending."""

    def received(self, client: Client, message: Message) -> None:
        """A whole message has come, and the connection is open."""

    def left(self, client: Client) -> None:
        """The connection has ended. Called once."""


class WebSocketConnection(asyncio.Protocol):
    """One accepted connection. What it sends goes through `client`."""

    __slots__ = ("_connections", "_has_failed", "_host", "_reader", "_transport", "client")

    def __init__(
        self,
        transport: asyncio.Transport,
        client: DirectClient,
        reader: FrameReader,
        host: Host,
        connections: set[Any],
    ) -> None:
        """Be among `connections`, the server's, from now to the end."""
        self.client = client
        self._transport = transport
        self._reader = reader
        self._host = host
        self._connections = connections
        self._has_failed = False
        """Whether what comes can no longer be understood."""
        connections.add(self)
        transport.set_protocol(self)

    def shutdown(self) -> None:
        """Called by uvicorn when the server stops: say so with 1001."""
        self.client.close(CloseCode.GOING_AWAY.close())
        asyncio.get_running_loop().call_later(SHUTDOWN_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self.client.is_heard = True
        if self._has_failed:
            return
        try:
            for message in self._reader.feed(data):
                if message is not None and message.opcode is Opcode.CLOSE:
                    self._answer_close(message.payload)
                    return
                if not self._host.counted(self.client):
                    # Whatever it still sends is not even read; the closing deadline ends it.
                    self._has_failed = True
                    self._transport.pause_reading()
                    return
                if message is not None and not self.client.closed:
                    self._take(message)
        except ProtocolViolation as violation:
            self._fail(violation)

    def pause_writing(self) -> None:
        """Called by the transport."""
        self.client.pause_writing()

    def resume_writing(self) -> None:
        """Called by the transport."""
        self.client.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport, while its socket is still its own."""
        self._connections.discard(self)
        self._host.left(self.client)

    def _take(self, message: Message) -> None:
        if message.opcode is Opcode.PING:
            self.client.answer_ping(pong_frame(message.payload))
        elif message.opcode is not Opcode.PONG:
            self._host.received(self.client, message)

    def _fail(self, violation: ProtocolViolation) -> None:
        """Say why, and wait for the peer to hang up: with something unread, the kernel would reset
        the connection, and the reason would be lost."""
        self._has_failed = True
        self.client.close(violation.close)
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _answer_close(self, payload: bytes) -> None:
        """The peer closes, or answers our close frame: nothing follows."""
        if not self.client.closed:
            try:
                close = read_close(payload)
            except ProtocolViolation as violation:
                close = violation.close
            self.client.answer_close(close)
        self._transport.close()
