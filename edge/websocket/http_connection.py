"""`HttpConnection`: uvicorn's HTTP, which gives requests for `/ws` back to the front door.

Such a request comes behind others on a connection that is kept alive (a proxy with a pool of
connections), or in a form that the front door does not look for (`/%77s`, a leading line break).
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from edge.core.identity.request_head import RequestHead
from edge.core.websocket.handshake import is_upgrade

PATH = "/ws"
MAX_EARLY_BYTES = 64 * 1024
"""Bytes behind a request for `/ws` that waits for earlier responses; with more the connection is
cut."""


class HttpConnection(HttpToolsProtocol):
    """A connection that began with an ordinary request.

    It overrides four methods of uvicorn's protocol: the test for an upgrade, the handling of one,
    and the two calls that tell when no earlier response is left to send.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None,
        open_websocket: Callable[[asyncio.Transport, RequestHead, bytes], None],
    ) -> None:
        """`open_websocket` gets the transport, the request, and the bytes behind it."""
        super().__init__(config, server_state, app_state, _loop)
        self._open_websocket = open_websocket
        self._data = b""
        """The bytes that are being parsed."""
        self._is_upgrading = False
        """Whether a request for `/ws` was read, behind which nothing is HTTP."""
        self._early = b""
        """The bytes behind that request."""

    def data_received(self, data: bytes) -> None:
        """Parse requests, up to one for `/ws`."""
        if self._is_upgrading:
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES:
                self.transport.abort()
            return
        self._data = data
        super().data_received(data)
        self._data = b""

    def handle_websocket_upgrade(self) -> None:
        """Open a WebSocket at `/ws`; uvicorn and the application refuse other paths.

        Called by uvicorn while it handles `HttpParserUpgrade`.
        """
        if not _is_path(self.url):
            super().handle_websocket_upgrade()
            return
        upgrade = sys.exception()
        assert isinstance(upgrade, httptools.HttpParserUpgrade)
        # The parser stopped behind the request. uvicorn drops the rest; it may be our frames.
        self._early = self._data[upgrade.args[0] :]
        self._is_upgrading = True
        if self._is_idle():
            self._open()
        else:
            # Pipelined: the answer must not come before, or within, the responses still to come.
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """Open the WebSocket when no earlier response is left to send. Called by uvicorn."""
        super().on_response_complete()
        if self._is_upgrading and self._is_idle() and not self.transport.is_closing():
            self._open()

    def _should_upgrade(self) -> bool:
        """Return whether the request is for a WebSocket, by the same rule as the front door."""
        return is_upgrade(self.parser.get_method(), self._head().headers)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _open(self) -> None:
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.flow.resume_reading()
        # The parser refers to us. uvicorn breaks that circle in `connection_lost`, which will be
        # another protocol's; garbage is collected too rarely to leave it (see `edge.worker`).
        self.parser = None  # type: ignore[assignment]
        self._open_websocket(self.transport, self._head(), self._early)

    def _head(self) -> RequestHead:
        head = RequestHead()
        head.url = self.url
        for name, value in self.headers:
            head.on_header(name, value)
        return head


def _is_path(url: bytes) -> bool:
    try:
        path = httptools.parse_url(url).path
    except httptools.HttpParserError:
        return False
    return path is not None and unquote(path.decode("latin-1")) == PATH
