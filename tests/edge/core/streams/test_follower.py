"""A stream is forwarded exactly once and in order, whatever is lost on the way."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.stats import Dropped
from edge.core.streams import follower as module
from edge.core.streams.follower import MAX_HELD_RECORDS, StreamFollower
from edge.core.streams.record import Record
from tests.edge.journal import Journal, record


def offsets(records: Sequence[Record]) -> list[int]:
    return [each.offset for each in records]


@pytest.fixture
def dropped() -> Dropped:
    return Dropped()


@pytest.fixture
def follower(dropped: Dropped) -> StreamFollower:
    return StreamFollower("event", 10, dropped)


def test_what_is_expected_is_forwarded_at_once(follower: StreamFollower) -> None:
    assert offsets(follower.take_live(record(11))) == [11]
    assert offsets(follower.take_live(record(12))) == [12]
    assert follower.position == 12
    assert follower.replay_request() is None


def test_what_was_there_already_is_counted(follower: StreamFollower, dropped: Dropped) -> None:
    assert offsets(follower.take_live(record(10))) == []
    assert dropped.repeated == {"event": 1}
    assert not follower.is_behind


def test_behind_a_hole_events_are_held_until_it_is_closed(follower: StreamFollower) -> None:
    for offset in (13, 14):
        assert offsets(follower.take_live(record(offset))) == []
    assert follower.replay_request() == 10
    replayed = follower.take_replay([record(11), record(12)], 1, 14)
    assert (offsets(replayed.records), replayed.gap) == ([11, 12, 13, 14], None)
    assert not follower.is_behind
    assert follower.held_count == 0


def test_a_second_hole_is_left_to_the_next_replay(
    follower: StreamFollower, dropped: Dropped
) -> None:
    for offset in (13, 15, 16):
        follower.take_live(record(offset))
    assert dropped.out_of_order == {"event": 2}
    replayed = follower.take_replay([record(11), record(12)], 1, 13)
    assert offsets(replayed.records) == [11, 12, 13]
    assert follower.is_behind
    assert follower.replay_request() == 13


def test_the_last_missing_event_may_come_by_itself(follower: StreamFollower) -> None:
    follower.take_live(record(12))
    assert offsets(follower.take_live(record(11))) == [11, 12]
    assert not follower.is_behind


def test_a_lost_tail_is_known_from_the_tip(follower: StreamFollower) -> None:
    follower.take_last_offset(12)
    assert follower.is_behind
    assert follower.replay_request() == 10
    follower.take_last_offset(10)
    assert follower.is_behind, "an older heartbeat takes nothing back"


def test_one_request_at_a_time_and_again_only_when_it_is_lost(follower: StreamFollower) -> None:
    follower.take_last_offset(12)
    assert follower.replay_request() == 10
    assert follower.replay_request() is None
    follower.forget_request()
    assert follower.replay_request() == 10


def test_a_replay_that_brings_nothing_is_not_asked_for_at_once(follower: StreamFollower) -> None:
    """A relay that lacks what it should have must not be asked in a loop."""
    follower.take_last_offset(12)
    assert follower.replay_request() == 10
    follower.take_replay([], 1, 12)
    assert follower.is_asked
    assert follower.replay_request() is None
    follower.take_replay([record(11)], 1, 12)
    assert follower.replay_request() == 11


def test_a_replay_of_what_has_come_by_itself_is_asked_for_anew(follower: StreamFollower) -> None:
    follower.take_last_offset(13)
    assert follower.replay_request() == 10
    follower.take_live(record(11))
    follower.take_replay([record(11)], 1, 13)
    assert follower.replay_request() == 11


def test_what_the_journal_no_longer_has_is_a_gap(follower: StreamFollower) -> None:
    follower.take_last_offset(30)
    replayed = follower.take_replay([record(21), record(22)], 21, 30)
    assert (offsets(replayed.records), replayed.gap) == ([21, 22], (11, 20))
    replayed = follower.take_replay([], 31, 30)
    assert (offsets(replayed.records), replayed.gap) == ([], (23, 30))
    assert offsets(follower.take_live(record(31))) == [31]


def test_a_gap_ends_where_held_events_begin(follower: StreamFollower) -> None:
    follower.take_live(record(15))
    replayed = follower.take_replay([], 20, 19)
    assert (offsets(replayed.records), replayed.gap) == ([15], (11, 14))
    assert follower.replay_request() == 15


def test_what_is_held_is_bounded_by_count(follower: StreamFollower, dropped: Dropped) -> None:
    for offset in range(12, 12 + MAX_HELD_RECORDS + 5):
        follower.take_live(record(offset))
    assert follower.held_count == MAX_HELD_RECORDS
    assert dropped.out_of_order["event"] == 5


def test_what_is_held_may_have_exactly_its_bytes_for_each_hole_anew(
    follower: StreamFollower, dropped: Dropped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 3 * record(11).cost)
    for missing in (11, 21, 31):
        for offset in range(missing + 1, missing + 5):
            follower.take_live(record(offset))
        assert follower.held_count == 3
        replayed = follower.take_replay([record(missing)], 1, missing + 4)
        assert offsets(replayed.records) == list(range(missing, missing + 4))
        follower.take_replay([record(each) for each in range(missing + 4, missing + 10)], 1, 99)
    assert dropped.out_of_order["event"] == 3


def test_what_is_held_and_comes_again_is_counted_as_repeated(
    follower: StreamFollower, dropped: Dropped
) -> None:
    for offset in (12, 12, 13, 14, 12, 13, 14):
        follower.take_live(record(offset))
    assert (follower.held_count, dropped.repeated) == (3, {"event": 4})
    assert not dropped.out_of_order


def test_a_replay_that_begins_too_late_is_counted_and_asked_for_again(
    follower: StreamFollower, dropped: Dropped
) -> None:
    follower.take_last_offset(13)
    replayed = follower.take_replay([record(12), record(13)], 11, 13)
    assert replayed == ([], None)
    assert dropped.out_of_order == {"event": 2}
    assert follower.is_asked


def test_what_is_held_is_bounded_by_bytes(follower: StreamFollower, dropped: Dropped) -> None:
    for offset in range(12, 112):
        follower.take_live(record(offset, size=1024 * 1024))
    assert 1 < follower.held_count < 10
    assert dropped.out_of_order["event"] == 100 - follower.held_count


actions = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), st.integers(1, 20)),
        st.tuples(st.just("lose"), st.integers(1, 20)),
        st.tuples(st.just("again"), st.integers(1, 40)),
        st.tuples(st.just("retire"), st.integers(1, 60)),
        st.tuples(st.just("heartbeat"), st.just(0)),
        st.tuples(st.just("answer"), st.integers(1, 30)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=40,
)


class Model:
    """A relay whose live events may be lost, and a follower that must not mind."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.dropped = Dropped()
        self.follower = StreamFollower("event", 0, self.dropped)
        self.forwarded: list[int] = []
        self.gaps: list[tuple[int, int]] = []
        self.received = 0
        self.asked: int | None = None

    def live(self, taken: Record) -> None:
        self.received += 1
        self.forwarded += offsets(self.follower.take_live(taken))

    def emit(self, count: int) -> None:
        for _ in range(count):
            self.live(self.journal.append())

    def ask(self) -> None:
        after = self.follower.replay_request()
        if after is not None:
            assert after == self.follower.position
            self.asked = after

    def answer(self, limit: int) -> None:
        if self.asked is None:
            return
        records = self.journal.replay(self.asked, limit)
        self.asked = None
        self.received += len(records)
        replayed = self.follower.take_replay(records, self.journal.low, self.journal.tip)
        if replayed.gap is not None:
            self.gaps.append(replayed.gap)
            self.forwarded += [-1] * (replayed.gap[1] - replayed.gap[0] + 1)
        self.forwarded += offsets(replayed.records)

    def act(self, action: str, number: int) -> None:
        acts: dict[str, Callable[[], object]] = {
            "emit": lambda: self.emit(number),
            "lose": lambda: [self.journal.append() for _ in range(number)],
            "again": lambda: self.live(record(min(number, self.journal.tip) or 1)),
            "retire": lambda: self.journal.retire(number),
            "heartbeat": lambda: self.follower.take_last_offset(self.journal.tip),
            "answer": lambda: self.answer(number),
            "restart": self.restart,
        }
        if action == "again" and not self.journal.tip:
            return
        acts[action]()
        self.ask()

    def restart(self) -> None:
        self.asked = None
        self.follower.forget_request()

    def settle(self) -> None:
        self.follower.take_last_offset(self.journal.tip)
        for _ in range(200):
            if not self.follower.is_behind:
                return
            self.ask()
            self.answer(7)
        raise AssertionError("the follower does not come to an end")


@settings(max_examples=300, deadline=None)
@given(actions, st.integers(2, 12))
def test_every_offset_is_forwarded_once_in_order_or_named_in_a_gap(
    steps: list[tuple[str, int]], max_held: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_HELD_RECORDS", max_held)
        model = Model()
        for action, number in steps:
            model.act(action, number)
        model.settle()
    missing = {n for first, last in model.gaps for n in range(first, last + 1)}
    expected = [-1 if n in missing else n for n in range(1, model.journal.tip + 1)]
    assert model.forwarded == expected
    assert all(n < model.journal.low for n in missing)
    kept = len([n for n in model.forwarded if n > 0])
    dropped = model.dropped.repeated["event"] + model.dropped.out_of_order["event"]
    assert model.received == kept + dropped, "accounts add up"
