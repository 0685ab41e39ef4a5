"""The pages for people: the dashboard, the API's documentation, and their security headers."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC = Path(__file__).parents[1] / "static"
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY_HEADERS = {
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


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
                headers += [item for item in SECURITY_HEADERS.items() if item[0] not in present]
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
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_pages(app: FastAPI, allowed_origins: Collection[str] = ()) -> None:
    """Add `/`, `/docs` and `/static`, whose files pages of `allowed_origins` may import."""

    @app.get("/", include_in_schema=False)
    async def dashboard() -> FileResponse:
        return FileResponse(STATIC / "dashboard.html", headers={"Cache-Control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title="Event Relay edge",
            swagger_js_url="static/vendor/swagger-ui-bundle.js",
            swagger_css_url="static/vendor/swagger-ui.css",
            swagger_favicon_url="static/favicon.svg",
        )
        # Only this page needs inline scripts: it starts Swagger UI with one.
        page.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.replace(
            "default-src 'self'", "default-src 'self'; script-src 'self' 'unsafe-inline'"
        )
        return page

    app.mount("/static", RevalidatedFiles(allowed_origins), name="static")
