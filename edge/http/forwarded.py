"""`ForwardedRequests`: gives routes the client and the scheme that a trusted proxy tells of."""

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from edge.core.identity.proxies import TrustedProxies
from edge.core.identity.request_head import RequestHead

PEER = "event_relay.peer"
"""In the scope of a forwarded request: `client` as the server has told it."""


def peer_of(scope: Scope) -> str | None:
    """Return the address from which the connection came; None on a Unix socket."""
    peer: Any = scope.get(PEER, scope.get("client"))
    return None if peer is None else peer[0]


class ForwardedRequests:
    """Replaces `client` and `scheme` of HTTP requests that a trusted proxy has forwarded."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            scope = {**scope, PEER: scope.get("client"), **self._told(scope)}
        await self._app(scope, receive, send)

    def _told(self, scope: Scope) -> Scope:
        peer = scope.get("client")
        head = RequestHead.of_scope(scope)
        told = self._proxies.read(head, None if peer is None else peer[0])
        found: Scope = {}
        if told.client is not None:
            found["client"] = (told.client, 0)
        if told.scheme is not None:
            found["scheme"] = told.scheme
        return found
