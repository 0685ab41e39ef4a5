"""What uvicorn hands connections to: WebSockets are opened here, the rest is uvicorn's HTTP.

A WebSocket of ours needs no ASGI task, no scope and no second parser, which is most of what one
would cost (decision 10).
"""

import asyncio
import math
from http.cookies import CookieError
from typing import Any
from urllib.parse import parse_qsl

import httptools
from starlette.requests import cookie_parser
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.frames import close_frame
from edge.core.websocket.handshake import (
    BadHandshake,
    accept,
    is_upgrade,
    offers_deflate,
    response,
)
from edge.core.websocket.reader import FrameReader
from edge.endpoint import ClientEndpoint, Refused
from edge.websocket.connection import WebSocketConnection
from edge.websocket.writer import DirectClient

STATE = "client_endpoint"
"""The name of the endpoint in the application's lifespan state."""
REQUEST_LINE = b"GET /ws"
MAX_HEAD_BYTES = 16 * 1024


class FrontDoor(asyncio.Protocol):
    """A connection whose first request is not complete, or waits to be admitted."""

    _transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop
        self._endpoint: ClientEndpoint = app_state[STATE]
        self._head = b""
        self._request: _RequestHead | None = None
        """Set when it asks for a WebSocket."""
        self._is_waiting = False
        """To be admitted."""
        self._is_over = False
        """Whether nothing more is heard."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the server."""
        self._transport = transport  # type: ignore[assignment]
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._endpoint.arriving.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self._server_state.connections.discard(self)

    def shutdown(self) -> None:
        """Called by uvicorn when the server stops."""
        self._transport.close()

    def give_up(self) -> None:
        """It has had the time to say what it wants."""
        is_ours = self._transport.get_protocol() is self
        if is_ours and (self._request is None or self._is_over):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if self._is_over:
            return
        self._head += data
        head = self._head
        start = head[: len(REQUEST_LINE) + 1]
        if start not in (REQUEST_LINE + b" ", REQUEST_LINE + b"?"):
            if not REQUEST_LINE.startswith(start):
                self._hand_over()
            return
        end = head.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end >= 0:
            self._take_request(head[: end + 4], head[end + 4 :])
        elif len(head) > MAX_HEAD_BYTES:
            self._refuse(response(431, "The request's headers are too large"))

    def _take_request(self, head: bytes, rest: bytes) -> None:
        request = _RequestHead()
        parser = httptools.HttpRequestParser(request)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self._hand_over()
            return
        if not is_upgrade(parser.get_method(), request.headers):
            self._hand_over()
            return
        self._request = request
        self._head = rest
        if (wait_s := self._endpoint.overload_s()) is not None:
            self._send_away(request, wait_s)
        else:
            self._is_waiting = not self._endpoint.slices.run(self._open_or_abort)
            if self._is_waiting:
                self._transport.pause_reading()

    def _open_or_abort(self) -> None:
        try:
            self._open()
        except Exception:
            self._transport.abort()
            raise

    def _open(self) -> None:
        request, transport = self._request, self._transport
        assert request is not None
        if transport.is_closing():
            return
        settings = self._endpoint.settings
        compresses = settings.compression and offers_deflate(request.headers)
        try:
            opening = accept(request.headers, compress=compresses)
            visitor = self._endpoint.identify(request.headers, request.query, request.cookies)
        except BadHandshake as bad:
            self._refuse(bad.response)
            return
        except Refused as refused:
            self._refuse(response(refused.status, refused.detail, refused.headers))
            return
        client = DirectClient(transport, self._endpoint.writing, opening, compresses=compresses)
        reader = FrameReader(settings.max_message_bytes, may_compress=compresses)
        connections: set[Any] = self._server_state.connections
        connections.discard(self)
        connection = WebSocketConnection(transport, client, reader, self._endpoint, connections)
        self._endpoint.open(client, visitor)
        if self._is_waiting:
            transport.resume_reading()
        if self._head:
            connection.data_received(self._head)

    def _send_away(self, request: "_RequestHead", wait_s: float) -> None:
        """Open the WebSocket only to say when to come back."""
        try:
            opening = accept(request.headers, compress=False)
        except BadHandshake as bad:
            self._refuse(bad.response)
            return
        close = CloseCode.TRY_AGAIN_LATER.close(f"overloaded, retry in {math.ceil(wait_s)} s")
        self._endpoint.sent_away(close)
        self._part(opening + close_frame(close))

    def _refuse(self, answer: bytes) -> None:
        self._endpoint.refused()
        self._part(answer)

    def _part(self, last_words: bytes) -> None:
        """Say that, and wait for the peer to hang up: with something unread, the kernel would reset
        the connection, and the words would be lost."""
        self._is_over = True
        self._transport.write(last_words)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._endpoint.arriving.add(self)

    def _hand_over(self) -> None:
        """It is not for us: let uvicorn's HTTP have it from the beginning."""
        self._server_state.connections.discard(self)
        protocol = HttpToolsProtocol(self._config, self._server_state, self._app_state, self._loop)
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        protocol.data_received(self._head)


class _RequestHead:
    """Takes down what the parser finds."""

    __slots__ = ("headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        """Names in lower case; what comes more than once is joined."""

    @property
    def query(self) -> dict[str, str]:
        """What the URL says behind the question mark."""
        _, _, query_string = self.url.partition(b"?")
        return dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))

    @property
    def cookies(self) -> dict[str, str]:
        """What the cookie header says, as far as it can be read."""
        try:
            return cookie_parser(self.headers.get("cookie", ""))
        except CookieError:
            return {}

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self.headers.get(key)
        joint = "; " if key == "cookie" else ", "
        self.headers[key] = text if known is None else f"{known}{joint}{text}"
