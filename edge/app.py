"""The FastAPI application of one worker: puts the parts together and names the routes."""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp

from edge.config import EdgeSettings
from edge.core.identity.access import Identity
from edge.core.identity.tokens import Tokens
from edge.core.stats import EdgeStats
from edge.endpoint import ClientEndpoint
from edge.fanout import Fanout
from edge.http.auth import Authentication, auth_router
from edge.http.metrics import EdgeCollector, edge_registry
from edge.http.pages import SecurityHeaders, add_pages
from edge.http.users import UsersFile
from edge.scheduling.throttle import Pace
from edge.upstream.subscriber import RelayLink
from edge.websocket.asgi import AsgiEndpoint
from edge.websocket.front_door import STATE
from edge.websocket.writer import write_to_all
from relay.shared.logs import configure
from relay.shared.settings import load
from relay.wire.catalogue import CATALOGUE

HOUSEKEEPING_S = 1.0
logger = logging.getLogger(__name__)


class Worker:
    """Everything one worker process has."""

    def __init__(self, settings: EdgeSettings) -> None:
        self.settings = settings
        self.tokens = Tokens(settings.secret())
        self.users = UsersFile(settings.users_path)
        stats = EdgeStats()
        self.fanout = Fanout(
            stats, settings.topic_prefixes, settings.history_bytes, partial(write_to_all, stats)
        )
        self.endpoint = ClientEndpoint(settings, self.fanout, self.tokens)
        self.link = RelayLink(settings, self.fanout, self.endpoint, f"edge-{os.getpid()}")
        self.fanout.attach(self.link)
        self.fanout.library.attach(self.link)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the relay and look after clients."""
        _tame_garbage_collection()
        self.endpoint.start()
        pace = Pace(asyncio.get_running_loop(), self.fanout.manager.flush)
        self.fanout.flush_by(pace.ask)
        self.link.start()
        housekeeping = asyncio.create_task(self._housekeep())
        try:
            yield
        finally:
            housekeeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await housekeeping
            pace.close()
            self.endpoint.close()
            self.link.close()

    async def _housekeep(self) -> None:
        parent = multiprocessing.parent_process()
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                self.endpoint.housekeep(time.time())
            except Exception:
                # A fault of ours once must not end it for good.
                logger.exception("housekeeping failed")
            if parent is not None and not parent.is_alive():
                logger.warning("the process that started this worker is gone: stopping")
                os.kill(os.getpid(), signal.SIGTERM)
                return


def _tame_garbage_collection() -> None:
    """Look for garbage less often, and not among what was there from the beginning.

    Clients are freed when they go; by default every few hundred objects of a connection storm would
    have thousands of clients looked through.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def configure_logging(settings: EdgeSettings) -> None:
    """Log to standard error; uvicorn only its warnings, for its handshake lines show tokens."""
    configure("event-edge", settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def create_app(settings: EdgeSettings | None = None) -> ASGIApp:
    """Return the application. Without `settings`, as in a worker process, from the environment."""
    if settings is None:
        settings = load(EdgeSettings)
        configure_logging(settings)
    worker = Worker(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with worker.running():
            yield {STATE: worker.endpoint}

    app = FastAPI(
        title="Event Relay edge",
        description="Signs users in and forwards events to them on `/ws`.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_api(app, worker)
    _add_operations(app, worker)
    add_pages(app)
    app.websocket("/ws")(AsgiEndpoint(worker.endpoint).serve)
    return SecurityHeaders(app)


def _add_api(app: FastAPI, worker: Worker) -> None:
    authentication = Authentication(worker.tokens)
    app.include_router(
        auth_router(worker.tokens, worker.users, authentication, worker.settings.token_ttl_s)
    )

    @app.get("/api/tasks", tags=["events"])
    async def tasks(identity: Annotated[Identity, Depends(authentication)]) -> dict[str, Any]:
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


def _add_operations(app: FastAPI, worker: Worker) -> None:
    registry = edge_registry(
        EdgeCollector(worker.fanout, worker.endpoint, worker.link, str(os.getpid()))
    )

    @app.get("/healthz", tags=["operations"])
    async def alive() -> dict[str, str]:
        """200 while the process works."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["operations"])
    async def ready(response: Response) -> dict[str, str]:
        """200 while events arrive from the relay, else 503.

        A relay that cannot write its journal sends on what it has, and takes nothing new.
        """
        if worker.link.is_alive:
            trouble = {} if worker.link.is_journaling else {"journal": "unavailable"}
            return {"status": "ready", **trouble}
        response.status_code = 503
        return {"status": "the relay's heartbeat is missing"}

    @app.get("/metrics", tags=["operations"])
    async def metrics() -> Response:
        """Counters of the worker that answers, for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
