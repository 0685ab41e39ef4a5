"""`ForwardedRequests`: gives routes the client and the scheme that a trusted proxy tells of."""

from starlette.types import ASGIApp, Receive, Scope, Send

from edge.core.identity.proxies import TrustedProxies
from edge.core.identity.request_head import RequestHead


class ForwardedRequests:
    """Replaces `client` and `scheme` of HTTP requests that a trusted proxy has forwarded."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            scope = {**scope, **self._told(scope)}
        await self._app(scope, receive, send)

    def _told(self, scope: Scope) -> Scope:
        peer = scope.get("client")
        head = RequestHead.of(scope["headers"], b"")
        told = self._proxies.read(head, None if peer is None else peer[0])
        found: Scope = {}
        if told.client is not None:
            found["client"] = (told.client, 0)
        if told.scheme is not None:
            found["scheme"] = told.scheme
        return found
