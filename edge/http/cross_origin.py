"""`CrossOriginRequests`: the answers that pages of `EDGE_ALLOWED_ORIGINS` may read (CORS)."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIXES = ("/auth/", "/api/")
"""The paths that programs call. Pages and metrics are for nobody else's page."""
HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID")
"""Request headers, beside those that need no permission."""
KNOWN_FOR_S = 600
"""Seconds for which a browser remembers the answer to its preflight request."""


class CrossOriginRequests:
    """Answers preflight requests of allowed origins, and marks the answers that they may read.

    Any other origin is answered as if there were no CORS: without one of its headers, so that its
    browser keeps the answer from the page.
    """

    def __init__(self, app: ASGIApp, allowed_origins: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = frozenset(origin.encode("latin-1") for origin in allowed_origins)
        self._cors = CORSMiddleware(
            app,
            allow_origins=allowed_origins,
            allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=HEADERS,
            allow_credentials=True,
            max_age=KNOWN_FOR_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        chosen = self._cors if self._is_allowed(scope) else self._app
        await chosen(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        if scope["type"] != "http" or not self._allowed:
            return False
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if not path.startswith(PREFIXES):
            return False
        return any(name == b"origin" and value in self._allowed for name, value in scope["headers"])
