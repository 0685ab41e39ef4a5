"""`FrontDoor`: every connection of our server begins here. Requests for `/ws` become `Client`s.

A WebSocket that is opened here needs no ASGI task, no scope and no second parser, which is most of
the cost of one (decision 10). `HttpConnection` serves all other requests; when one of its later
requests asks for `/ws`, it comes back through `FrontDoor.open`.
"""

import asyncio
import math
from typing import Any, cast

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from edge.core.identity.credentials import chosen_subprotocol
from edge.core.identity.request_head import RequestHead
from edge.core.session import Visitor
from edge.core.websocket.close_codes import Close, CloseCode
from edge.core.websocket.frames import close_frame
from edge.core.websocket.handshake import (
    BadHandshake,
    accept,
    is_upgrade,
    offers_deflate,
    response,
)
from edge.websocket.arrivals import Arrival
from edge.websocket.client import Client
from edge.websocket.descriptor_guard import OperationsOnly
from edge.websocket.endpoint import Application, ClientEndpoint
from edge.websocket.http_connection import ENTRANCE, Entrance, HttpConnection
from edge.websocket.identification import HandshakeRefused
from edge.websocket.reception import Reception
from edge.websocket.request_bounds import MAX_HEAD_BYTES
from edge.websocket.transports import half_close, is_encrypted

STATE = "event_relay.endpoint"
"""The name of the endpoint in the application's lifespan state."""


