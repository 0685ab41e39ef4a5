"""Which client waits for what while clients are caught up."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from edge import catch_up_runner as module
from edge.catch_up_runner import (
    MAX_READS,
    READS_OF_USER,
    STEPS_PER_TURN,
    CatchUpRunner,
    SharedReads,
)
from edge.core.catch_up.connection_catch_up import (
    CatchUpState,
    JournalRange,
    ReplayFailed,
    StepResult,
)
from edge.core.catch_up_budget import CatchUpBudget, CatchUpLimits
from edge.core.stats import EdgeStats
from edge.core.streams.history import PAGE_OFFSETS, READ_PAGES
from edge.core.streams.record import Record
from edge.core.websocket.close_codes import Close
from tests.edge.journal import record
from tests.edge.recorders import RecordingConnection

DEADLINE_S = 10.0
MISSING = JournalRange("event", 10, 5)
NOT_YET = StepResult(CatchUpState.REPLAYING)
READS = StepResult(CatchUpState.REPLAYING, missing=MISSING)
IS_AHEAD = StepResult(CatchUpState.AWAITING_STREAMS)


class ScriptedReplayer:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[JournalRange] = []
        self.may_answer = asyncio.Event()
        self.went_on = asyncio.Event()
        self.failure: Exception | None = None

    async def fetch(self, missing: JournalRange) -> Sequence[Record]:
        """Wait, then answer or fail."""
        self.asked.append(missing)
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return [record(missing.after + 1)]

    async def streams_went_on(self) -> None:
        """Wait."""
        await self.went_on.wait()


class ScriptedSteps:
    """Steps with the results it was given; the last one completes it."""

    def __init__(self, *results: StepResult) -> None:
        self.results = [*results, StepResult(CatchUpState.COMPLETE, 1)]
        self.records: list[Sequence[Record]] = []
        self.finished = asyncio.Event()

    def step(self, records: Sequence[Record] = ()) -> StepResult:
        """Remember, and go on."""
        self.records.append(records)
        result = self.results.pop(0)
        if result.state.is_final:
            self.finished.set()
        return result


class WaitingClient(RecordingConnection):
    """Has room when the test says so."""

    def __init__(self, username: str = "alice") -> None:
        super().__init__(username)
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


Scenario = Callable[[CatchUpRunner, ScriptedReplayer], Coroutine[Any, Any, None]]


def play(scenario: Scenario, stats: EdgeStats | None = None) -> None:
    async def run() -> None:
        replayer = ScriptedReplayer()
        catch_up = CatchUpRunner(replayer, stats or EdgeStats())
        async with asyncio.timeout(DEADLINE_S):
            await scenario(catch_up, replayer)
        catch_up.close()

    asyncio.run(run())


async def others() -> None:
    """Let whatever is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_clients_that_lack_the_same_page_share_one_request() -> None:
    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        catch_ups = [ScriptedSteps(READS) for _ in range(50)]
        for each in catch_ups:
            catch_up.start(WaitingClient(), each)
        await others()
        assert replayer.asked == [MISSING]
        assert len(catch_up) == 50
        replayer.may_answer.set()
        for each in catch_ups:
            await each.finished.wait()
            first, second = each.records
            assert first == ()
            assert [got.offset for got in second] == [11]
        await others()
        assert len(catch_up) == 0

    stats = EdgeStats()
    play(scenario, stats)
    assert stats.deliveries == 50


def test_clients_that_lack_different_pages_of_a_range_share_one_request() -> None:
    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        for page in range(READ_PAGES):
            missing = JournalRange("event", page * PAGE_OFFSETS, 5)
            steps = ScriptedSteps(StepResult(CatchUpState.REPLAYING, missing=missing))
            catch_up.start(WaitingClient(), steps)
        await others()
        assert replayer.asked == [JournalRange("event", 0, 5)]

    play(scenario)


def test_a_client_that_goes_does_not_take_the_request_of_others_with_it() -> None:
    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        leaving, staying = WaitingClient(), WaitingClient()
        catch_ups = [ScriptedSteps(READS) for _ in range(2)]
        catch_up.start(leaving, catch_ups[0])
        catch_up.start(staying, catch_ups[1])
        await others()
        catch_up.cancel(leaving)
        replayer.may_answer.set()
        await catch_ups[1].finished.wait()
        assert not catch_ups[0].finished.is_set()

    play(scenario)


def test_no_step_is_made_while_the_client_has_no_room() -> None:
    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        slow, catching_up = WaitingClient(), ScriptedSteps(NOT_YET, NOT_YET)
        slow.room.clear()
        catch_up.start(slow, catching_up)
        await others()
        assert len(catching_up.records) == 1
        others_steps = [ScriptedSteps(NOT_YET) for _ in range(STEPS_PER_TURN + 1)]
        for each in others_steps:
            catch_up.start(WaitingClient(), each)
        for each in others_steps:
            await each.finished.wait()
        slow.room.set()
        await catching_up.finished.wait()

    play(scenario)


