"""The newest sent value of each live topic goes to the next relay too, and only once."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from emitters.core.outgoing import Outgoing
from emitters.core.sent_values import SentValues
from emitters.core.unsent_values import MAX_LIVE_BYTES, MAX_LIVE_TOPICS, UnsentValues
from tests.emitters.core.live_values import (
    ALL,
    MIB,
    TOPICS,
    everybody_watches,
    nobody_watches,
    value,
)


class RelaysMachine(RuleBasedStateMachine):
    """The model: the newest value of each topic, and the one that the present relay has."""

    def __init__(self) -> None:
        super().__init__()
        self.values = UnsentValues()
        self.newest: dict[str, Outgoing] = {}
        self.at_relay: dict[str, Outgoing] = {}
        self.watched: set[str] = set()

    @rule(topic=st.sampled_from(TOPICS), mark=st.binary(max_size=4))
    def put(self, topic: str, mark: bytes) -> None:
        self.newest[topic] = value(topic, mark)
        self.values.put(self.newest[topic])

    @rule(most=st.integers(1, 4), refused=st.integers(0, 2))
    def send(self, most: int, refused: int) -> None:
        taken = self.values.take(self.watched.__contains__, most)
        kept = taken[: max(0, len(taken) - refused)]
        self.values.put_back(taken[len(kept) :])
        for event in kept:
            assert event == self.newest[event.topic.text], "never an older one after a newer one"
            self.at_relay[event.topic.text] = event

    @rule(topics=st.sets(st.sampled_from(TOPICS)))
    def interest_changes(self, topics: set[str]) -> None:
        self.watched = topics
        self.values.interest_changed()

    @rule()
    def the_relay_is_killed(self) -> None:
        self.at_relay.clear()
        self.values.connection_lost()

    @invariant()
    def every_value_is_accounted_for(self) -> None:
        values = self.values
        assert values.put_count == values.sent + values.conflated + len(values)

    def teardown(self) -> None:
        """Everything that is watched arrives."""
        for _ in range(10):
            self.send(4, 0)
        for topic in self.watched & self.newest.keys():
            assert self.at_relay.get(topic) == self.newest[topic]


TestRelays = RelaysMachine.TestCase
TestRelays.settings = settings(max_examples=100, deadline=None)


def test_a_sent_value_is_sent_to_the_next_relay_when_somebody_begins_to_watch() -> None:
    values = UnsentValues()
    values.put(value("live:a"))
    assert values.take(everybody_watches, ALL) == [value("live:a")]
    values.connection_lost()
    assert values.take(nobody_watches, ALL) == []
    values.interest_changed()
    assert values.take(everybody_watches, ALL) == [value("live:a")]
    values.interest_changed()
    assert values.take(everybody_watches, ALL) == [], "this relay has it"
    assert (values.sent, values.conflated) == (1, 0), "it counts once"


def test_sent_values_make_room_for_unsent_ones_and_the_first_goes() -> None:
    values = UnsentValues()
    for number in range(20):
        values.put(value(f"live:{number}", bytes(MIB)))
    values.take(everybody_watches, ALL)
    for number in range(MAX_LIVE_BYTES // MIB - 15):
        values.put(value(f"live:new{number}", bytes(MIB)))
    assert values.conflated == 0, "no unsent value was given up"
    values.take(nobody_watches, ALL)
    values.connection_lost()
    again = [event.topic.text for event in values.take(everybody_watches, ALL)]
    assert again == [f"live:{number}" for number in range(5, 20)]


def test_sent_topics_are_bounded() -> None:
    sent = SentValues(MAX_LIVE_TOPICS, MAX_LIVE_BYTES)
    for number in range(MAX_LIVE_TOPICS + 1):
        sent.keep(value(f"live:{number}"))
    assert len(sent) == MAX_LIVE_TOPICS
    sent.connection_lost()
    assert "live:0" not in [event.topic.text for event in sent.take(everybody_watches, ALL)]


def test_a_newer_value_that_was_sent_or_waits_is_not_followed_by_the_older_one() -> None:
    sent = SentValues(MAX_LIVE_TOPICS, MAX_LIVE_BYTES)
    for topic in ("live:sent", "live:waits"):
        sent.keep(value(topic, b"old"))
    sent.connection_lost()
    sent.keep(value("live:sent", b"new"))
    sent.forget("live:waits")
    assert not sent.has_unexamined
    sent.interest_changed()
    assert sent.take(everybody_watches, ALL) == []
    sent.connection_lost()
    assert sent.take(everybody_watches, ALL) == [value("live:sent", b"new")]


def test_a_value_that_made_room_for_another_is_not_looked_for() -> None:
    sent = SentValues(1, MAX_LIVE_BYTES)
    sent.keep(value("live:a"))
    sent.connection_lost()
    sent.keep(value("live:b"))
    assert not sent.has_unexamined
