"""The newest sent value of each live topic goes to the next relay too, and only once."""

import pytest
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


def kept(sent: SentValues) -> list[str]:
    """The topics that the next relay is sent."""
    sent.connection_lost()
    return [event.topic.text for event in sent.take(everybody_watches, ALL)]


@pytest.mark.parametrize(
    ("others", "other_bytes", "topics"),
    [
        (0, 0, ["live:a", "live:b", "live:c"]),
        (1, 4, ["live:a", "live:b", "live:c"]),
        (2, 0, ["live:b", "live:c"]),
        (1, 5, ["live:b", "live:c"]),
        (3, 6, ["live:c"]),
        (4, 0, []),
        (9, 99, []),
    ],
)
def test_room_for_others_is_made_exactly_as_far_as_they_need_it(
    others: int, other_bytes: int, topics: list[str]
) -> None:
    sent = SentValues(4, 10)
    for topic in TOPICS:
        sent.keep(value(topic, b"xx"))
    sent.leave_room(others, other_bytes)
    assert kept(sent) == topics


def test_what_the_socket_did_not_take_is_sent_unless_there_is_a_newer_value() -> None:
    sent = SentValues(4, 10)
    sent.keep(value("live:a"))
    sent.keep(value("live:b"))
    sent.connection_lost()
    taken = sent.take(everybody_watches, ALL)
    assert taken == [value("live:a"), value("live:b")]
    sent.forget("live:b")
    for event in taken:
        sent.put_back(event.topic.text)
    assert sent.has_unexamined
    assert sent.take(everybody_watches, ALL) == [value("live:a")]
    sent.put_back("live:a")
    sent.interest_changed()
    assert sent.take(everybody_watches, ALL) == [value("live:a")]


def test_nothing_is_left_after_clearing() -> None:
    sent = SentValues(4, 10)
    for topic in TOPICS:
        sent.keep(value(topic))
    sent.connection_lost()
    sent.clear()
    assert (len(sent), sent.has_unexamined, kept(sent)) == (0, False, [])


def test_sent_topics_are_bounded() -> None:
    sent = SentValues(MAX_LIVE_TOPICS, MAX_LIVE_BYTES)
    for number in range(MAX_LIVE_TOPICS + 1):
        sent.keep(value(f"live:{number}"))
    assert len(sent) == MAX_LIVE_TOPICS
    assert "live:0" not in kept(sent)


def mib(kind: str, count: int) -> list[Outgoing]:
    """Return values of 1 MiB each."""
    return [value(f"live:{kind}{number}", bytes(MIB)) for number in range(count)]


def sent_of(values: UnsentValues, events: list[Outgoing]) -> None:
    """Put `events` and send all that waits."""
    for event in events:
        values.put(event)
    values.take(everybody_watches, ALL)


def test_a_newer_value_takes_no_room_from_those_of_other_topics() -> None:
    values = UnsentValues()
    others, replaced = mib("other", 16), mib("replaced", 16)
    sent_of(values, others + replaced)
    for event in replaced:
        values.put(event)
    values.connection_lost()
    assert values.take(everybody_watches, ALL) == replaced + others


def test_values_that_the_socket_did_not_take_take_no_room_from_those_of_other_topics() -> None:
    values = UnsentValues()
    others, refused = mib("other", 16), mib("refused", 16)
    sent_of(values, others)
    for event in refused:
        values.put(event)
    values.put_back(values.take(everybody_watches, ALL))
    values.put(refused[-1])
    values.connection_lost()
    assert values.take(everybody_watches, ALL) == refused + others


def test_values_that_are_sent_again_and_come_back_do_not_count_a_second_time() -> None:
    values = UnsentValues()
    sent_of(values, [value("live:a"), value("live:b")])
    values.connection_lost()
    values.put(value("live:c"))
    taken = values.take(everybody_watches, ALL)
    assert taken == [value("live:c"), value("live:a"), value("live:b")]
    values.put_back(taken[1:])
    assert (values.sent, values.conflated, len(values)) == (3, 0, 0)
    assert values.has_unexamined
    assert not values.has_unexamined_unsent, "nothing that was never sent"
    assert sorted(values.take(everybody_watches, ALL)) == [value("live:a"), value("live:b")]


def test_fresh_values_and_those_sent_again_share_the_batch() -> None:
    values = UnsentValues()
    sent_of(values, [value("live:a"), value("live:b")])
    values.connection_lost()
    values.put(value("live:c"))
    assert values.take(everybody_watches, 2) == [value("live:c"), value("live:a")]
    assert values.take(everybody_watches, 2) == [value("live:b")]


def test_an_emitter_that_gives_its_values_up_sends_none_again() -> None:
    values = UnsentValues()
    sent_of(values, [value("live:a")])
    values.put(value("live:b"))
    values.give_up()
    values.connection_lost()
    assert values.take(everybody_watches, ALL) == []
    assert (values.put_count, values.sent, values.conflated) == (2, 1, 1)


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
