"""Of a live topic the newest value is kept until somebody watches, and every other is counted."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from emitters.core.outgoing import Outgoing
from emitters.core.unsent_values import MAX_LIVE_BYTES, MAX_LIVE_TOPICS, UnsentValues
from tests.emitters.core.live_values import (
    ALL,
    MIB,
    TOPICS,
    everybody_watches,
    nobody_watches,
    noting,
    value,
)


class UnsentValuesMachine(RuleBasedStateMachine):
    """The model: a dictionary of values, and which of them `take` has yet to consider."""

    def __init__(self) -> None:
        super().__init__()
        self.values = UnsentValues()
        self.live: dict[str, Outgoing] = {}
        self.fresh: set[str] = set()
        self.watched: set[str] = set()
        self.taken: list[Outgoing] = []

    @rule(topic=st.sampled_from(TOPICS), mark=st.binary(max_size=30))
    def put(self, topic: str, mark: bytes) -> None:
        before = self.values.conflated
        event = value(topic, mark)
        self.values.put(event)
        assert self.values.conflated - before == (topic in self.live)
        self.live[topic] = event
        self.fresh.add(topic)

    @rule()
    def take(self) -> None:
        taken = self.values.take(self.watched.__contains__, ALL)
        assert sorted(taken) == sorted(self.live[topic] for topic in self.fresh & self.watched)
        for event in taken:
            del self.live[event.topic.text]
        self.fresh.clear()
        self.taken = taken

    @precondition(lambda self: self.taken)
    @rule()
    def put_back(self) -> None:
        before = self.values.conflated
        replaced = [event for event in self.taken if event.topic.text in self.live]
        self.values.put_back(self.taken)
        assert self.values.conflated - before == len(replaced)
        for event in self.taken:
            if event not in replaced:
                self.live[event.topic.text] = event
                self.fresh.add(event.topic.text)
        self.taken = []

    @rule(topics=st.sets(st.sampled_from(TOPICS)))
    def interest_changes(self, topics: set[str]) -> None:
        self.watched = topics
        self.values.interest_changed()
        self.fresh = set(self.live)

    @rule()
    def give_up(self) -> None:
        self.values.give_up()
        self.live.clear()
        self.fresh.clear()
        self.taken = []

    @invariant()
    def every_value_is_accounted_for(self) -> None:
        values = self.values
        assert len(values) == len(self.live)
        assert values.has_unexamined == bool(self.fresh)
        assert values.put_count == values.sent + values.conflated + len(values)


TestUnsentValuesAgainstModel = UnsentValuesMachine.TestCase
TestUnsentValuesAgainstModel.settings = settings(max_examples=60, deadline=None)


def test_a_value_that_nobody_watches_waits_until_somebody_does() -> None:
    values = UnsentValues()
    values.put(value("live:a"))
    assert values.take(nobody_watches, ALL) == []
    assert values.take(everybody_watches, ALL) == [], "not looked at before interest changes"
    values.interest_changed()
    assert values.take(everybody_watches, ALL) == [value("live:a")]
    assert values.take(everybody_watches, ALL) == []


def test_what_is_put_back_does_not_replace_a_newer_value() -> None:
    values = UnsentValues()
    values.put(value("live:a", b"old"))
    taken = values.take(everybody_watches, ALL)
    values.put(value("live:a", b"new"))
    values.put_back(taken)
    assert values.take(everybody_watches, ALL) == [value("live:a", b"new")]
    assert (values.sent, values.conflated) == (1, 1)


@pytest.mark.parametrize("unwatched", [False, True])
def test_live_topics_are_bounded_and_the_oldest_goes_first(unwatched: bool) -> None:
    values = UnsentValues()
    for number in range(MAX_LIVE_TOPICS):
        values.put(value(f"live:{number}"))
    if unwatched:
        values.take(nobody_watches, ALL)
    values.put(value("live:new"))
    assert values.conflated == 1
    values.interest_changed()
    topics = [event.topic.text for event in values.take(everybody_watches, ALL)]
    assert len(topics) == MAX_LIVE_TOPICS
    assert "live:0" not in topics
    assert "live:new" in topics


def test_live_topics_stay_bounded_when_values_are_put_back() -> None:
    values = UnsentValues()
    for number in range(MAX_LIVE_TOPICS):
        values.put(value(f"live:{number}"))
    taken = values.take(everybody_watches, ALL)
    values.put(value("live:new"))
    values.put_back(taken)
    assert len(values) == MAX_LIVE_TOPICS
    assert values.conflated == 1


def test_live_values_of_1_mib_are_bounded_by_their_bytes_and_the_first_goes() -> None:
    values = UnsentValues()
    for number in range(40):
        values.put(value(f"live:{number}", bytes(MIB)))
    assert (len(values), values.conflated) == (MAX_LIVE_BYTES // MIB, 8)
    topics = [event.topic.text for event in values.take(everybody_watches, ALL)]
    assert topics == [f"live:{number}" for number in range(8, 40)]


def test_values_of_1_mib_that_are_put_back_make_room_for_newer_ones() -> None:
    values = UnsentValues()
    for number in range(32):
        values.put(value(f"live:{number}", bytes(MIB)))
    taken = values.take(everybody_watches, ALL)
    for number in range(10):
        values.put(value(f"live:new{number}", bytes(MIB)))
    values.put_back(taken)
    assert len(values) == MAX_LIVE_BYTES // MIB
    left = [event.topic.text for event in values.take(everybody_watches, ALL)]
    assert left == [f"live:{n}" for n in range(10, 32)] + [f"live:new{n}" for n in range(10)]
    assert values.conflated == 10


def test_a_batch_is_bounded_and_the_rest_is_taken_next() -> None:
    values = UnsentValues()
    for number in range(5):
        values.put(value(f"live:{number}"))
    batches = [[event.topic.text for event in values.take(everybody_watches, 3)] for _ in range(3)]
    assert batches == [["live:0", "live:1", "live:2"], ["live:3", "live:4"], []]


def test_nobody_is_asked_about_a_value_that_was_given_up() -> None:
    values = UnsentValues()
    for number in range(MAX_LIVE_TOPICS + 1):
        values.put(value(f"live:{number}"))
    asked: list[str] = []
    values.take(noting(asked), ALL)
    assert asked == [f"live:{number}" for number in range(1, MAX_LIVE_TOPICS + 1)]


def test_whether_a_value_waits_that_was_never_looked_at_is_known() -> None:
    values = UnsentValues()
    found = [values.has_unexamined_unsent]
    values.put(value("live:a"))
    found.append(values.has_unexamined_unsent)
    values.take(nobody_watches, ALL)
    found.append(values.has_unexamined_unsent)
    assert found == [False, True, False]


def test_a_value_that_is_withdrawn_was_never_put() -> None:
    values = UnsentValues()
    for topic in ("live:a", "audit:a", "audit:b"):
        values.put(value(topic))
    withdrawn = values.of_kinds({"audit", "event"})
    assert withdrawn == [value("audit:a"), value("audit:b")]
    for event in withdrawn:
        values.withdraw(event)
    assert (values.put_count, values.conflated, len(values)) == (1, 0, 1)
    asked: list[str] = []
    values.take(noting(asked), ALL)
    assert asked == ["live:a"]
