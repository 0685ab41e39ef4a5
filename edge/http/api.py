"""The routes for programs: `/api`, and the operations `/healthz`, `/readyz` and `/metrics`."""

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from edge.core.identity.access import Identity
from edge.core.identity.credentials import CredentialRules
from edge.core.streams.relay_state import RelayState
from edge.http.auth import Identify
from edge.http.hosts import host_of
from edge.http.metrics import exposition, snapshot
from edge.http.permissions import Permissions
from edge.http.problems import responses
from edge.http.siblings import Siblings
from edge.http.topics import kinds_for, registered_events
from edge.rules import Rules
from edge.worker import Worker, worker_of
from relay.wire.asyncapi import AsyncApiServer, asyncapi
from relay.wire.contracts import CONTRACTS

WorkerOf = Annotated[Worker, Depends(worker_of)]
"""The worker that answers: a parameter of a route."""


SIBLINGS = "event_relay.siblings"
"""The name of the `Siblings` in the state of each request."""
METRICS = "metrics"
TROUBLE = "trouble"


def answers_of(worker: Worker) -> dict[str, Callable[[], object]]:
    """Return the answers of `worker` to the questions that its siblings ask."""
    return {
        METRICS: partial(snapshot, worker.metrics),
        TROUBLE: lambda: worker.readiness.trouble,
    }


def _siblings(request: Request) -> Siblings:
    siblings: Siblings = request.scope["state"][SIBLINGS]
    return siblings


SiblingsOf = Annotated[Siblings, Depends(_siblings)]
"""All workers of the edge: a parameter of a route."""


def api_router(identify: Identify, rules: Rules, permissions: Permissions) -> APIRouter:
    """Return the routes under `/api`; `permissions` say which of the kinds a caller may see."""
    router = APIRouter(prefix="/api", tags=["events"])
    # With the first request: a start does not wait for them.
    events = cache(registered_events)

    @router.get("/tasks", response_model=dict[str, Any], responses=responses(401, 503))
    async def tasks(identity: Annotated[Identity, Depends(identify)], worker: WorkerOf) -> Response:
        """The caller's own tasks as `task_update` messages, newest update first."""
        # The messages are JSON already, as they are sent to clients.
        messages = b",".join(worker.tasks.tasks_of(identity.username))
        return Response(b'{"tasks":[' + messages + b"]}", media_type="application/json")

    @router.get("/topics", responses=responses(401, 503))
    async def topics(identity: Annotated[Identity, Depends(identify)]) -> dict[str, Any]:
        """The events that managers emit, with the JSON schema of their data, and the kinds.

        Of the kinds, those that the caller may see: each with its mode, and whether the caller may
        publish on its topics; null if the application decides that for each topic.
        """
        return {"events": events(), "kinds": await kinds_for(identity, rules.kinds, permissions)}

    return router


def asyncapi_router(readers: Any, rules: CredentialRules) -> APIRouter:
    """Return the route of the AsyncAPI document; `readers`, a dependency, refuses others."""
    router = APIRouter(tags=["events"])

    @router.get("/asyncapi.json", dependencies=[readers], responses=responses(401, 403))
    async def document(request: Request) -> dict[str, Any]:
        """The messages of `/ws` as AsyncAPI 3.0, with the models of the events."""
        path = f"{request.scope.get('root_path', '')}/ws"
        host = host_of(request, rules)
        server = AsyncApiServer(host, path, is_secure=request.url.scheme == "https")
        return asyncapi(CONTRACTS, server, version("event-relay"))

    return router


def operations_router(readers: Any) -> APIRouter:
    """Return the routes for the operation of an edge: health, readiness, metrics.

    `readers` is the dependency that refuses metrics to others.
    """
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def alive() -> dict[str, str]:
        """200 while the process works."""
        return {"status": "alive"}

    @router.get("/readyz", responses={503: {"description": "Not now: `status` has the reason"}})
    async def ready(response: Response, worker: WorkerOf, siblings: SiblingsOf) -> dict[str, str]:
        """200 while a client that comes now would get its events, else 503 with the reason.

        Any worker of the edge may get the client, so all that answer must be ready. A relay that
        cannot write its journal forwards live values, and takes no journaled event. A relay that
        cannot read a part of it replays the rest.
        """
        for trouble in await siblings.ask(TROUBLE):
            if trouble is not None:
                response.status_code = 503
                return {"status": trouble}
        return {"status": "ready", **_journal_trouble(worker.relay_state)}

    @router.get(
        "/metrics",
        dependencies=[readers],
        response_class=PlainTextResponse,
        responses=responses(401, 403),
    )
    async def metrics(siblings: SiblingsOf) -> Response:
        """Counters of all workers of the edge, for Prometheus."""
        return Response(exposition(await siblings.ask(METRICS)), media_type=CONTENT_TYPE_LATEST)

    return router


def _journal_trouble(relay: RelayState) -> dict[str, str]:
    if not relay.is_journaling:
        return {"journal": "unavailable"}
    return {"journal": "damaged"} if relay.is_journal_damaged else {}
