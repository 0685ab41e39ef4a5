"""`HttpConnection`: uvicorn's HTTP, which gives requests for `/ws` back to the front door.

Such a request comes behind others on a connection that is kept alive (a proxy with a pool of
connections), or in a form that the front door does not look for (`/%77s`, a leading line break).
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from edge.core.identity.request_head import RequestHead
from edge.core.websocket.handshake import is_host, is_upgrade, response
from edge.websocket.arrivals import Arrival
from edge.websocket.request_bounds import MAX_BODY_BYTES, MAX_WAITING_REQUESTS, RequestBounds
from edge.websocket.transports import half_close

ENTRANCE = "event_relay.entrance"
"""The name of the `Entrance` in the application's lifespan state; without one, the edge is at the
root."""


PUBLISH_PATH = "/api/events"
"""Where requests are larger than elsewhere, below the place of the edge."""


class Entrance(NamedTuple):
    """Where the edge is in the application that the server serves."""

    path: str = "/ws"
    max_body_bytes: int | None = MAX_BODY_BYTES
    """Of any request; None where other routes than the edge's have bodies of their own."""
    max_publish_bytes: int = MAX_BODY_BYTES
    """Of a request to publish."""

    def body_bytes_at(self, path: str | None) -> int | None:
        """Return the bytes that the body of a request at `path` may have."""
        is_publish = path is not None and path == f"{self.path.removesuffix('/ws')}{PUBLISH_PATH}"
        return self.max_publish_bytes if is_publish else self.max_body_bytes


class ResponseControl:
    """The end of a response that may go on for long, for both sides of the application."""

    __slots__ = ("abort", "shutdown")

    def __init__(self, abort: Callable[[], None]) -> None:
        self.abort: Callable[[], None] | None = abort
        """Cuts the connection; None when it is gone."""
        self.shutdown: Callable[[], None] | None = None
        """Set by a stream: called when the server stops. A slow reader is the stream's affair."""


RESPONSE = "event_relay.response"
"""The name of the `ResponseControl` in the scope of a request."""

MAX_EARLY_BYTES = 64 * 1024
"""Bytes behind a request for `/ws` that waits for earlier responses; with more the connection is
cut."""


MAX_DISCARDED_BYTES = 16 * 1024 * 1024
"""Bytes that are read behind a refusal, so that a client which sends all before it reads gets it.
With more, the connection is not read any more until it is cut."""
MAX_UNREAD_DEADLINES = 12
"""Deadlines, 10 s apart, for the client to read all of a response of the edge's own routes."""
BODILESS = (b"GET", b"HEAD", b"OPTIONS", b"TRACE")
"""Methods whose requests have no body at the edge's own routes."""

_BAD_HOST = response(400, "One header Host is required")
_HEAD_TOO_LARGE = response(431, "The request's headers are too large")
_BODY_TOO_LARGE = response(413, "The request's body is too large")


