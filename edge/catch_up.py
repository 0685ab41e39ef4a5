"""Sees passes through: at the speed of each client, and of the relay (protocol section 7).

One task for each connection that is being caught up. Few of them step in one turn of the event
loop, so that a thousand clients that resume at once leave room for the others; what they lack is
asked of the relay once, whoever waits for it.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from edge.core.catch_up.ports import CatchingUp
from edge.core.catch_up.resume import Fetch, Fetched
from edge.core.stats import EdgeStats
from edge.core.streams.history import PAGE_OFFSETS
from edge.core.streams.record import Record
from edge.core.websocket.close_codes import Close, CloseCode

STEPS_PER_TURN = 4
MAX_FETCHES = 8
"""Requests to the relay at a time; each brings about 1 MiB."""
FETCH_TIMEOUT_S = 30.0
WAIT_FOR_STREAMS_S = 5.0
"""A client that comes from an edge that was ahead of this one waits so long."""

logger = logging.getLogger(__name__)


class Client(Protocol):
    """A connection that is caught up."""

    @property
    def closed(self) -> bool:
        """Whether the connection is being closed."""

    def close(self, close: Close) -> None:
        """Close the connection."""

    async def drained(self) -> None:
        """Wait until its transport is not full, or the connection is closed."""


class Library(Protocol):
    """Where records come from that the edge does not remember."""

    async def fetch(self, fetch: Fetch) -> Sequence[Record]:
        """Return a part of what is asked for, from its beginning, and remember it.

        Empty when the relay has nothing of it, or when there is another epoch.
        """

    async def streams_went_on(self) -> None:
        """Wait until a stream has gone on, or begun anew."""


class CatchUp:
    """Catches clients up."""

    def __init__(self, library: Library, stats: EdgeStats) -> None:
        self._library = library
        self._stats = stats
        self._tasks: dict[Client, asyncio.Task[None]] = {}
        self._steps = asyncio.Semaphore(STEPS_PER_TURN)
        self._fetching = asyncio.Semaphore(MAX_FETCHES)
        self._fetches: dict[tuple[str, int], asyncio.Task[Fetched]] = {}
        """By stream and page."""

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, client: Client, catching_up: CatchingUp) -> None:
        """See `edge.core.catch_up.ports.CatchUp`."""
        task = asyncio.create_task(self._see_through(client, catching_up))
        self._tasks[client] = task
        task.add_done_callback(lambda _: self._forget(client, task))

    def cancel(self, client: Client) -> None:
        """The connection is gone."""
        if task := self._tasks.pop(client, None):
            task.cancel()

    def close(self) -> None:
        """End all tasks."""
        for task in (*self._tasks.values(), *self._fetches.values()):
            task.cancel()

    def _forget(self, client: Client, task: "asyncio.Task[None]") -> None:
        # The next pass of the same connection may have begun.
        if self._tasks.get(client) is task:
            del self._tasks[client]

    async def _see_through(self, client: Client, catching_up: CatchingUp) -> None:
        try:
            await self._step_to_the_end(client, catching_up)
        except TimeoutError:
            logger.warning("the relay does not replay what a client missed")
            client.close(CloseCode.TRY_AGAIN_LATER.close())
        except Exception:
            logger.exception("a client could not be caught up")
            client.close(CloseCode.TRY_AGAIN_LATER.close())

    async def _step_to_the_end(self, client: Client, catching_up: CatchingUp) -> None:
        fetched: Fetched | None = None
        deadline = 0.0
        while not client.closed:
            async with self._steps:
                outcome = catching_up.step(fetched)
                self._stats.deliveries += outcome.deliveries
                if outcome.is_complete:
                    catching_up.finish()
                    return
                # What was sent is written when this turn ends; others come in the next one.
                await asyncio.sleep(0)
            await client.drained()
            fetched = None
            if outcome.fetch is not None:
                fetched = await self._fetch(outcome.fetch)
            elif outcome.awaits_streams:
                deadline = deadline or asyncio.get_running_loop().time() + WAIT_FOR_STREAMS_S
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._library.streams_went_on()
                except TimeoutError:
                    catching_up.give_up_waiting()

    async def _fetch(self, fetch: Fetch) -> Fetched:
        """Ask the relay, or wait with whoever has asked for the same page."""
        key = fetch.stream, fetch.after // PAGE_OFFSETS
        task = self._fetches.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(fetch))
            self._fetches[key] = task
            task.add_done_callback(lambda done: self._fetched(key, done))
        # Whoever waits may go; the others still want it.
        return await asyncio.shield(task)

    def _fetched(self, key: tuple[str, int], task: "asyncio.Task[Fetched]") -> None:
        self._fetches.pop(key, None)
        if not task.cancelled():
            task.exception()  # Seen by those who wait; there may be nobody left.

    async def _ask(self, fetch: Fetch) -> Fetched:
        async with self._fetching, asyncio.timeout(FETCH_TIMEOUT_S):
            return Fetched(fetch.stream, await self._library.fetch(fetch))
