"""Steps the catch-ups of all clients, at the speed of each client and of the relay.

One task for each connection that is being caught up (protocol section 7, "Resume"). Only a few of
them step in one turn of the event loop, so that a thousand clients that resume at once leave time
for live events. Records that the edge lacks are read from the relay once for all that wait.
Users take turns with both, so that many connections of one user do not keep the others waiting.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from edge.core.catch_up.connection_catch_up import (
    CatchUpState,
    JournalRange,
    ReplayFailed,
    StepResult,
)
from edge.core.catch_up_budget import CatchUpBudget
from edge.core.identity.access import Identity
from edge.core.stats import EdgeStats
from edge.core.streams.history import read_index
from edge.core.streams.record import Record
from edge.core.websocket.close_codes import Close, CloseCode, try_again
from edge.scheduling.turns import Turns
from relay.shared.logs import LimitedLog

STEPS_PER_TURN = 4
MAX_READS = 8
"""Journal reads whose records are awaited or held; each brings about 1 MiB."""
READS_OF_USER = 4
"""Of these, those of one user: a place is free for the next user at any time."""
RETAINED_COST = 5
"""A retained value costs as much as so many past events that are looked at: each is decoded."""
READ_TIMEOUT_S = 30.0
WAIT_FOR_STREAMS_S = 5.0
"""How long a client that comes from an edge further on waits for this edge's streams."""
RETRY_S = 1.0
EDGE_LAGS = try_again("this edge is behind your position", RETRY_S)
NOTHING_REPLAYED = try_again("the relay does not replay events", RETRY_S)

logger = logging.getLogger(__name__)


class CatchUpClient(Protocol):
    """A connection that is caught up."""

    identity: Identity

    @property
    def closed(self) -> bool:
        """Whether the connection is being closed."""

    def close(self, close: Close) -> None:
        """Close the connection."""

    async def drained(self) -> None:
        """Wait until its transport is not full, or the connection is closed."""


class Replayer(Protocol):
    """Reads records that the edge does not remember."""

    async def fetch(self, missing: JournalRange, /) -> Sequence[Record]:
        """Return a part of `missing`, from its beginning, and remember it.

        Empty when the relay has none of it, or when another epoch has begun. Raises `ReplayFailed`.
        """

    async def streams_went_on(self) -> None:
        """Wait until a stream has advanced, or a new epoch has begun."""


class Steps(Protocol):
    """A catch-up: see `ConnectionCatchUp`."""

    def step(self, records: Sequence[Record] = ()) -> StepResult:
        """Send the next records; `records` are those that the step before was missing."""


class _Read:
    """One read of the journal, for all catch-ups that need the same range."""

    def __init__(self, username: str) -> None:
        self.username = username
        """The user whose catch-up was the first to need it, and whose budget it costs."""
        self.users = 0
        """Catch-ups that wait for the records, or have not yet stepped with them."""
        self.place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the read has one of the `MAX_READS` places."""
        self.parties: set[str] = set()
        """Users in whose lines it waits for its place."""


class SharedReads:
    """Reads ranges of the journal, each once for all catch-ups that need it by then.

    At most `MAX_READS` reads wait for the relay or for the steps that use their records, and
    `READS_OF_USER` of one user; the others wait for a place, and users take turns. A read that
    nobody waits for any more is cancelled, so that there are never more reads than catch-ups, and
    never more than about `MAX_READS` MiB of records.
    """

    def __init__(self, replayer: Replayer, budget: CatchUpBudget | None = None) -> None:
        self._replayer = replayer
        self.budget = CatchUpBudget() if budget is None else budget
        self._places = Turns(MAX_READS, READS_OF_USER)
        self._reads: dict[tuple[str, int], tuple[_Read, asyncio.Task[Sequence[Record]]]] = {}
        """By stream and range (see `read_index`); those that have not ended."""

    def __len__(self) -> int:
        return len(self._reads)

    @contextlib.asynccontextmanager
    async def records(
        self, missing: JournalRange | None, username: str
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield records of `missing`, none if it is None. The step with them is the body.

        The read has its place when it is the turn of any user, such as `username`, who needs it.
        Raises `TimeoutError` if the relay does not answer within `READ_TIMEOUT_S`, and
        `ReplayFailed`.
        """
        await self._budgeted(username)
        if missing is None:
            yield ()
            return
        read, task = self._read_of(missing, username)
        read.users += 1
        read.parties.add(username)
        self._places.ask(read.place, username)
        try:
            # Shielded: a client that goes must not take the read of the others with it.
            yield await asyncio.shield(task)
        finally:
            read.users -= 1
            if not read.users:
                self._end(read, task, missing)

    def spend(self, username: str, events: int, size_bytes: int) -> None:
        """A step of `username` has looked at so many events and sent so many bytes."""
        self.budget.spend(username, events, size_bytes, time.monotonic())

    def spend_retained(self, username: str, values: int, size_bytes: int) -> None:
        """The relay has sent so many retained values for `username`; "" is the edge itself."""
        if username:
            self.spend(username, values * RETAINED_COST, size_bytes)

    def may_spend(self, username: str) -> bool:
        """Return whether the user's budget is not overdrawn."""
        return not self.budget.wait_s(username, time.monotonic())

    async def _budgeted(self, username: str) -> None:
        """Wait until the user's budget allows another step."""
        wait_s = self.budget.wait_s(username, time.monotonic())
        if wait_s:
            self.budget.waits += 1
        while wait_s:
            await asyncio.sleep(wait_s)
            # Another connection of the user may have been faster.
            wait_s = self.budget.wait_s(username, time.monotonic())

    def _read_of(
        self, missing: JournalRange, username: str
    ) -> tuple[_Read, "asyncio.Task[Sequence[Record]]"]:
        key = _key(missing)
        if key not in self._reads:
            read = _Read(username)
            task = asyncio.create_task(self._fetch(read, missing))
            # A later catch-up finds the records in the history, or needs others of this range.
            task.add_done_callback(lambda done: self._forget(key, done))
            self._reads[key] = read, task
        return self._reads[key]

    async def _fetch(self, read: _Read, missing: JournalRange) -> Sequence[Record]:
        await read.place
        async with asyncio.timeout(READ_TIMEOUT_S):
            records = await self._replayer.fetch(missing)
        self.spend(read.username, 0, sum(len(each.payload) for each in records))
        return records

    def _end(
        self, read: _Read, task: "asyncio.Task[Sequence[Record]]", missing: JournalRange
    ) -> None:
        # Forgotten now and not when the task has noticed: nobody may join a cancelled read.
        self._forget(_key(missing), task)
        for username in read.parties:
            self._places.withdraw(read.place, username)
        # Before the task is cancelled, and with it the place that it waits for.
        if read.place.done() and not read.place.cancelled():
            self._places.give_back(read.place)
        task.cancel()

    def _forget(self, key: tuple[str, int], task: "asyncio.Task[Sequence[Record]]") -> None:
        if key in self._reads and self._reads[key][1] is task:
            del self._reads[key]


