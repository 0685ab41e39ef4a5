"""The outbox keeps every journaled event in order and of live topics the newest value."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from emitters.core.outbox import MAX_LIVE_TOPICS, Outbox, Outgoing
from emitters.errors import OutboxFull
from relay.wire.topics import parse_topic

MAX_EVENTS, MAX_BYTES = 4, 20


def outgoing(topic: str, envelope: bytes = b"x") -> Outgoing:
    return Outgoing(parse_topic(topic), envelope)


def everybody_watches(_topic: str) -> bool:
    return True


def nobody_watches(_topic: str) -> bool:
    return False


def drain(outbox: Outbox) -> list[Outgoing]:
    events = []
    while (event := outbox.peek()) is not None:
        outbox.pop()
        events.append(event)
    return events


class OutboxMachine(RuleBasedStateMachine):
    """The model: a list of journaled events, and two dictionaries of live values."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(MAX_EVENTS, MAX_BYTES)
        self.journaled: list[Outgoing] = []
        self.live: dict[str, Outgoing] = {}
        self.watched: set[str] = set()
        self.taken: list[Outgoing] = []
        self.fresh: set[str] = set()
        """Live topics whose value `take_live` has yet to consider."""

    @rule(topic=st.sampled_from(["event:a", "task:1"]), size=st.integers(0, MAX_BYTES + 1))
    def add_journaled(self, topic: str, size: int) -> None:
        event = outgoing(topic, b"x" * size)
        fits = (
            len(self.journaled) < MAX_EVENTS
            and sum(len(item.envelope) for item in self.journaled) + size <= MAX_BYTES
        )
        assert self.outbox.has_room_for(event) == fits
        if fits:
            self.outbox.add(event)
            self.journaled.append(event)
            return
        with pytest.raises(OutboxFull):
            self.outbox.add(event)

    @rule(topic=st.sampled_from(["live:a", "live:b", "live:c"]), mark=st.binary(max_size=30))
    def add_live(self, topic: str, mark: bytes) -> None:
        event = outgoing(topic, mark)
        assert self.outbox.has_room_for(event)
        before = self.outbox.conflated
        self.outbox.add(event)
        assert self.outbox.conflated - before == (topic in self.live)
        self.live[topic] = event
        self.fresh.add(topic)

    @precondition(lambda self: self.journaled)
    @rule()
    def pop(self) -> None:
        assert self.outbox.peek() == self.journaled.pop(0)
        self.outbox.pop()

    @rule()
    def take_live(self) -> None:
        taken = self.outbox.take_live(self.watched.__contains__)
        expected = [self.live[topic] for topic in self.fresh & self.watched]
        assert sorted(taken) == sorted(expected)
        for event in taken:
            del self.live[event.topic.text]
        self.fresh.clear()
        self.taken = taken

    @precondition(lambda self: self.taken)
    @rule()
    def put_back(self) -> None:
        before = self.outbox.conflated
        replaced = [event for event in self.taken if event.topic.text in self.live]
        self.outbox.put_back_live(self.taken)
        assert self.outbox.conflated - before == len(replaced)
        for event in self.taken:
            if event not in replaced:
                self.live[event.topic.text] = event
                self.fresh.add(event.topic.text)
        self.taken = []

    @rule(topics=st.sets(st.sampled_from(["live:a", "live:b", "live:c"])))
    def interest_changes(self, topics: set[str]) -> None:
        self.watched = topics
        self.outbox.interest_changed()
        self.fresh = set(self.live)

    @invariant()
    def the_next_event_is_the_oldest(self) -> None:
        assert len(self.outbox) == len(self.journaled)
        assert self.outbox.peek() == (self.journaled[0] if self.journaled else None)


TestOutboxAgainstModel = OutboxMachine.TestCase
TestOutboxAgainstModel.settings = settings(max_examples=60, deadline=None)


def test_a_full_outbox_says_what_waits_and_what_the_limits_are() -> None:
    outbox = Outbox(1, 100)
    outbox.add(outgoing("event:a", b"12345"))
    with pytest.raises(OutboxFull, match=r"^1 events \(5 bytes\) wait .* 1 events and 100 bytes$"):
        outbox.add(outgoing("event:b"))


