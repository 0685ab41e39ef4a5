"""The FastAPI application of one worker: its routes."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from edge.config import EdgeSettings
from edge.core.identity.access import KindAccess
from edge.core.identity.tokens import Tokens
from edge.http.api import answers_of, api_router, operations_router
from edge.http.auth import Authentication, SessionCookie, auth_router
from edge.http.forwarded import ForwardedRequests
from edge.http.pages import SecurityHeaders, add_pages
from edge.http.passwords import PasswordSignIn
from edge.http.requests import HeadRequests, QuietEnd
from edge.http.siblings import Siblings
from edge.http.users import UsersFile
from edge.process import (
    PROGRAM,
    configure_logging,
    descriptor_room,
    prepare_worker_process,
    warn_of_too_few_descriptors,
    warn_of_too_little_memory,
)
from edge.websocket.asgi import serve_websocket
from edge.websocket.front_door import STATE
from edge.websocket.request_bounds import MAX_BODY_BYTES
from edge.worker import Worker
from relay.shared.config_file import read_config_file
from relay.shared.settings import SettingsError, load, refuse
from relay.wire.kinds import Kinds

logger = logging.getLogger(__name__)


def create_app(settings: EdgeSettings | None = None, kinds: Kinds | None = None) -> ASGIApp:
    """Return the application, with the settings of the environment unless `settings` are given.

    For any ASGI server: `uvicorn --factory edge.app:create_app`. A wrong setting ends the process
    with one line and exit code 2. `kinds` are those of `relay.toml` unless given.
    """
    try:
        kinds = read_config_file().kinds if kinds is None else kinds
    except SettingsError as error:
        refuse(PROGRAM, error)
    if settings is None:
        try:
            settings = load(EdgeSettings)
            configure_logging(settings)
            settings.secret()
            room = descriptor_room(settings.max_connections)
        except SettingsError as error:
            refuse(PROGRAM, error)
        warn_of_too_few_descriptors(room, settings.max_connections)
        warn_of_too_little_memory(settings)
    return _build_app(settings, kinds)


def create_worker_app(settings: EdgeSettings, kinds: Kinds, siblings: Path | None) -> ASGIApp:
    """Return the application of a worker of `event-edge`, which has read `settings` and `kinds`.

    So all workers have the same, also one that starts again after `relay.toml` has changed.
    `siblings` is the directory in which the workers of the edge find each other.
    """
    prepare_worker_process()
    configure_logging(settings)
    return _build_app(settings, kinds, siblings)


def _build_app(settings: EdgeSettings, kinds: Kinds, directory: Path | None = None) -> ASGIApp:
    tokens = Tokens(settings.secret())
    access = KindAccess(kinds)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        worker = Worker(settings, tokens, access, asyncio.get_running_loop())
        siblings = Siblings(directory, str(os.getpid()), answers_of(worker))
        async with worker.running(), siblings.answering():
            yield {"worker": worker, "siblings": siblings, STATE: worker.endpoint}

    app = FastAPI(
        title="Event Relay edge",
        description="Signs users in and forwards events to them on `/ws`.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # Our own server refuses earlier; this one is for all others.
        max_body_size=MAX_BODY_BYTES,
    )
    rules = settings.credential_rules
    authentication = Authentication(tokens, rules)
    passwords = PasswordSignIn(tokens, UsersFile(settings.users_path), rules, settings.token_ttl_s)
    cookie = SessionCookie(settings.own_cookie, authentication)
    app.include_router(auth_router(passwords, authentication, cookie))
    app.include_router(api_router(authentication, kinds, access))
    app.include_router(operations_router())
    add_pages(app)
    app.websocket("/ws")(serve_websocket)
    served = HeadRequests(SecurityHeaders(app))
    return QuietEnd(ForwardedRequests(served, rules.proxies))
