"""Who waits for whom while clients are caught up."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from edge import catch_up as module
from edge.catch_up import STEPS_PER_TURN, CatchUp
from edge.core.catch_up.resume import Fetch, Fetched, Outcome
from edge.core.stats import EdgeStats
from edge.core.streams.record import Record
from edge.core.websocket.close_codes import Close
from tests.edge.journal import record
from tests.edge.recorders import RecordingConnection

DEADLINE_S = 10.0
FETCH = Fetch("event", 10, 5)


class ScriptedLibrary:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Fetch] = []
        self.may_answer = asyncio.Event()
        self.went_on = asyncio.Event()
        self.failure: Exception | None = None

    async def fetch(self, fetch: Fetch) -> Sequence[Record]:
        """Wait, then answer or fail."""
        self.asked.append(fetch)
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return [record(fetch.after + 1)]

    async def streams_went_on(self) -> None:
        """Wait."""
        await self.went_on.wait()


class ScriptedPass:
    """Steps with the outcomes it was given; the last one completes it."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = [*outcomes, Outcome(is_complete=True, deliveries=1)]
        self.fetched: list[Fetched | None] = []
        self.gave_up = False
        self.finished = asyncio.Event()

    def step(self, fetched: Fetched | None = None) -> Outcome:
        """Remember, and go on."""
        self.fetched.append(fetched)
        return self.outcomes.pop(0)

    def give_up_waiting(self) -> None:
        """Remember."""
        self.gave_up = True

    def finish(self) -> None:
        """Remember."""
        self.finished.set()


class WaitingClient(RecordingConnection):
    """Has room when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.room = asyncio.Event()
        self.room.set()
        self.waiting = 0
        self.closes: list[Close] = []
        self.was_closed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return bool(self.closes)

    def close(self, close: Close) -> None:
        """Remember."""
        self.closes.append(close)
        self.was_closed.set()

    async def drained(self) -> None:
        """Wait for room."""
        await self.room.wait()

    def pause_reading(self) -> None:
        """It says nothing."""

    def resume_reading(self) -> None:
        """It says nothing."""

    def check_alive(self) -> None:
        """It is."""

    def gone(self) -> None:
        """Nothing is left to do."""


Scenario = Callable[[CatchUp, ScriptedLibrary], Coroutine[Any, Any, None]]


def play(scenario: Scenario, stats: EdgeStats | None = None) -> None:
    async def run() -> None:
        library = ScriptedLibrary()
        catch_up = CatchUp(library, stats or EdgeStats())
        async with asyncio.timeout(DEADLINE_S):
            await scenario(catch_up, library)
        catch_up.close()

    asyncio.run(run())


async def others() -> None:
    """Let whatever is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_clients_that_lack_the_same_page_share_one_request() -> None:
    async def scenario(catch_up: CatchUp, library: ScriptedLibrary) -> None:
        passes = [ScriptedPass(Outcome(fetch=FETCH)) for _ in range(50)]
        for each in passes:
            catch_up.start(WaitingClient(), each)
        await others()
        assert library.asked == [FETCH]
        assert len(catch_up) == 50
        library.may_answer.set()
        for each in passes:
            await each.finished.wait()
            first, second = each.fetched
            assert first is None
            assert second is not None
            assert [got.offset for got in second.records] == [11]
        await others()
        assert len(catch_up) == 0

    stats = EdgeStats()
    play(scenario, stats)
    assert stats.deliveries == 50


def test_a_client_that_goes_does_not_take_the_request_of_others_with_it() -> None:
    async def scenario(catch_up: CatchUp, library: ScriptedLibrary) -> None:
        leaving, staying = WaitingClient(), WaitingClient()
        passes = [ScriptedPass(Outcome(fetch=FETCH)) for _ in range(2)]
        catch_up.start(leaving, passes[0])
        catch_up.start(staying, passes[1])
        await others()
        catch_up.cancel(leaving)
        library.may_answer.set()
        await passes[1].finished.wait()
        assert not passes[0].finished.is_set()

    play(scenario)


def test_no_step_is_made_while_the_client_has_no_room() -> None:
    async def scenario(catch_up: CatchUp, library: ScriptedLibrary) -> None:
        slow, catching_up = WaitingClient(), ScriptedPass(Outcome(), Outcome())
        slow.room.clear()
        catch_up.start(slow, catching_up)
        await others()
        assert len(catching_up.fetched) == 1
        others_pass = [ScriptedPass(Outcome()) for _ in range(STEPS_PER_TURN + 1)]
        for each in others_pass:
            catch_up.start(WaitingClient(), each)
        for each in others_pass:
            await each.finished.wait()
        slow.room.set()
        await catching_up.finished.wait()

    play(scenario)


def test_few_clients_step_in_one_turn_of_the_loop() -> None:
    async def scenario(catch_up: CatchUp, library: ScriptedLibrary) -> None:
        passes = [ScriptedPass(*[Outcome()] * 3) for _ in range(40)]
        for each in passes:
            catch_up.start(WaitingClient(), each)
        before = 0
        while not all(each.finished.is_set() for each in passes):
            await asyncio.sleep(0)
            steps = sum(len(each.fetched) for each in passes)
            assert steps - before <= 2 * STEPS_PER_TURN
            before = steps

    play(scenario)


@pytest.mark.parametrize("failure", [TimeoutError(), ValueError("a fault of ours")])
def test_what_cannot_be_replayed_closes_the_connection_with_4013(failure: Exception) -> None:
    async def scenario(catch_up: CatchUp, library: ScriptedLibrary) -> None:
        client = WaitingClient()
        library.failure = failure
        library.may_answer.set()
        catch_up.start(client, ScriptedPass(Outcome(fetch=FETCH)))
        await client.was_closed.wait()
        assert [close.code for close in client.closes] == [4013]

    play(scenario)


def test_a_relay_that_does_not_answer_closes_the_connection_with_4013(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FETCH_TIMEOUT_S", 0.05)

    async def scenario(catch_up: CatchUp, library: ScriptedLibrary) -> None:
        client = WaitingClient()
        catch_up.start(client, ScriptedPass(Outcome(fetch=FETCH)))
        await client.was_closed.wait()
        assert [close.code for close in client.closes] == [4013]

    play(scenario)


def test_a_client_that_is_ahead_goes_on_when_the_streams_do() -> None:
    async def scenario(catch_up: CatchUp, library: ScriptedLibrary) -> None:
        catching_up = ScriptedPass(Outcome(awaits_streams=True))
        catch_up.start(WaitingClient(), catching_up)
        await others()
        assert len(catching_up.fetched) == 1
        library.went_on.set()
        await catching_up.finished.wait()
        assert not catching_up.gave_up

    play(scenario)


def test_a_client_that_stays_ahead_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_FOR_STREAMS_S", 0.05)

    async def scenario(catch_up: CatchUp, library: ScriptedLibrary) -> None:
        catching_up = ScriptedPass(Outcome(awaits_streams=True))
        catch_up.start(WaitingClient(), catching_up)
        await catching_up.finished.wait()
        assert catching_up.gave_up

    play(scenario)
