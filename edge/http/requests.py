"""Matters of every HTTP request before a route sees it: HEAD, and the end of the server."""

import asyncio
import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


_HEAD = "event_relay.head"
"""In the scope of a request that is answered as GET and was HEAD."""


def is_head(scope: Scope) -> bool:
    """Return whether nobody reads the body of the response."""
    return _HEAD in scope


class HeadRequests:
    """Answers HEAD as GET without the body (RFC 9110, section 9.3.2), on every route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET", _HEAD: True}, receive, send_without_body)


class QuietEnd:
    """Ends a request that the stopping server cancels, or its client, without a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # The task of a request is cancelled for no other reason, and ends here.
            if scope["type"] != "http":
                raise
            logger.info("a request was not finished when the edge stopped")
        except ClientDisconnect:
            # In the midst of a body. Nobody is there to be answered.
            logger.debug("a client left before its request was whole")