class HttpConnection(HttpToolsProtocol):
    """A connection that began with an ordinary request.

    It overrides methods of uvicorn's protocol: the test for an upgrade, the handling of one, the
    two calls that tell when no earlier response is left to send, and those by which a request
    arrives, to give up one that is too large (431, 413) or never whole (408). A response that is
    never read is given up too.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None,
        open_websocket: Callable[[asyncio.Transport, RequestHead, bytes], None],
        arrival: Arrival,
    ) -> None:
        """`open_websocket` gets the transport, the request, and the bytes behind it. The deadlines
        of `arrival` bound the time for a request: it is given up at the second one that finds it
        unfinished."""
        super().__init__(config, server_state, app_state, _loop)
        self._open_websocket = open_websocket
        self._arrival = arrival
        self._data = b""
        """The bytes that are being parsed."""
        self._is_upgrading = False
        """Whether a request for `/ws` was read, behind which nothing is HTTP."""
        self._early = b""
        """The bytes behind that request."""
        self._entrance: Entrance = app_state.get(ENTRANCE, Entrance())
        self._bounds = RequestBounds(self._entrance.max_body_bytes)
        self._is_over = False
        """Whether the last words are written, and nothing more is read."""
        self._discarded_bytes = 0
        self._unread_bytes = 0
        """Bytes of responses that the kernel had not taken at the last deadline."""
        self._unread_deadlines = 0
        """Deadlines in a row that found such bytes."""
        self._response = ResponseControl(lambda: None)
        self._answered: RequestResponseCycle | None = None
        """The request that the application answers. Others may wait behind it."""

    @property
    def is_receiving(self) -> bool:
        """Whether a part of a request has arrived, and the rest may come."""
        return self._bounds.is_unfinished and not self._is_over

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._arrival.hold(self)
        self._arrival.expect(self.give_up_if_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application; uvicorn tells only the one that answers the newest request."""
        if self._answered is not None and not self._answered.response_complete:
            _disconnect(self._answered)
        self._answered = None
        self._arrival.release(self)
        self._arrival.left()
        self._response.abort = self._response.shutdown = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse requests, up to one for `/ws`."""
        if self._is_over:
            self._discard(len(data))
            return
        if self._is_upgrading:
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES:
                self.transport.abort()
            return
        self._data = data
        self._bounds.begin(len(data))
        super().data_received(data)
        self._data = b""
        if not self._is_over and self._bounds.head_is_too_large:
            self._give_up(_HEAD_TOO_LARGE)
        elif not self._is_over and self._bounds.body_is_too_large:
            self._give_up(_BODY_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins. Called by httptools, as those below."""
        if not self._is_over:
            self._bounds.is_unfinished = True
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Refuse a URL that is too large."""
        if self._take_header(len(url)):
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse a head that is too large, and skip the trailers of a body."""
        # Trailers would count as headers, and no bound of uvicorn is on their number.
        if not self._bounds.is_in_body and self._take_header(len(name) + len(value)):
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse a body that is announced as too large, and one request too many at once."""
        if self._is_over:
            return
        self._bounds.head_is_complete(self._body_bytes())
        sizes = [int(value) for name, value in self.headers if name == b"content-length"]
        if len(self.pipeline) >= MAX_WAITING_REQUESTS:
            # The connection is cut: an answer would come before those to earlier requests.
            self._give_up(b"")
        elif not self._names_one_host():
            self._give_up(_BAD_HOST)
        elif not all(map(self._bounds.allows_body, sizes)):
            self._give_up(_BODY_TOO_LARGE)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Refuse a body that becomes too large."""
        if self._is_over:
            return
        self._bounds.body_bytes += len(body)
        if self._bounds.body_is_too_large:
            self._give_up(_BODY_TOO_LARGE)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._is_over:
            self._bounds.is_complete()
            self._arrival.release(self)
            super().on_message_complete()

    def give_way(self) -> None:
        """Cut the connection, on which nothing is being answered: a newer one needs its room."""
        self.transport.abort()

    def give_up_if_late(self) -> None:
        """A deadline has passed: give up a request that does not become whole, or a response of
        which the client has read nothing since the last deadline."""
        if self.transport.get_protocol() is not self:
            return
        unread_bytes = self.transport.get_write_buffer_size()
        if self._is_read_too_slowly(unread_bytes) or (
            self._is_over and not self.transport.is_closing()
        ):
            self.transport.abort()
        elif self.transport.is_closing() and not unread_bytes:
            return
        elif not self._is_over and self._bounds.is_late():
            self._give_up(response(408, "The request did not arrive in time"))
        else:
            self._arrival.expect(self.give_up_if_late)

    def _is_read_too_slowly(self, unread_bytes: int) -> bool:
        """Whether nothing was read of a response since the last deadline, or it lasts too long."""
        is_stuck = unread_bytes > 0 and unread_bytes == self._unread_bytes
        self._unread_bytes = unread_bytes
        self._unread_deadlines = self._unread_deadlines + 1 if unread_bytes else 0
        # An application's own routes may send files of any size.
        is_bounded = self._entrance.max_body_bytes is not None
        is_slow = is_bounded and self._unread_deadlines > MAX_UNREAD_DEADLINES
        # An event stream has the bounds of slow clients instead.
        return (is_stuck or is_slow) and self._response.shutdown is None

    def shutdown(self) -> None:
        """Let a response end, but wait for no request. Called by uvicorn when the server stops."""
        if self._response.shutdown is not None:
            self._response.shutdown()
        if self.is_receiving and self._may_answer:
            self._give_up(response(503, "The edge is shutting down"))
            self.transport.close()
        else:
            super().shutdown()

    def _give_up(self, answer: bytes) -> None:
        """Answer, unless an earlier response is not complete, and read nothing more."""
        cycle, may_answer = self.cycle, self._may_answer
        self._arrival.count_refusal(int(answer[9:12] or 0))
        self._is_over = True
        if cycle is not None and not cycle.response_complete:
            _disconnect(cycle)
        if not may_answer:
            self.transport.abort()
            return
        self._end_with(answer)

    def _end_with(self, last_words: bytes) -> None:
        """Write nothing more than this, and take notice of nothing that still comes."""
        self._is_over = True
        self.transport.write(last_words)
        half_close(self.transport)
        # Not later than at the next deadline.
        self._arrival.expect(self.give_up_if_late)

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > MAX_DISCARDED_BYTES:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, but not within a response to an earlier request.

        Called by uvicorn, also for the bytes behind a request that is refused already.
        """
        if not self._is_over:
            self._give_up(response(400, msg))

    def handle_websocket_upgrade(self) -> None:
        """Open a WebSocket at `/ws`; uvicorn and the application refuse other paths.

        Called by uvicorn while it handles `HttpParserUpgrade`.
        """
        if self._is_over:
            return
        if _path(self.url) != self._entrance.path:
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
        answered = self._answered
        if answered is self.cycle and answered is not None and answered.more_body:
            # The answer came before the body: no route wants it.
            if not self.transport.is_closing():
                self._end_with(b"")
            return
        super().on_response_complete()
        if self._is_idle() and not self.transport.is_closing():
            self._arrival.hold(self)
        if self._is_upgrading and self._is_idle() and not self.transport.is_closing():
            self._open()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        self._response = ResponseControl(self.transport.abort)
        cast(dict[str, Any], cycle.scope)[RESPONSE] = self._response
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        """Return whether the request is for a WebSocket, by the same rule as the front door."""
        return is_upgrade(self.parser.get_method(), self._head().headers)

    @property
    def _may_answer(self) -> bool:
        """Whether the next response is that to the unfinished request, and has not begun."""
        if self._is_idle():
            return True
        return self.cycle.more_body and not self.cycle.response_started and not self.pipeline

    def _body_bytes(self) -> int | None:
        """Return the bytes that the body of this request may have; None for any number."""
        most = self._entrance.body_bytes_at(_path(self.url))
        return 0 if most is not None and self.parser.get_method() in BODILESS else most

    def _names_one_host(self) -> bool:
        """Whether the header `Host` is as HTTP/1.1 demands (RFC 9112, section 3.2)."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if not hosts and self.parser.get_http_version() == "1.0":
            return True
        return len(hosts) == 1 and (not hosts[0] or is_host(hosts[0].decode("latin-1")))

    def _take_header(self, size_bytes: int) -> bool:
        if not self._is_over and not self._bounds.take_header(size_bytes):
            self._give_up(_HEAD_TOO_LARGE)
        return not self._is_over

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _open(self) -> None:
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.flow.resume_reading()
        # They refer to us. uvicorn breaks that circle in `connection_lost`, which will be
        # another protocol's; garbage is collected too rarely to leave it (see `edge.worker`).
        head = self._head()
        self._arrival.release(self)
        self.parser = self.cycle = self._answered = None  # type: ignore[assignment]
        self._open_websocket(self.transport, head, self._early)

    def _head(self) -> RequestHead:
        head = RequestHead(is_encrypted=self.scheme == "https")
        head.url = self.url
        head.version = self.parser.get_http_version()
        for name, value in self.headers:
            head.on_header(name, value)
        return head


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Have the application learn that the connection is lost."""
    cycle.disconnected = True
    cycle.message_event.set()


def _path(url: bytes) -> str | None:
    try:
        path = httptools.parse_url(url).path
    except httptools.HttpParserError:
        return None
    return None if path is None else unquote(path.decode("latin-1"))
