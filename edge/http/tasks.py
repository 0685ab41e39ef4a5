"""The states of tasks over HTTP, for front ends that poll: `/api/tasks/status` and `/list`.

The shapes are those of the Bedrock Server Manager, whose front ends poll when `/ws` fails them. A
caller sees its own tasks alone.
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, HTTPException

from edge.core.identity.access import Identity
from edge.http.api import WorkerOf
from edge.http.auth import Identify
from edge.http.problems import responses

_KIND = "task:"


def tasks_router(identify: Identify) -> APIRouter:
    """Return the routes under `/api/tasks`."""
    router = APIRouter(prefix="/api/tasks", tags=["events"])

    @router.get(
        "/status/{task_id:path}",
        responses={404: {"description": "No task of the caller"}, **responses(401, 503)},
    )
    async def status(
        task_id: str, identity: Annotated[Identity, Depends(identify)], worker: WorkerOf
    ) -> dict[str, Any]:
        """The `data` of the latest update of one of the caller's tasks.

        404 also for a task of another user: nobody learns which tasks others have.
        """
        message = worker.tasks.message_of(identity.username, f"{_KIND}{task_id}")
        if message is None:
            raise HTTPException(404, "Task not found")
        data: dict[str, Any] = orjson.loads(message)["data"]
        return data

    @router.get("/list", responses=responses(401, 503))
    async def tasks(
        identity: Annotated[Identity, Depends(identify)], worker: WorkerOf
    ) -> list[dict[str, Any]]:
        """The same of all the caller's tasks, each with its `id`, oldest update first."""
        messages = map(orjson.loads, reversed(worker.tasks.tasks_of(identity.username)))
        return [
            {**message["data"], "id": message["topic"].removeprefix(_KIND)} for message in messages
        ]

    return router
