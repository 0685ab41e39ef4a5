"""The steps of one catch-up: their size, their states, and what ends them."""

from collections import Counter

import pytest

from edge.core.catch_up.connection_catch_up import (
    STEP_BYTES,
    STEP_COMPARISONS,
    STEP_RECORDS,
    CatchUpState,
    ConnectionCatchUp,
)
from edge.core.catch_up.coverage import Coverage, CoverageList
from edge.core.catch_up.selection import PendingSubscription, Selection
from edge.core.hub.connections import ConnectionManager
from edge.core.protocol.requests import Subscribe
from edge.core.streams.record import LostRecord
from edge.core.streams.streams import Streams
from relay.wire.topics import parse_pattern
from tests.edge.journal import record
from tests.edge.recorders import RecordingConnection, RecordingObserver

ALL = parse_pattern("event:*")


class Table:
    """A client that has nothing of the stream `event`."""

    def __init__(self) -> None:
        self.streams = Streams(history_bytes=2**30)
        self.streams.synchronize(1, {"event": 0}, {"event": 1})
        self.connection = RecordingConnection()
        self.ended: list[ConnectionCatchUp] = []

    def emit(self, *sizes: int) -> None:
        """Forward an event of each of `sizes` bytes."""
        stream = self.streams.get("event")
        assert stream is not None
        for size in sizes:
            stream.history.append(record(stream.history.head + 1, size=size))

    def catch_up(self, since: int | None = 0, last: int | None = None) -> ConnectionCatchUp:
        """Resume `event:*`."""
        offsets = {} if since is None else {"event": since}
        request = Subscribe(ALL, since=offsets, last=last)
        return self.start(PendingSubscription(request, (ALL,), offsets))

    def start(self, pending: PendingSubscription) -> ConnectionCatchUp:
        """Begin to catch up `pending`."""
        self.selection = Selection([pending], CoverageList([]), self.streams)
        manager = ConnectionManager(RecordingObserver())
        manager.connect(self.connection)
        return ConnectionCatchUp(
            self.connection, manager, self.streams, self.selection, self.ended.append
        )

    def step_sizes(self, catch_up: ConnectionCatchUp) -> list[int]:
        """Step to the end; return the bytes that each step handed over."""
        sizes = []
        while not catch_up.state.is_final:
            before = len(self.connection.frames)
            result = catch_up.step()
            frames = self.connection.frames[before:]
            assert len(frames) == result.deliveries
            assert len(frames) <= STEP_RECORDS
            sizes.append(sum(map(len, frames)))
        return sizes


@pytest.fixture
def table() -> Table:
    return Table()


def test_a_step_hands_over_64_kib_unless_one_frame_is_larger(table: Table) -> None:
    mebibyte = 2**20 - 1000  # of an envelope, which may have 1 MiB
    table.emit(100, mebibyte, mebibyte, 100, 40_000, 40_000, mebibyte)
    sizes = table.step_sizes(table.catch_up())
    large = [size for size in sizes if size > STEP_BYTES]
    assert len(large) == 3
    assert all(size < mebibyte + 2000 for size in large), "nothing beside a frame of 1 MiB"
    assert len(table.connection.frames) == 7


def test_a_step_looks_at_few_records_though_none_is_for_the_client(table: Table) -> None:
    table.emit(*[0] * (3 * STEP_RECORDS))
    catch_up = table.catch_up()
    table.connection.identity = RecordingConnection("bob").identity
    assert catch_up.step().deliveries <= STEP_RECORDS


def test_a_step_looks_at_512_records_across_pages(table: Table) -> None:
    table.emit(*[0] * 600)
    catch_up = table.catch_up(since=1)
    assert catch_up.step().deliveries == STEP_RECORDS
    assert catch_up.step().deliveries == 599 - STEP_RECORDS


def test_frames_of_exactly_64_kib_are_one_step(table: Table) -> None:
    def size_of(offset: int, size: int) -> int:
        return len(record(offset, size=size).read(Counter()))

    second = 20_000 + STEP_BYTES - size_of(1, 30_000) - size_of(2, 20_000)
    table.emit(30_000, second, 0)
    catch_up = table.catch_up()
    assert [catch_up.step().deliveries, catch_up.step().deliveries] == [2, 1]
    assert sum(map(len, table.connection.frames[:2])) == STEP_BYTES


@pytest.mark.parametrize(
    ("sizes", "others"),
    [
        ([40_000, 40_000, 0], {3}),
        ([0] * 256 + [60_000] + [0] * 10, set()),
        ([100_000, 0, 0], {2}),
    ],
    ids=["another user's behind it", "first of a page", "behind a large one"],
)
def test_an_event_that_does_not_fit_into_a_step_is_the_first_of_the_next(
    table: Table, sizes: list[int], others: set[int]
) -> None:
    stream = table.streams.get("event")
    assert stream is not None
    for offset, size in enumerate(sizes, 1):
        username = "bob" if offset in others else None
        stream.history.append(record(offset, username=username, size=size))
    table.step_sizes(table.catch_up())
    came = [message["offset"] for message in table.connection.take()]
    assert came == [offset for offset in range(1, len(sizes) + 1) if offset not in others]


def test_a_replay_that_the_history_has_no_room_for_is_sent_in_one_step(table: Table) -> None:
    table.streams = Streams(history_bytes=0)
    table.streams.synchronize(1, {"event": 0}, {"event": 1})
    table.emit(*[0] * 5)
    catch_up = table.catch_up()
    assert catch_up.step().missing is not None
    result = catch_up.step([record(1), LostRecord("event", 2), record(3), record(4)])
    assert (result.state, result.deliveries) == (CatchUpState.COMPLETE, 4)
    assert [each.get("offset") for each in table.connection.take()] == [1, None, 3, 4, 5]


