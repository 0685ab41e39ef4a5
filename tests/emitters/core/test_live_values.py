"""Of a live topic the newest value is kept until somebody watches, and every other is counted."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from emitters.core.live_values import MAX_LIVE_TOPICS, LiveValues
from emitters.core.outgoing import Outgoing
from relay.wire.topics import parse_topic

TOPICS = ("live:a", "live:b", "live:c")


def value(topic: str, envelope: bytes = b"x") -> Outgoing:
    return Outgoing(parse_topic(topic), envelope)


def everybody_watches(_topic: str) -> bool:
    return True


def nobody_watches(_topic: str) -> bool:
    return False


class LiveValuesMachine(RuleBasedStateMachine):
    """The model: a dictionary of values, and which of them `take` has yet to consider."""

    def __init__(self) -> None:
        super().__init__()
        self.values = LiveValues()
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
        taken = self.values.take(self.watched.__contains__)
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
        assert values.has_new == bool(self.fresh)
        assert values.taken == values.sent + values.conflated + len(values)


TestLiveValuesAgainstModel = LiveValuesMachine.TestCase
TestLiveValuesAgainstModel.settings = settings(max_examples=60, deadline=None)


def test_a_value_that_nobody_watches_waits_until_somebody_does() -> None:
    values = LiveValues()
    values.put(value("live:a"))
    assert values.take(nobody_watches) == []
    assert values.take(everybody_watches) == [], "not looked at before interest changes"
    values.interest_changed()
    assert values.take(everybody_watches) == [value("live:a")]
    assert values.take(everybody_watches) == []


def test_what_is_put_back_does_not_replace_a_newer_value() -> None:
    values = LiveValues()
    values.put(value("live:a", b"old"))
    taken = values.take(everybody_watches)
    values.put(value("live:a", b"new"))
    values.put_back(taken)
    assert values.take(everybody_watches) == [value("live:a", b"new")]
    assert (values.sent, values.conflated) == (1, 1)


@pytest.mark.parametrize("unwatched", [False, True])
def test_live_topics_are_bounded_and_the_oldest_goes_first(unwatched: bool) -> None:
    values = LiveValues()
    for number in range(MAX_LIVE_TOPICS):
        values.put(value(f"live:{number}"))
    if unwatched:
        values.take(nobody_watches)
    values.put(value("live:new"))
    assert values.conflated == 1
    values.interest_changed()
    topics = [event.topic.text for event in values.take(everybody_watches)]
    assert len(topics) == MAX_LIVE_TOPICS
    assert "live:0" not in topics
    assert "live:new" in topics


def test_live_topics_stay_bounded_when_values_are_put_back() -> None:
    values = LiveValues()
    for number in range(MAX_LIVE_TOPICS):
        values.put(value(f"live:{number}"))
    taken = values.take(everybody_watches)
    values.put(value("live:new"))
    values.put_back(taken)
    assert len(values) == MAX_LIVE_TOPICS
    assert values.conflated == 1
