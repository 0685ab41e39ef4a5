"""The FastAPI application of one worker: its routes."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp

from edge.config import EdgeSettings
from edge.core.identity.access import Identity
from edge.core.identity.tokens import Tokens
from edge.http.auth import Authentication, auth_router
from edge.http.pages import SecurityHeaders, add_pages
from edge.http.users import UsersFile
from edge.websocket.asgi import serve_websocket
from edge.websocket.front_door import STATE
from edge.worker import Worker
from relay.shared.logs import configure
from relay.shared.settings import load
from relay.wire.catalogue import CATALOGUE


def configure_logging(settings: EdgeSettings) -> None:
    """Log to standard error; uvicorn only its warnings, for its handshake lines show tokens."""
    configure("event-edge", settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


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
    _add_api(app, authentication)
    _add_operations(app)
    add_pages(app)
    app.websocket("/ws")(serve_websocket)
    return SecurityHeaders(app)


def _worker(request: Request) -> Worker:
    worker: Worker = request.state.worker
    return worker


WorkerOf = Annotated[Worker, Depends(_worker)]


def _add_api(app: FastAPI, authentication: Authentication) -> None:
    @app.get("/api/tasks", tags=["events"])
    async def tasks(
        identity: Annotated[Identity, Depends(authentication)], worker: WorkerOf
    ) -> dict[str, Any]:
        """The caller's own tasks as `task_update` messages, newest update first."""
        return {"tasks": worker.fanout.tasks.tasks_of(identity.username)}

    @app.get("/api/topics", tags=["events"])
    async def topics(_: Annotated[Identity, Depends(authentication)]) -> dict[str, Any]:
        """The events that managers emit, with the JSON schema of their data, and the kinds."""
        return TOPICS


TOPICS: dict[str, Any] = {
    "events": [
        {
            "topic": spec.topic,
            "meaning": spec.meaning,
            "schema": spec.model.model_json_schema(),
        }
        for spec in CATALOGUE.values()
    ],
    "kinds": [
        {"kind": "event", "topic": "event:{event_name}", "meaning": "Something happened."},
        {
            "kind": "resource-monitor",
            "topic": "resource-monitor:{server_name}",
            "meaning": "The newest reading of a server's CPU and memory.",
        },
        {
            "kind": "task",
            "topic": "task:{task_id}",
            "meaning": "The state of a task, pushed to the user who started it.",
        },
    ],
}


def _add_operations(app: FastAPI) -> None:
    @app.get("/healthz", tags=["operations"])
    async def alive() -> dict[str, str]:
        """200 while the process works."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["operations"])
    async def ready(response: Response, worker: WorkerOf) -> dict[str, str]:
        """200 while events arrive from the relay, else 503.

        A relay that cannot write its journal forwards what it has, and takes nothing new.
        """
        if worker.link.is_alive:
            trouble = {} if worker.link.is_journaling else {"journal": "unavailable"}
            return {"status": "ready", **trouble}
        response.status_code = 503
        return {"status": "the relay's heartbeat is missing"}

    @app.get("/metrics", tags=["operations"])
    async def metrics(worker: WorkerOf) -> Response:
        """Counters of the worker that answers, for Prometheus."""
        return Response(generate_latest(worker.registry), media_type=CONTENT_TYPE_LATEST)