class CatchUpRunner:
    """Runs the catch-ups of all clients of a worker."""

    def __init__(
        self, replayer: Replayer, stats: EdgeStats, budget: CatchUpBudget | None = None
    ) -> None:
        self._replayer = replayer
        self._stats = stats
        self._reads = SharedReads(replayer, budget)
        self._steps = Turns(STEPS_PER_TURN)
        self._tasks: dict[CatchUpClient, asyncio.Task[None]] = {}
        self._log = LimitedLog(logger)

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def reads(self) -> SharedReads:
        """Reads the journal for all catch-ups."""
        return self._reads

    def start(self, client: CatchUpClient, catching_up: Steps) -> None:
        """Step `catching_up` until it ends. One catch-up of a client at a time."""
        task = asyncio.create_task(self._run(client, catching_up))
        self._tasks[client] = task
        task.add_done_callback(lambda _: self._forget(client, task))

    def cancel(self, client: CatchUpClient) -> None:
        """The connection is gone."""
        if task := self._tasks.pop(client, None):
            task.cancel()

    def close(self) -> None:
        """End all tasks; those of the reads end with their last user."""
        for task in self._tasks.values():
            task.cancel()

    def _forget(self, client: CatchUpClient, task: "asyncio.Task[None]") -> None:
        # The last step may have started the next catch-up of the same client.
        if self._tasks.get(client) is task:
            del self._tasks[client]

    async def _run(self, client: CatchUpClient, catching_up: Steps) -> None:
        try:
            await self._step_to_the_end(client, catching_up)
        except (TimeoutError, ReplayFailed) as error:
            reason = str(error) or f"no replay within {READ_TIMEOUT_S:.0f} s"
            self._log.warning("replay", "a client could not be caught up: %s", reason)
            client.close(NOTHING_REPLAYED)
        except Exception:  # noqa: BLE001 - logged
            self._log.exception("fault", "a client could not be caught up")
            client.close(try_again(CloseCode.TRY_AGAIN_LATER.meaning, RETRY_S))

    async def _step_to_the_end(self, client: CatchUpClient, catching_up: Steps) -> None:
        missing: JournalRange | None = None
        deadline = 0.0
        while not client.closed:
            username = client.identity.username
            async with (
                self._reads.records(missing, username) as records,
                self._steps.turn(username),
            ):
                result = catching_up.step(records)
                self._stats.deliveries += result.deliveries
                self._reads.spend(username, result.looked_at, result.sent_bytes)
                if result.state.is_final:
                    return
                # The frames of this step are written when the turn ends. The place is held
                # until then: that many other clients step in this turn, and the rest in the next.
                await asyncio.sleep(0)
            # Not read from the journal before the client has room: records would wait in memory.
            await client.drained()
            missing = result.missing
            if result.state is CatchUpState.AWAITING_STREAMS:
                deadline = deadline or asyncio.get_running_loop().time() + WAIT_FOR_STREAMS_S
                await self._await_streams(client, deadline)

    async def _await_streams(self, client: CatchUpClient, deadline: float) -> None:
        """Wait until streams have advanced; at `deadline`, in loop time, close the client."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._replayer.streams_went_on()
        except TimeoutError:
            # Live here, the client would be sent events that it has a second time.
            client.close(EDGE_LAGS)


def _key(missing: JournalRange) -> tuple[str, int]:
    return missing.stream, read_index(missing.after)
