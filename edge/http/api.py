"""The routes for programs: `/api`, and the operations `/healthz`, `/readyz` and `/metrics`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from edge.core.identity.access import Identity
from edge.core.streams.relay_state import RelayState
from edge.http.auth import Authentication
from edge.http.topics import TOPICS
from edge.worker import Worker


def _worker(request: Request) -> Worker:
    worker: Worker = request.state.worker
    return worker


WorkerOf = Annotated[Worker, Depends(_worker)]
"""The worker that answers: a parameter of a route."""


def api_router(authentication: Authentication) -> APIRouter:
    """Return the routes under `/api`."""
    router = APIRouter(prefix="/api", tags=["events"])

    @router.get("/tasks", response_model=dict[str, Any])
    async def tasks(
        identity: Annotated[Identity, Depends(authentication)], worker: WorkerOf
    ) -> Response:
        """The caller's own tasks as `task_update` messages, newest update first."""
        # The messages are JSON already, as they are sent to clients.
        messages = b",".join(worker.tasks.tasks_of(identity.username))
        return Response(b'{"tasks":[' + messages + b"]}", media_type="application/json")

    @router.get("/topics")
    async def topics(_: Annotated[Identity, Depends(authentication)]) -> dict[str, Any]:
        """The events that managers emit, with the JSON schema of their data, and the kinds."""
        return TOPICS

    return router


def operations_router() -> APIRouter:
    """Return the routes for the operation of an edge: health, readiness, metrics."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def alive() -> dict[str, str]:
        """200 while the process works."""
        return {"status": "alive"}

    @router.get("/readyz")
    async def ready(response: Response, worker: WorkerOf) -> dict[str, str]:
        """200 while a client that comes now would get its events, else 503 with the reason.

        A relay that cannot write its journal forwards live values, and takes no journaled event.
        A relay that cannot read a part of it replays the rest.
        """
        trouble = worker.readiness.trouble
        if trouble is None:
            return {"status": "ready", **_journal_trouble(worker.relay_state)}
        response.status_code = 503
        return {"status": trouble}

    @router.get("/metrics")
    async def metrics(worker: WorkerOf) -> Response:
        """Counters of the worker that answers, for Prometheus."""
        return Response(generate_latest(worker.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _journal_trouble(relay: RelayState) -> dict[str, str]:
    if not relay.is_journaling:
        return {"journal": "unavailable"}
    return {"journal": "damaged"} if relay.is_journal_damaged else {}