class FrontDoor(asyncio.Protocol):
    """A connection until its first request is complete, or its WebSocket is open.

    Bounds: a first request within `ARRIVAL_TIMEOUT_S` and `MAX_HEAD_BYTES`. While it waits to be
    opened, the connection is not read.
    """

    _transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        arrival: Arrival | None = None,
    ) -> None:
        """The arguments are those with which uvicorn builds its HTTP protocol, and the arrival of
        a connection that has entered already."""
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop
        self._endpoint: ClientEndpoint = app_state[STATE]
        self._entrance: Entrance = app_state.get(ENTRANCE, Entrance())
        self._received = b""
        """The bytes so far of the request; then those behind it."""
        self._request = RequestHead()
        self._is_opening = False
        """Whether the request was complete and asked for a WebSocket."""
        self._is_paused = False
        """Whether reading waits for the WebSocket to be opened."""
        self._is_over = False
        """Whether the last words are written."""
        self._has_entered = arrival is not None
        self._arrival: Arrival
        if arrival is not None:
            # The connection may be lost before it is made.
            self._arrival = arrival
        self._asking: asyncio.Task[None] | None = None
        """The question to the application who it is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        if not self._has_entered:
            peer = peer_of(self._transport)
            self._arrival = self._endpoint.arrivals.enter(self._transport, peer)
        self._arrival.hold(self)
        self._arrival.expect(self.give_up_if_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the server's connections."""
        self._connections.discard(self)
        self._arrival.release(self)
        self._arrival.left()
        if self._asking is not None:
            self._asking.cancel()

    def give_way(self) -> None:
        """Cut the connection: a newer one needs its room."""
        self._transport.abort()

    def shutdown(self) -> None:
        """Close the connection. Called by uvicorn when the server stops."""
        self._transport.close()

    def give_up_if_late(self) -> None:
        """The deadline has passed: give up a request that is not whole, or cut a refused one."""
        if self._transport.get_protocol() is not self:
            return
        if self._is_over or not self._received:
            self._transport.abort()
        elif not self._is_opening:
            self._refuse(response(408, "The request did not arrive in time"))

    def data_received(self, data: bytes) -> None:
        """Gather the first request; hand every request but one for `/ws` to uvicorn at once."""
        if self._is_over:
            return
        self._received += data
        received = self._received
        if self._is_opening:
            return
        request_line = b"GET " + self._entrance.path.encode()
        start = received[: len(request_line) + 1]
        if start not in (request_line + b" ", request_line + b"?"):
            if not request_line.startswith(start):
                self._hand_over()
            return
        end = received.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end >= 0:
            self._take_request(received[: end + 4], received[end + 4 :])
        elif len(received) > MAX_HEAD_BYTES:
            self._refuse(response(431, "The request's headers are too large"))

    def open(self, transport: asyncio.Transport, request: RequestHead, rest: bytes) -> None:
        """Open a WebSocket on a connection that was used before; `rest` follows the request."""
        self._transport = transport
        self._connections.add(self)
        transport.set_protocol(self)
        self._admit(request, rest)

    @property
    def _connections(self) -> set[Any]:
        """The server's connections; at a shutdown, uvicorn calls `shutdown` of each."""
        return self._server_state.connections

    def _take_request(self, head: bytes, rest: bytes) -> None:
        request = RequestHead(is_encrypted=self._is_encrypted)
        parser = httptools.HttpRequestParser(request)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self._hand_over()
            return
        if is_upgrade(parser.get_method(), request.headers):
            request.version = parser.get_http_version()
            self._admit(request, rest)
        else:
            self._hand_over()

    def _admit(self, request: RequestHead, rest: bytes) -> None:
        """Open the WebSocket now or in a later turn, unless the wait is too long already."""
        self._request = request
        self._received = rest
        self._is_opening = True
        self._arrival.release(self)
        party = self._endpoint.arrivals.party(request, peer_of(self._transport))
        if self._arrival.refusal is not None:
            self._turn_away(self._arrival.refusal)
        elif (wait_s := self._endpoint.overload_s(party)) is not None:
            # The wait tells when to come back.
            reason = f"overloaded, retry in {math.ceil(wait_s)} s"
            self._turn_away(CloseCode.TRY_AGAIN_LATER.close(reason))
        else:
            if not self._endpoint.requests.run(self._open_or_abort, party):
                self._pause()

    def _open_or_abort(self) -> None:
        try:
            self._open()
        except Exception:
            self._transport.abort()
            raise

    def _open(self) -> None:
        request, transport, endpoint = self._request, self._transport, self._endpoint
        if transport.is_closing():
            return
        compresses = endpoint.settings.compression and offers_deflate(request.headers)
        try:
            subprotocol, version = chosen_subprotocol(request), request.version
            opening = accept(request.headers, subprotocol, compress=compresses, version=version)
            if endpoint.application is not None:
                self._ask(endpoint.application, opening, compresses)
                return
            visitor = endpoint.identify(request, peer_of(transport))
        except BadHandshake as bad:
            self._refuse(bad.response)
        except HandshakeRefused as refused:
            self._refuse(response(refused.status, refused.detail, refused.headers))
        else:
            self._enter(opening, visitor, compresses=compresses)

    @property
    def _reception(self) -> Reception:
        """How uvicorn would call the application."""
        return Reception(
            cast(ASGIApp, self._config.loaded_app),
            self._app_state,
            "wss" if self._is_encrypted else "ws",
            self._config.root_path,
        )

    @property
    def _is_encrypted(self) -> bool:
        return is_encrypted(self._transport)

    def _pause(self) -> None:
        """Read nothing until the WebSocket is open."""
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _ask(self, application: Application, opening: bytes, compresses: bool) -> None:
        """Let the application say who it is. Meanwhile the connection is not read."""

        async def ask() -> None:
            try:
                visitor = await application.visitor(
                    self._request, peer_of(self._transport), self._reception
                )
            except HandshakeRefused as refused:
                if not self._transport.is_closing():
                    self._refuse(response(refused.status, refused.detail, refused.headers))
            else:
                if not self._transport.is_closing():
                    self._enter(opening, visitor, compresses=compresses)

        self._pause()
        self._asking = asyncio.create_task(ask())

    def _enter(self, opening: bytes, visitor: Visitor, *, compresses: bool) -> None:
        transport, endpoint = self._transport, self._endpoint
        self._connections.discard(self)
        client = Client(
            transport, endpoint.client_services, self._connections, opening, compresses=compresses
        )
        arrival = self._arrival
        if not arrival.is_counted:
            # A proxy may tell whose connection this is.
            arrival = endpoint.arrivals.of_request(self._request, peer_of(transport))
        if self._is_paused:
            # Before a function of the application may pause it for itself.
            transport.resume_reading()
        endpoint.open(client, visitor, arrival)
        if self._received:
            client.data_received(self._received)

    def _turn_away(self, close: Close) -> None:
        """Open the WebSocket only to close it with a code: browsers hide HTTP errors."""
        try:
            request = self._request
            subprotocol = chosen_subprotocol(request)
            opening = accept(request.headers, subprotocol, version=request.version)
        except BadHandshake as bad:
            self._refuse(bad.response)
            return
        self._end_with(opening + close_frame(self._endpoint.turned_away(close)))

    def _refuse(self, answer: bytes) -> None:
        self._endpoint.handshake_refused()
        self._arrival.release(self)
        self._end_with(answer)

    def _end_with(self, last_words: bytes) -> None:
        self._is_over = True
        self._transport.write(last_words)
        half_close(self._transport)
        self._arrival.expect(self.give_up_if_late)

    def _hand_over(self) -> None:
        """Let uvicorn's HTTP have the connection from its first byte."""
        self._connections.discard(self)
        received, self._received = self._received, b""
        protocol = HttpConnection(
            self._config,
            self._server_state,
            self._app_state,
            self._loop,
            self.open,
            self._arrival,
        )
        self._arrival.release(self)
        if self._arrival.refusal is not None:
            protocol.app = OperationsOnly(protocol.app, self._entrance.path)
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        protocol.data_received(received)


def peer_of(transport: asyncio.Transport) -> str | None:
    """Return the address of the other end; None on a Unix socket."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) and name else None
