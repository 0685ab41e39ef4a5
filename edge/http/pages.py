"""The pages for people: the dashboard, the API's documentation, and their security headers."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.core.websocket.handshake import SECURITY_HEADERS

STATIC = Path(__file__).parents[1] / "static"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""Of the files of pages, such as the script of a worker."""
DASHBOARD_POLICY = f"{PAGE_POLICY}; require-trusted-types-for 'script'"
"""Browsers that know it (Chromium) refuse to make markup or scripts of any text."""
DOCUMENTATION_POLICY = PAGE_POLICY.replace(
    "style-src 'self'; img-src 'self'", "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)
"""Swagger UI has styles and images in its markup."""
_ENCODED = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class SecurityHeaders:
    """Adds the security headers to every HTTP response that does not set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                present = {name.lower() for name, _ in headers}
                headers += [header for header in _ENCODED if header[0] not in present]
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RevalidatedFiles(StaticFiles):
    """Makes browsers ask whether a file has changed, so that a page never mixes two versions.

    Pages of allowed origins may import the files, such as `relay-client.js`.
    """

    def __init__(self, allowed_origins: Collection[str]) -> None:
        super().__init__(directory=STATIC)
        self._allowed_origins = allowed_origins

    async def get_response(self, path: str, scope: Scope) -> Response:
        """See Starlette."""
        response = await super().get_response(path, scope)
        origin = Headers(scope=scope).get("origin")
        # An answer to one origin must not be taken from a cache for another one.
        response.headers.add_vary_header("Origin")
        if origin is not None and origin in self._allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
        return response

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """See Starlette."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(_page_headers(PAGE_POLICY))
        return response


def _page_headers(policy: str) -> dict[str, str]:
    return {"Cache-Control": "no-cache", "Content-Security-Policy": policy}


def add_pages(app: FastAPI, readers: Any, allowed_origins: Collection[str] = ()) -> None:
    """Add `/`, `/docs` with `/openapi.json`, and `/static`.

    `readers` is the dependency that refuses the documentation to others. Pages of `allowed_origins`
    may import the files.
    """

    @app.get("/", include_in_schema=False)
    async def dashboard() -> FileResponse:
        return FileResponse(STATIC / "dashboard.html", headers=_page_headers(DASHBOARD_POLICY))

    @app.get("/openapi.json", include_in_schema=False, dependencies=[readers])
    async def openapi(request: Request) -> JSONResponse:
        root_path = request.scope.get("root_path", "").rstrip("/")
        below = {"servers": [{"url": root_path}]} if root_path else {}
        return JSONResponse({**app.openapi(), **below})

    @app.get("/docs", include_in_schema=False, dependencies=[readers])
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html", headers=_page_headers(DOCUMENTATION_POLICY))

    app.mount("/static", RevalidatedFiles(allowed_origins), name="static")
