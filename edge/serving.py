"""`Serving`: the worker of an application in this process, from its start to its end."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from edge.http.api import SIBLINGS, answers_of
from edge.http.siblings import Siblings
from edge.websocket.front_door import STATE
from edge.websocket.http_connection import ENTRANCE, Entrance
from edge.worker import WORKER, Worker

logger = logging.getLogger(__name__)


class Serving:
    """Runs the worker, and gives its objects to every request.

    `running` is the usual way, in the lifespan of an application. An application that is only
    mounted in another one is not told of its start: then the first request starts the worker, and
    the end of the event loop ends it.
    """

    def __init__(
        self,
        make_worker: Callable[[], Worker],
        siblings_directory: Path | None = None,
        *,
        owns_process: bool,
        beside: Callable[[], AbstractAsyncContextManager[object]],
    ) -> None:
        """`make_worker` is called on the event loop.

        `siblings_directory` is where the workers of `event-edge` find each other. `owns_process` is
        whether the process serves nothing else. `beside` returns what begins before the worker, and
        ends after it.
        """
        self._make_worker = make_worker
        self._beside = beside
        self._siblings_directory = siblings_directory
        self._owns_process = owns_process
        self.entrance = Entrance()
        """Where the edge is in the application."""
        self._state: dict[str, Any] = {}
        self._starting: asyncio.Future[None] | None = None
        """Done when the worker runs that the first request has started."""
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> dict[str, Any]:
        """The state of the lifespan (see ASGI), empty while the worker does not run."""
        return self._state

    @property
    def worker(self) -> Worker | None:
        """The worker, None while it does not run."""
        return self._state.get(WORKER)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[dict[str, Any]]:
        """Run the worker during the body, which gets the state of the lifespan (see ASGI)."""
        async with self._beside(), self._running(self._make_worker()) as state:
            yield state

    @contextlib.asynccontextmanager
    async def _running(self, worker: Worker) -> AsyncIterator[dict[str, Any]]:
        siblings = Siblings(self._siblings_directory, str(os.getpid()), answers_of(worker))
        async with worker.running(owns_process=self._owns_process), siblings.answering():
            self._state = {
                WORKER: worker,
                SIBLINGS: siblings,
                STATE: worker.endpoint,
                ENTRANCE: self.entrance,
            }
            try:
                yield self._state
            finally:
                self._state = {}

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with the worker's objects in the state of every request."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "lifespan":
                if not self._state:
                    await self._start()
                scope["state"] = {**scope.get("state", {}), **self._state}
            await app(scope, receive, send)

        return serve

    async def _start(self) -> None:
        """Run the worker until the event loop ends."""
        if self._starting is None or self._starting.get_loop() is not asyncio.get_running_loop():
            logger.info("started by the first request: nobody has run the lifespan")
            self._starting = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(self._starting))
        await asyncio.shield(self._starting)

    async def _run(self, started: asyncio.Future[None]) -> None:
        try:
            async with self.running():
                started.set_result(None)
                await asyncio.Event().wait()
        except Exception as error:
            self._starting = None
            if started.done():
                raise
            started.set_exception(error)
