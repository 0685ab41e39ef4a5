"""Many WebSocket clients in one thread with a loop of its own."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

import uvloop

from tests.support.swarm_client import SwarmClient

P = ParamSpec("P")
T = TypeVar("T")

CALL_TIMEOUT_S = 30.0


class Swarm:
    """Runs clients until it is closed. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self.clients: list[SwarmClient] = []
        self._loop = uvloop.new_event_loop()
        self._running: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="swarm", daemon=True)
        self._thread.start()

    def add(self, clients: Iterable[SwarmClient]) -> None:
        """Connect `clients`; they reconnect until the swarm is closed."""
        added = list(clients)
        self.clients += added
        self.call(self._run_all, added)

    @property
    def deliveries(self) -> int:
        """The number of events that all clients received so far."""
        return sum(len(client.record) for client in self.clients)

    def cpu_s(self) -> float:
        """The CPU time of the swarm's thread, in seconds."""
        return self.call(time.thread_time)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in the swarm's thread and return its result."""

        async def called() -> T:
            return function(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(CALL_TIMEOUT_S)

    def close(self) -> None:
        """End every client and the thread."""
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(CALL_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self._loop.close()

    def _run_all(self, clients: list[SwarmClient]) -> None:
        for client in clients:
            task = self._loop.create_task(client.run(), name=client.name)
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            for client in self.clients:
                if client.name == task.get_name():
                    client.record.errors.append(f"the client itself failed: {error!r}")

    async def _leave(self) -> None:
        for client in self.clients:
            client.leave()
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