def test_few_clients_step_in_one_turn_of_the_loop() -> None:
    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        catch_ups = [ScriptedSteps(*[NOT_YET] * 3) for _ in range(40)]
        for each in catch_ups:
            catch_up.start(WaitingClient(), each)
        before = 0
        while not all(each.finished.is_set() for each in catch_ups):
            await asyncio.sleep(0)
            steps = sum(len(each.records) for each in catch_ups)
            assert steps - before <= 2 * STEPS_PER_TURN
            before = steps

    play(scenario)


@pytest.mark.parametrize(
    ("failure", "is_ours"),
    [(TimeoutError(), False), (ReplayFailed("the relay"), False), (ValueError("oh"), True)],
)
def test_a_replay_that_fails_closes_the_connection_with_4013(
    failure: Exception, is_ours: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        client = WaitingClient()
        replayer.failure = failure
        replayer.may_answer.set()
        catch_up.start(client, ScriptedSteps(READS))
        await client.was_closed.wait()
        assert [close.code for close in client.closes] == [4013]
        assert [bool(record.exc_info) for record in caplog.records] == [is_ours]

    play(scenario)


def test_a_relay_that_does_not_answer_closes_the_connection_with_4013(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT_S", 0.05)

    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        client = WaitingClient()
        catch_up.start(client, ScriptedSteps(READS))
        await client.was_closed.wait()
        assert [close.code for close in client.closes] == [4013]

    play(scenario)


def test_a_client_that_is_ahead_goes_on_when_the_streams_do() -> None:
    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        catching_up = ScriptedSteps(IS_AHEAD)
        catch_up.start(WaitingClient(), catching_up)
        await others()
        assert len(catching_up.records) == 1
        replayer.went_on.set()
        await catching_up.finished.wait()

    play(scenario)


def test_a_client_that_stays_ahead_is_sent_to_another_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_FOR_STREAMS_S", 0.05)

    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        client = WaitingClient()
        catch_up.start(client, ScriptedSteps(IS_AHEAD))
        await client.was_closed.wait()
        assert client.closes == [Close(4013, "this edge is behind your position, retry in 1 s")]

    play(scenario)


def read_of_range(number: int) -> StepResult:
    missing = JournalRange("event", number * PAGE_OFFSETS * READ_PAGES, 5)
    return StepResult(CatchUpState.REPLAYING, missing=missing)


def test_few_reads_are_under_way_at_a_time() -> None:
    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        catch_ups = [ScriptedSteps(read_of_range(number)) for number in range(3 * MAX_READS)]
        for number, each in enumerate(catch_ups):
            catch_up.start(WaitingClient(f"user-{number % 3}"), each)
        await others()
        assert len(replayer.asked) == MAX_READS
        replayer.may_answer.set()
        for each in catch_ups:
            await each.finished.wait()
        assert len(replayer.asked) == 3 * MAX_READS

    play(scenario)


def test_no_more_records_are_read_while_those_that_were_wait_for_their_steps() -> None:
    """A read may bring 1 MiB; a thousand clients must not hold a thousand of them."""

    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        replayer.may_answer.set()
        reads = SharedReads(replayer)
        may_step = asyncio.Event()

        async def use(number: int) -> None:
            user = f"user-{number % 3}"
            async with reads.records(read_of_range(number).missing, user) as records:
                assert len(records) == 1
                await may_step.wait()

        async with asyncio.TaskGroup() as group:
            for number in range(3 * MAX_READS):
                group.create_task(use(number))
            await others()
            assert len(replayer.asked) == MAX_READS
            may_step.set()
        assert len(replayer.asked) == 3 * MAX_READS
        assert len(reads) == 0

    play(scenario)


def test_a_read_that_nobody_waits_for_any_more_is_cancelled() -> None:
    """Else clients that come and go would leave reads behind without bound."""

    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        leaving = [WaitingClient(f"user-{number % 3}") for number in range(3 * MAX_READS)]
        for number, client in enumerate(leaving):
            catch_up.start(client, ScriptedSteps(read_of_range(number)))
        await others()
        for client in leaving:
            catch_up.cancel(client)
        await others()
        staying = ScriptedSteps(read_of_range(0))
        catch_up.start(WaitingClient(), staying)
        await others()
        assert len(replayer.asked) == MAX_READS + 1
        replayer.may_answer.set()
        await staying.finished.wait()

    play(scenario)


def test_a_read_is_not_joined_after_its_last_user_has_gone() -> None:
    """The two happen in one turn of the loop, before the cancelled read has ended."""

    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        reads = SharedReads(replayer)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(reads.records(MISSING, "alice").__aenter__())
            await others()
            first.cancel()
            await asyncio.wait([first])
            replayer.may_answer.set()
            async with reads.records(MISSING, "alice") as records:
                assert [each.offset for each in records] == [MISSING.after + 1]

    play(scenario)


def test_users_take_turns_with_steps() -> None:
    async def scenario(catch_up: CatchUpRunner, _: ScriptedReplayer) -> None:
        many = [ScriptedSteps(*[NOT_YET] * 3) for _ in range(30 * STEPS_PER_TURN)]
        for each in many:
            catch_up.start(WaitingClient("alice"), each)
        await asyncio.sleep(0)
        other = ScriptedSteps(NOT_YET)
        catch_up.start(WaitingClient("bob"), other)
        await other.finished.wait()
        assert not any(each.finished.is_set() for each in many)
        assert sum(len(each.records) for each in many) <= 10 * STEPS_PER_TURN
        for each in many:
            await each.finished.wait()

    play(scenario)


class OnePageAtATime(ScriptedReplayer):
    """Answers one request each time that the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Semaphore(0)

    async def fetch(self, missing: JournalRange) -> Sequence[Record]:
        """Wait, then answer."""
        self.asked.append(missing)
        await self.answers.acquire()
        return [record(missing.after + 1)]


@pytest.mark.parametrize("number", [3 * MAX_READS, 3 * MAX_READS - 1], ids=["own", "shared"])
def test_users_take_turns_with_reads(number: int) -> None:
    """Also if another user, in whose line it is far behind, waits for the same range."""

    async def run() -> None:
        replayer = OnePageAtATime()
        catch_up = CatchUpRunner(replayer, EdgeStats())
        many = [ScriptedSteps(read_of_range(number)) for number in range(3 * MAX_READS)]
        for place, each in enumerate(many):
            catch_up.start(WaitingClient(("alice", "carol")[place % 2]), each)
        await others()
        catch_up.start(WaitingClient("bob"), ScriptedSteps(read_of_range(number)))
        await others()
        assert len(replayer.asked) == MAX_READS
        for _ in ("alice", "carol", "bob"):
            replayer.answers.release()
            await others()
        assert read_of_range(number).missing in replayer.asked
        catch_up.close()

    asyncio.run(run())


def test_one_user_has_some_of_the_reads_and_another_one_need_not_wait() -> None:
    async def scenario(catch_up: CatchUpRunner, replayer: ScriptedReplayer) -> None:
        many = [ScriptedSteps(read_of_range(number)) for number in range(3 * MAX_READS)]
        for each in many:
            catch_up.start(WaitingClient("alice"), each)
        await others()
        assert len(replayer.asked) == READS_OF_USER < MAX_READS
        other = ScriptedSteps(read_of_range(3 * MAX_READS))
        catch_up.start(WaitingClient("bob"), other)
        await others()
        assert len(replayer.asked) == READS_OF_USER + 1
        replayer.may_answer.set()
        for each in (*many, other):
            await each.finished.wait()
        assert len(replayer.asked) == 3 * MAX_READS + 1

    play(scenario)


OVERDRAWN = CatchUpLimits(events_per_s=0.001, event_burst=100, bytes_per_s=0.001, byte_burst=100)


@pytest.mark.parametrize(
    "result",
    [
        StepResult(CatchUpState.REPLAYING, looked_at=101),
        StepResult(CatchUpState.REPLAYING, sent_bytes=101),
    ],
    ids=["events", "bytes"],
)
def test_a_user_who_has_spent_the_budget_waits_and_others_do_not(result: StepResult) -> None:
    async def run() -> None:
        catch_up = CatchUpRunner(ScriptedReplayer(), EdgeStats(), CatchUpBudget(OVERDRAWN))
        first, second = ScriptedSteps(result, NOT_YET), ScriptedSteps(NOT_YET, NOT_YET)
        catch_up.start(WaitingClient("alice"), first)
        await others()
        catch_up.start(WaitingClient("alice"), second)
        await others()
        assert (len(first.records), len(second.records)) == (1, 0)
        other = ScriptedSteps(NOT_YET, NOT_YET)
        catch_up.start(WaitingClient("bob"), other)
        await other.finished.wait()
        assert (len(first.records), len(second.records)) == (1, 0)
        assert catch_up.reads.budget.waits == 2
        catch_up.close()
        await others()

    asyncio.run(run())


def test_what_is_read_of_the_journal_costs_the_user_who_needs_it_first() -> None:
    async def run() -> None:
        replayer, limits = ScriptedReplayer(), CatchUpLimits(bytes_per_s=0.001, byte_burst=1)
        replayer.may_answer.set()
        reads = SharedReads(replayer, CatchUpBudget(limits))
        async with reads.records(MISSING, "alice") as records:
            assert len(records[0].payload) > 1
        reading = asyncio.create_task(reads.records(MISSING, "alice").__aenter__())
        async with reads.records(MISSING, "bob"):
            pass
        assert len(replayer.asked) == 2
        assert not reading.done()
        reading.cancel()

    asyncio.run(run())
