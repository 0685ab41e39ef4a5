"""`TlsDoor`: a connection during its TLS handshake. Behind it is the front door.

A handshake costs more than a request, so the limits of connections hold from its first moment: an
address with too many is cut before it, and one that does not end gives way like any other silence.
"""

import asyncio
import ssl
from functools import partial
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from edge.websocket.arrivals import ARRIVAL_TIMEOUT_S, Arrival, Arrivals
from edge.websocket.front_door import STATE, FrontDoor, peer_of

SHUTDOWN_TIMEOUT_S = 5.0
"""Seconds for a client to answer the end of TLS."""


class TlsDoor(asyncio.Protocol):
    """Encrypts a connection, and hands it to a `FrontDoor`."""

    _transport: asyncio.Transport
    _arrival: Arrival
    _handshake: asyncio.Task[None]

    def __init__(
        self,
        context: ssl.SSLContext,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`context` is the server's; the others are those of `FrontDoor`."""
        self._context = context
        self._arrivals: Arrivals = app_state[STATE].arrivals
        self._connections: set[Any] = server_state.connections
        self._early = b""
        """Bytes that came before TLS could read them: uvloop reads at once, even when paused."""
        self._make_door = partial(FrontDoor, config, server_state, app_state, _loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, unless its address has too many connections."""
        self._transport = cast(asyncio.Transport, transport)
        self._arrival = self._arrivals.enter(self._transport, peer_of(self._transport))
        if self._arrivals.is_excess(self._arrival, self._transport):
            self._transport.abort()
            return
        self._connections.add(self)
        self._arrival.hold(self)
        self._handshake = asyncio.get_running_loop().create_task(self._secure())

    def data_received(self, data: bytes) -> None:
        """Keep the begin of a handshake, for a turn of the loop."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended before its handshake began."""
        self._leave()

    def give_way(self) -> None:
        """Cut the connection: a newer one needs its room."""
        self._transport.abort()

    def shutdown(self) -> None:
        """Cut the connection. Called by uvicorn when the server stops."""
        self._transport.abort()

    async def _secure(self) -> None:
        door, loop = self._make_door(self._arrival), asyncio.get_running_loop()
        if self._transport.is_closing():
            self._leave()
            return
        # Behind the callbacks by which TLS takes the transport over.
        loop.call_soon(loop.call_soon, self._feed)
        try:
            transport = await loop.start_tls(
                self._transport,
                door,
                self._context,
                server_side=True,
                ssl_handshake_timeout=ARRIVAL_TIMEOUT_S,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )
        except OSError:
            # No handshake, a wrong one, or none in time: strangers cause this.
            transport = None
        if transport is None:
            self._transport.abort()
            self._leave()
            return
        self._connections.discard(self)
        self._arrival.release(self)
        door.connection_made(transport)

    def _feed(self) -> None:
        """Hand TLS what came early."""
        early, self._early = memoryview(self._early), b""
        taker = cast(asyncio.BufferedProtocol, self._transport.get_protocol())
        while early:
            room = memoryview(taker.get_buffer(len(early)))
            size = min(len(room), len(early))
            room[:size] = early[:size]
            taker.buffer_updated(size)
            early = early[size:]

    def _leave(self) -> None:
        self._connections.discard(self)
        self._arrival.release(self)
        self._arrival.left()
