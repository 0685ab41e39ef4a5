"""`DescriptorGuard`: keeps descriptors for refusals, for health and for metrics."""

import asyncio
import logging
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.core.stats import EdgeStats
from edge.scheduling.deadlines import Deadlines
from relay.shared.descriptor_room import DescriptorRoom
from relay.shared.logs import LimitedLog

REFUSAL_TIMEOUT_S = 2.0
"""Seconds for a connection on a reserved descriptor to send its request and to go."""
RETRY_AFTER_S = 5
SERVED_PATHS = ("/healthz", "/readyz", "/metrics")
"""Served on the reserved descriptors, beside `/ws`; requests for other paths get 503."""

logger = logging.getLogger(__name__)


class DescriptorGuard:
    """Judges each new connection by its descriptor, counts and logs those that are not served."""

    def __init__(
        self, room: DescriptorRoom, stats: EdgeStats, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._room = room
        self._stats = stats
        self._log = LimitedLog(logger)
        self._reserved = Deadlines[Callable[[], None]](
            loop, REFUSAL_TIMEOUT_S, lambda abort: abort(), room.backlog
        )

    def max_connections(self, configured: int) -> int:
        """Return the number of clients that this worker takes."""
        return max(0, min(configured, self._room.max_connections))

    def has_room(self, transport: asyncio.Transport) -> bool:
        """Return False for a connection on a reserved descriptor."""
        sock = transport.get_extra_info("socket")
        return sock is None or not self._room.is_reserved(sock.fileno())

    def refuse(self, transport: asyncio.Transport) -> None:
        """Count, log and soon cut a connection on a reserved descriptor."""
        self._stats.short_of_descriptors += 1
        self._log.warning(
            "descriptors",
            "a connection was refused: this process may open %d file descriptors",
            self._room.limit,
        )
        self.cut_soon(transport)

    def cut_soon(self, transport: asyncio.Transport) -> None:
        """Cut a connection after `REFUSAL_TIMEOUT_S`, or earlier if others need its descriptor."""
        self._reserved.add(transport.abort)

    def close(self) -> None:
        """Forget the connections that are to end."""
        self._reserved.close()


class OperationsOnly:
    """The application on a reserved descriptor: health and metrics, then the connection ends."""

    def __init__(self, app: ASGIApp, websocket_path: str = "/ws") -> None:
        self._app = app
        prefix = websocket_path.removesuffix("/ws")
        self._paths = tuple(prefix + path for path in SERVED_PATHS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        headers = {"Connection": "close", "Retry-After": str(RETRY_AFTER_S)}
        if scope["type"] != "http" or scope["path"] in self._paths:
            await self._app(scope, receive, send)
        else:
            detail = {"detail": "Too many connections"}
            await JSONResponse(detail, 503, headers)(scope, receive, send)