def test_a_stream_that_ends_meanwhile_does_not_keep_the_others(table: Table) -> None:
    table.streams.synchronize(1, {"audit": 0, "event": 0}, {})
    table.emit(0, 0)
    offsets = {"audit": 0, "event": 0}
    request = Subscribe(parse_pattern("*"), since=offsets)
    pending = PendingSubscription(request, (parse_pattern("*"),), dict(offsets))
    catch_up = table.start(pending)
    table.streams.synchronize(1, {"event": 2}, {})
    assert catch_up.step().deliveries == 2


def test_lost_events_are_named_and_those_behind_them_come(table: Table) -> None:
    table.emit(0, 0)
    stream = table.streams.get("event")
    assert stream is not None
    for offset in (3, 4, 6):
        while stream.history.head < offset - 1:
            table.emit(0)
        stream.history.append(LostRecord("event", offset))
    catch_up = table.catch_up()
    while not catch_up.state.is_final:
        catch_up.step()
    told = [
        each.get("offset") or (each["from"], each["to"], each["reason"])
        for each in table.connection.take()
    ]
    assert told == [1, 2, (3, 4, "damaged"), 5, (6, 6, "damaged")]
    [pending] = table.selection._pending
    assert not catch_up.has_recovered(pending)


def test_the_last_step_ends_the_catch_up_in_its_own_turn(table: Table) -> None:
    table.emit(0, 0)
    catch_up = table.catch_up()
    assert catch_up.state is CatchUpState.REPLAYING
    assert table.ended == []
    assert catch_up.step().state is CatchUpState.COMPLETE
    assert table.ended == [catch_up]


def test_a_client_with_everything_is_complete_from_the_start(table: Table) -> None:
    table.emit(0, 0)
    assert table.catch_up(since=2).state is CatchUpState.COMPLETE


def test_a_client_ahead_waits_until_the_streams_come(table: Table) -> None:
    table.emit(0)
    waiting = table.catch_up(since=3)
    assert waiting.step().state is CatchUpState.AWAITING_STREAMS
    table.emit(0)
    assert waiting.step().state is CatchUpState.AWAITING_STREAMS
    table.emit(0)
    result = waiting.step()
    assert (result.state, result.deliveries) == (CatchUpState.COMPLETE, 0)
    assert waiting.has_reached_claims


def test_a_new_epoch_abandons_it(table: Table) -> None:
    table.emit(0)
    catch_up = table.catch_up()
    table.streams.synchronize(2, {"event": 5}, {"event": 1})
    result = catch_up.step()
    assert (result.state, result.deliveries) == (CatchUpState.ABANDONED, 0)
    assert not catch_up.has_reached_claims


def test_it_is_complete_when_nothing_is_wanted_any_more(table: Table) -> None:
    table.emit(*[0] * 1000)
    catch_up = table.catch_up()
    catch_up.step()
    table.selection.withdraw(ALL)
    assert catch_up.step().state is CatchUpState.COMPLETE
    assert len(table.connection.frames) == STEP_RECORDS


def test_the_newest_events_are_searched_for_and_then_sent(table: Table) -> None:
    table.emit(*[0] * 600)
    catch_up = table.catch_up(since=None, last=3)
    assert catch_up.state is CatchUpState.SEARCHING
    assert len(table.step_sizes(catch_up)) > 1
    assert [message["offset"] for message in table.connection.take()] == [598, 599, 600]


def test_a_step_searches_few_records_before_others_have_their_turn(table: Table) -> None:
    table.emit(*[0] * (3 * STEP_RECORDS))
    catch_up = table.catch_up(since=None, last=3 * STEP_RECORDS)
    states = [catch_up.step().state for _ in range(3)]
    assert states == [CatchUpState.SEARCHING] * 2 + [CatchUpState.REPLAYING]


def test_a_search_ends_with_the_stream_that_it_searches(table: Table) -> None:
    """A restarted relay may journal fewer kinds; then no read would ever be answered."""
    table.streams = Streams()
    table.streams.synchronize(1, {"event": 600}, {"event": 1})
    catch_up = table.catch_up(since=None, last=3)
    assert catch_up.step().missing is not None
    table.streams.synchronize(1, {}, {})
    assert table.step_sizes(catch_up)[-1] == 0
    assert catch_up.state is CatchUpState.COMPLETE


@pytest.mark.parametrize("are_live", [False, True], ids=["pending", "live"])
def test_a_step_compares_few_subscriptions_with_new_topics(table: Table, are_live: bool) -> None:
    patterns = [parse_pattern("event:o*")] * (STEP_COMPARISONS // 4)
    pending = [
        PendingSubscription(Subscribe(each, since={"event": 0}), (each,), {"event": 0})
        for each in (patterns[:1] if are_live else patterns)
    ]
    live = [Coverage(each, (each,), {"event": 0}) for each in patterns if are_live]
    selection = Selection(pending, CoverageList(live), table.streams)
    manager = ConnectionManager(RecordingObserver())
    manager.connect(table.connection)
    stream = table.streams.get("event")
    assert stream is not None
    history = stream.history
    for offset in range(1, 41):
        history.append(record(offset, f"event:other{offset}"))
    catch_up = ConnectionCatchUp(
        table.connection, manager, table.streams, selection, table.ended.append
    )
    while not catch_up.state.is_final:
        before = selection.comparisons
        catch_up.step()
        assert selection.comparisons - before <= STEP_COMPARISONS + len(patterns) + 1
    assert selection.comparisons >= 40 * len(patterns)
