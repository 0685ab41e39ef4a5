"""The FastAPI application of one worker: its routes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from edge.config import EdgeSettings
from edge.core.identity.tokens import Tokens
from edge.http.api import api_router, operations_router
from edge.http.auth import Authentication, auth_router
from edge.http.pages import SecurityHeaders, add_pages
from edge.http.users import UsersFile
from edge.process import configure_logging
from edge.websocket.asgi import serve_websocket
from edge.websocket.front_door import STATE
from edge.worker import Worker
from relay.shared.settings import load


def create_app(settings: EdgeSettings | None = None) -> ASGIApp:
    """Return the application. Without `settings`, as in a worker process, from the environment."""
    if settings is None:
        settings = load(EdgeSettings)
        configure_logging(settings)
    tokens = Tokens(settings.secret())

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        worker = Worker(settings, tokens, asyncio.get_running_loop())
        async with worker.running():
            yield {"worker": worker, STATE: worker.endpoint}

    app = FastAPI(
        title="Event Relay edge",
        description="Signs users in and forwards events to them on `/ws`.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    authentication = Authentication(tokens)
    users = UsersFile(settings.users_path)
    app.include_router(auth_router(tokens, users, authentication, settings.token_ttl_s))
    app.include_router(api_router(authentication))
    app.include_router(operations_router())
    add_pages(app)
    app.websocket("/ws")(serve_websocket)
    return SecurityHeaders(app)
