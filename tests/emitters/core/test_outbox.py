"""The outbox holds every journaled event, numbered and in order, until it is acknowledged."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from emitters.core.outbox import WINDOW_BYTES, WINDOW_EVENTS, Outbox
from emitters.core.outgoing import Outgoing
from emitters.errors import SpoolUnavailable
from relay.wire.topics import parse_topic
from tests.emitters.core.outboxes import filled, numbers, outgoing
from tests.emitters.core.stores import RecordingStore

MAX_EVENTS, MAX_BYTES = 6, 30
MIB = 1024 * 1024


class OutboxMachine(RuleBasedStateMachine):
    """The model: every event ever taken, and how far it was sent and acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.store = RecordingStore()
        self.outbox = Outbox(store=self.store)
        self.events: list[Outgoing] = []
        self.sent = self.highest_sent = self.acknowledged = 0
        self.proof: bytes | None = None
        self.may_have_sent = 0
        """The last number that an emitter that starts now must take for sent."""

    @rule(topic=st.sampled_from(["event:a", "task:1"]), size=st.integers(0, MAX_BYTES // 3))
    def add(self, topic: str, size: int) -> None:
        event = outgoing(topic, b"x" * size)
        self.outbox.add([event])
        self.events.append(event)

    @rule(count=st.integers(0, MAX_EVENTS))
    def add_some(self, count: int) -> None:
        events = [outgoing("event:a", b"%d" % number) for number in range(count)]
        self.outbox.add(events)
        self.events += events

    @rule()
    def add_when_the_store_is_full(self) -> None:
        self.store.full = True
        with pytest.raises(SpoolUnavailable):
            self.outbox.add([outgoing("event:a")])
        self.store.full = False

    @rule(limit=st.integers(1, MAX_EVENTS), taken_back=st.integers(0, MAX_EVENTS))
    def send(self, limit: int, taken_back: int) -> None:
        self.outbox.relay_was_met()
        self.may_have_sent = 10**9
        first, taken = self.outbox.take_unsent(limit)
        assert first == self.sent + 1
        assert taken == self.events[self.sent : self.sent + limit]
        taken_back = min(taken_back, len(taken))
        self.outbox.put_back(taken_back)
        self.sent += len(taken) - taken_back
        self.highest_sent = max(self.highest_sent, self.sent)

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        sequence = data.draw(st.integers(0, self.highest_sent))
        proof = data.draw(st.sampled_from([None, b"%d" % sequence]))
        assert self.outbox.acknowledge(sequence, proof) is True
        if sequence > self.acknowledged or (sequence == self.acknowledged and proof):
            self.proof = proof
        self.acknowledged = max(self.acknowledged, sequence)
        self.sent = max(self.sent, self.acknowledged)

    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        sequence = data.draw(st.integers(0, self.highest_sent))
        assert self.outbox.rewind(sequence)
        if sequence > self.acknowledged:
            self.proof = None
        self.acknowledged = self.sent = max(self.acknowledged, sequence)

    @rule(beyond=st.integers(1, 3))
    def hear_of_what_was_never_sent(self, beyond: int) -> None:
        assert self.outbox.acknowledge(self.highest_sent + beyond, b"x") is False
        assert self.outbox.rewind(self.highest_sent + beyond, b"x") is False

    @rule()
    def restart(self) -> None:
        """An emitter that was killed finds what its store has, and knows no more."""
        self.acknowledged = self.sent = self.store.acknowledged
        self.proof = self.store.proof
        self.may_have_sent = min(self.may_have_sent, len(self.events))
        self.highest_sent = max(self.acknowledged, self.may_have_sent)
        self.outbox = Outbox(
            acknowledged=self.store.acknowledged,
            kept=self.store.kept,
            store=self.store.open(),
        )

    @invariant()
    def the_account_is_right(self) -> None:
        assert len(self.outbox) == len(self.events) - self.acknowledged
        assert self.outbox.in_flight == self.sent - self.acknowledged
        counters = self.outbox.counters()
        assert counters["accepted"] == len(self.events)
        assert counters["acknowledged"] == self.acknowledged
        held = self.events[self.acknowledged :]
        assert self.outbox.bytes == sum(len(event.envelope) for event in held)

    @invariant()
    def the_proof_is_that_of_the_acknowledged_number(self) -> None:
        assert self.outbox.proof == self.proof
        assert self.store.proof in (None, b"%d" % self.store.acknowledged)
        if self.store.acknowledged == self.acknowledged:
            assert self.store.proof == self.proof

    @invariant()
    def the_store_has_what_is_unacknowledged(self) -> None:
        assert self.store.kept == self.events[self.store.acknowledged :]
        assert self.store.acknowledged <= self.acknowledged
        if len(self.outbox) == 0:
            assert self.store.kept == []


TestOutboxAgainstModel = OutboxMachine.TestCase
TestOutboxAgainstModel.settings = settings(max_examples=100, deadline=None)


def test_live_values_take_no_number() -> None:
    outbox = Outbox()
    outbox.add([outgoing("live:a", b"1"), outgoing("event:a"), outgoing("live:a", b"2")])
    assert outbox.take_unsent(5) == (1, [outgoing("event:a")])
    assert outbox.live.take(lambda _: True, 100) == [outgoing("live:a", b"2")]
    assert outbox.counters() == {
        "accepted": 1,
        "acknowledged": 0,
        "outbox_full": 0,
        "live": 2,
        "live_sent": 1,
        "conflated": 1,
    }


def test_a_store_without_room_takes_all_of_it_or_nothing() -> None:
    store = RecordingStore()
    store.full = True
    outbox = Outbox(store=store)
    with pytest.raises(SpoolUnavailable):
        outbox.add([outgoing("live:a"), outgoing("event:a")])
    assert (len(outbox), len(outbox.live), outbox.bytes) == (0, 0, 0)


def test_the_window_bounds_how_many_events_are_in_flight() -> None:
    outbox = filled(WINDOW_EVENTS + 2)
    assert len(numbers(outbox.take_unsent(WINDOW_EVENTS + 2))) == WINDOW_EVENTS
    assert numbers(outbox.take_unsent(2)) == []
    outbox.acknowledge(1)
    assert numbers(outbox.take_unsent(2)) == [WINDOW_EVENTS + 1]


def test_the_window_bounds_how_many_bytes_are_in_flight() -> None:
    """Exactly: an event of 1 MiB that would pass the limit waits, however few came before it."""
    outbox = Outbox()
    outbox.add([outgoing("event:a", b"x")])
    for _ in range(20):
        outbox.add([outgoing("event:a", bytes(MIB))])
    assert WINDOW_BYTES == 16 * MIB
    assert (len(outbox.take_unsent(100)[1]), outbox.has_work) == (16, False)
    outbox.acknowledge(1)
    assert [outbox.has_work, len(outbox.take_unsent(100)[1]), outbox.has_work] == [True, 1, False]


def test_events_that_the_socket_did_not_take_leave_room_in_the_window() -> None:
    outbox = Outbox()
    size = WINDOW_BYTES // 2
    outbox.add([outgoing("event:a", bytes(size)) for _ in range(4)])
    for _ in range(5):
        _, taken = outbox.take_unsent(10)
        assert len(taken) == 2
        outbox.put_back(2)
    assert outbox.in_flight == 0


def test_a_window_of_one_event_has_work_only_when_it_is_empty() -> None:
    outbox = filled(5)
    outbox.take_unsent(5)
    outbox.rewind(1)
    outbox.window_events = 1
    assert numbers(outbox.take_unsent(5)) == [2]
    assert (numbers(outbox.take_unsent(5)), outbox.has_work) == ([], False)
    outbox.acknowledge(2)
    assert (numbers(outbox.take_unsent(5)), outbox.has_work) == ([3], False)


def test_what_was_sent_before_a_rewind_may_still_be_acknowledged() -> None:
    outbox = filled(5)
    outbox.take_unsent(4)
    outbox.rewind(1)
    assert outbox.acknowledge(3)
    assert numbers(outbox.take_unsent(5)) == [4, 5]


def test_events_and_tasks_are_journaled_until_the_relay_says_otherwise() -> None:
    outbox = Outbox()
    assert outbox.is_journaled(parse_topic("event:a"))
    assert outbox.is_journaled(parse_topic("task:a"))
    assert not outbox.is_journaled(parse_topic("audit:a"))


def test_live_values_of_a_kind_that_is_journaled_are_numbered() -> None:
    store = RecordingStore()
    outbox = Outbox(store=store)
    outbox.add([outgoing("event:a")])
    outbox.add([outgoing("audit:x", b"larger")])
    outbox.add([outgoing("live:x")])
    outbox.set_journaled_kinds(frozenset({"event", "task", "audit"}))
    assert outbox.take_unsent(5) == (1, [outgoing("event:a"), outgoing("audit:x", b"larger")])
    assert store.kept == [outgoing("event:a"), outgoing("audit:x", b"larger")]
    assert outbox.live.take(lambda _: True, 100) == [outgoing("live:x")]
    counters = outbox.counters()
    assert (counters["accepted"], counters["live"], counters["live_sent"]) == (2, 1, 1)


def test_before_the_relay_has_told_every_kind_may_be_a_stream() -> None:
    """Replacing an event of a stream by a newer one would lose it without a word."""
    store = RecordingStore()
    outbox = Outbox(journaled_kinds=None, store=store)
    for number, topic in enumerate(("order:x", "order:x", "gauge:x", "gauge:x"), 1):
        outbox.add([outgoing(topic, b"%d" % number)])
    outbox.add([outgoing("resource-monitor:x"), outgoing("resource-monitor:x", b"newer")])
    assert outbox.is_journaled(parse_topic("order:x"))
    assert not outbox.is_journaled(parse_topic("resource-monitor:x"))
    assert len(outbox) == len(store.kept) == 4
    outbox.set_journaled_kinds(frozenset({"order"}))
    assert not outbox.is_journaled(parse_topic("gauge:x"))
    assert outbox.take_unsent(5) == (1, [outgoing("order:x", b"1"), outgoing("order:x", b"2")])
    assert [event.topic.text for event in store.kept] == ["order:x", "order:x"]
    assert outbox.live.take(lambda _: True, 100) == [
        outgoing("resource-monitor:x", b"newer"),
        outgoing("gauge:x", b"4"),
    ]


def test_a_value_that_was_sent_live_is_not_sent_to_a_relay_that_journals_its_kind() -> None:
    """That relay would take it for an event without a number."""
    outbox = Outbox()
    outbox.add([outgoing("audit:x"), outgoing("live:x")])
    assert len(outbox.live.take(lambda _: True, 100)) == 2
    outbox.live.connection_lost()
    outbox.set_journaled_kinds(frozenset({"event", "task", "audit"}))
    assert outbox.live.take(lambda _: True, 100) == [outgoing("live:x")]
    assert outbox.take_unsent(5) == (1, [])


def test_events_of_a_kind_that_is_not_journaled_become_live_values() -> None:
    """The relay has no subscription for them: their numbers would be missing for ever."""
    store = RecordingStore()
    outbox = Outbox(acknowledged=7, store=store)
    store.acknowledged = 7
    for topic in ("event:a", "task:1", "event:b", "event:a", "task:2"):
        outbox.add([outgoing(topic, topic.encode())])
    outbox.set_journaled_kinds(frozenset({"task"}))
    first, events = outbox.take_unsent(5)
    assert (first, [event.topic.text for event in events]) == (8, ["task:1", "task:2"])
    assert store.kept == events
    assert [event.topic.text for event in outbox.live.take(lambda _: True, 100)] == [
        "event:b",
        "event:a",
    ]
    assert outbox.counters()["accepted"] == 9
    assert outbox.counters()["live"] == 3
    assert outbox.acknowledge(9)
    assert outbox.bytes == 0, "no bytes were forgotten"


def test_naming_the_same_kinds_again_changes_nothing() -> None:
    outbox = filled(2)
    outbox.set_journaled_kinds(frozenset({"event", "task"}))
    assert numbers(outbox.take_unsent(5)) == [1, 2]


def test_nothing_is_numbered_anew_when_the_store_cannot_be_written() -> None:
    store = RecordingStore()
    outbox = Outbox(store=store)
    outbox.add([outgoing("event:a", b"1")])
    store.full = True
    with pytest.raises(SpoolUnavailable):
        outbox.skip_to(9)
    with pytest.raises(SpoolUnavailable):
        outbox.set_journaled_kinds(frozenset({"task"}))
    assert numbers(outbox.take_unsent(5)) == [1]
    assert store.kept == [outgoing("event:a", b"1")]


def test_the_number_that_is_acknowledged_after_a_part_was_put_back() -> None:
    outbox = filled(5)
    outbox.take_unsent(4)
    outbox.put_back(1)
    assert outbox.acknowledge(4) is False, "the socket did not take it"
    assert outbox.acknowledge(3) is True
    assert numbers(outbox.take_unsent(5)) == [4, 5]


def test_whether_another_event_could_be_in_flight_is_known() -> None:
    outbox = Outbox()
    found = {"empty": outbox.has_room_to_send}
    outbox.add([outgoing("event:a", bytes(WINDOW_BYTES)), outgoing("event:a", b"x")])
    found["nothing in flight"] = outbox.has_room_to_send
    outbox.take_unsent(5)
    found["full"] = outbox.has_room_to_send
    outbox.acknowledge(1)
    found["acknowledged"] = outbox.has_room_to_send
    assert found == {"empty": True, "nothing in flight": True, "full": False, "acknowledged": True}


def test_after_a_rewind_as_many_bytes_may_be_in_flight_as_before() -> None:
    outbox = Outbox()
    outbox.add([outgoing("event:a", bytes(MIB)) for _ in range(17)])
    assert len(outbox.take_unsent(20)[1]) == 16
    outbox.rewind(0)
    assert len(outbox.take_unsent(20)[1]) == 16


def test_events_in_flight_are_not_numbered_anew() -> None:
    outbox = filled(3)
    outbox.take_unsent(2)
    assert outbox.skip_to(9) == 1
    assert (outbox.in_flight, outbox.last, outbox.inherited) == (0, 10, 0)
    assert outbox.acknowledge(10) is False, "it was not sent yet"
    assert outbox.rewind(9) is True
    assert outbox.take_unsent(5) == (10, [outgoing("event:a", b"3")])


def test_a_number_that_was_sent_under_other_kinds_is_not_acknowledged() -> None:
    """It stands for another event now, or for none."""
    outbox = filled(3)
    outbox.take_unsent(3)
    outbox.rewind(0)
    outbox.set_journaled_kinds(frozenset({"task"}))
    outbox.add([outgoing("task:1")])
    assert outbox.acknowledge(1) is False
    assert outbox.take_unsent(5) == (1, [outgoing("task:1")])