def test_the_limits_are_exact() -> None:
    outbox = Outbox(10, 5)
    outbox.add(outgoing("event:a", b"12345"))
    assert not outbox.has_room_for(outgoing("event:a", b"1"))
    assert outbox.has_room_for(outgoing("event:a", b""))
    outbox.pop()
    assert not outbox.has_room_for(outgoing("event:a", b"123456"))


def test_a_full_outbox_still_takes_live_values() -> None:
    outbox = Outbox(1, 1)
    outbox.add(outgoing("event:a"))
    outbox.add(outgoing("live:a", b"larger"))
    assert outbox.take_live(everybody_watches) == [outgoing("live:a", b"larger")]


def test_a_value_that_nobody_watches_waits_until_somebody_does() -> None:
    outbox = Outbox(1, 1)
    outbox.add(outgoing("live:a"))
    assert outbox.take_live(nobody_watches) == []
    assert outbox.take_live(everybody_watches) == [], "not looked at before interest changes"
    outbox.interest_changed()
    assert outbox.take_live(everybody_watches) == [outgoing("live:a")]
    assert outbox.take_live(everybody_watches) == []


def test_what_is_put_back_does_not_replace_a_newer_value() -> None:
    outbox = Outbox(1, 1)
    outbox.add(outgoing("live:a", b"old"))
    taken = outbox.take_live(everybody_watches)
    outbox.add(outgoing("live:a", b"new"))
    outbox.put_back_live(taken)
    assert outbox.take_live(everybody_watches) == [outgoing("live:a", b"new")]
    assert outbox.conflated == 1


@pytest.mark.parametrize("unwatched", [False, True])
def test_live_topics_are_bounded_and_the_oldest_goes_first(unwatched: bool) -> None:
    outbox = Outbox(1, 1)
    for number in range(MAX_LIVE_TOPICS):
        outbox.add(outgoing(f"live:{number}"))
    if unwatched:
        outbox.take_live(nobody_watches)
    outbox.add(outgoing("live:new"))
    assert outbox.conflated == 1
    outbox.interest_changed()
    topics = [event.topic.text for event in outbox.take_live(everybody_watches)]
    assert len(topics) == MAX_LIVE_TOPICS
    assert "live:0" not in topics
    assert "live:new" in topics


def test_live_topics_stay_bounded_when_values_are_put_back() -> None:
    outbox = Outbox(1, 1)
    for number in range(MAX_LIVE_TOPICS):
        outbox.add(outgoing(f"live:{number}"))
    taken = outbox.take_live(everybody_watches)
    outbox.add(outgoing("live:new"))
    outbox.put_back_live(taken)
    assert len(outbox.take_live(everybody_watches)) == MAX_LIVE_TOPICS


def test_events_and_tasks_are_journaled_until_the_relay_says_otherwise() -> None:
    outbox = Outbox(10, 100)
    assert outbox.is_journaled(parse_topic("event:a"))
    assert outbox.is_journaled(parse_topic("task:a"))
    assert not outbox.is_journaled(parse_topic("audit:a"))


def test_what_waits_is_sorted_anew_when_the_relay_names_its_kinds() -> None:
    outbox = Outbox(10, 100)
    for topic in ("event:a", "task:1", "event:b", "audit:x", "event:a"):
        outbox.add(outgoing(topic, topic.encode()))
    outbox.set_journaled_kinds(frozenset({"task", "audit"}))
    assert [event.topic.text for event in drain(outbox)] == ["task:1", "audit:x"]
    live = outbox.take_live(everybody_watches)
    assert sorted(event.topic.text for event in live) == ["event:a", "event:b"]
    assert outbox.has_room_for(outgoing("task:2", b"x" * 100)), "no bytes were forgotten"


def test_naming_the_same_kinds_again_changes_nothing() -> None:
    outbox = Outbox(10, 100)
    outbox.add(outgoing("event:a"))
    outbox.add(outgoing("event:b"))
    outbox.set_journaled_kinds(frozenset({"event", "task"}))
    assert [event.topic.text for event in drain(outbox)] == ["event:a", "event:b"]
