"""The names by which requests call the edge: those that it serves, and the one for its links."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.core.identity.credentials import CredentialRules
from edge.core.identity.request_head import RequestHead
from edge.http.forwarded import peer_of
from edge.websocket.descriptor_guard import SERVED_PATHS
from edge.websocket.identification import UNKNOWN_HOST
from relay.shared.addresses import bracketed


class KnownHosts:
    """Answers 400 to requests that call the edge by a name that is not allowed.

    Health and metrics are read by whoever runs the edge, often by its address.
    """

    def __init__(self, app: ASGIApp, rules: CredentialRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and not self._is_served(scope):
            await JSONResponse({"detail": UNKNOWN_HOST}, 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_served(self, scope: Scope) -> bool:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in SERVED_PATHS:
            return True
        return self._rules.serves_host(RequestHead.of_scope(scope), peer_of(scope))


def host_of(request: Request, rules: CredentialRules) -> str:
    """Return the host, with its port, for links to this edge.

    The name that the client has used, if it is one of `EDGE_ALLOWED_HOSTS`. Otherwise the address
    at which the server has taken the connection: a client may claim any name.
    """
    found = rules.public_host(RequestHead.of_scope(request.scope), peer_of(request.scope))
    if found is not None:
        return found
    host, port = request.scope.get("server") or ("localhost", None)
    return bracketed(host) if port is None else f"{bracketed(host)}:{port}"
