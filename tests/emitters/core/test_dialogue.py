"""Whatever is lost on the way, the relay takes every event once and in order."""

import logging
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from emitters.core.dialogue import STALL_S, TRANSITIONS, Dialogue, Signal, State
from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from relay.wire.control import HelloReply
from relay.wire.notices import Acknowledged, Notice, Resend
from relay.wire.topics import parse_topic
from tests.emitters.core.stores import RecordingStore

EPOCH = 5
KINDS = ("event", "task")
MAX_EVENTS = 20


def outgoing(number: int) -> Outgoing:
    return Outgoing(parse_topic("event:a"), b"%d" % number)


def accepting(sequence: int, kinds: tuple[str, ...] = KINDS) -> HelloReply:
    return HelloReply(
        id=1, epoch=1, journaled_kinds=kinds, tips={}, heartbeat_s=1.0, sequence=sequence
    )


def subscribe(dialogue: Dialogue, *kinds: str) -> None:
    for kind in kinds:
        dialogue.hear_subscription(b"\x01" + f"{kind}:".encode())


def unsubscribe(dialogue: Dialogue, *kinds: str) -> None:
    for kind in kinds:
        dialogue.hear_subscription(b"\x00" + f"{kind}:".encode())


class AcceptingRelay:
    """Takes the number that is next, and asks once at a gap."""

    def __init__(self) -> None:
        self.journal: list[Outgoing] = []
        self.can_write = True
        self.asked_after = -1

    def read(self, sequence: int, event: Outgoing) -> Notice | None:
        """Take or drop one event, and return what to tell its emitter."""
        last = len(self.journal)
        if not self.can_write:
            return None
        if sequence == last + 1:
            self.journal.append(event)
        elif sequence > last:
            if self.asked_after == last:
                return None
            self.asked_after = last
            return Resend(EPOCH, last)
        return Acknowledged(EPOCH, len(self.journal))

    def greet(self, acknowledged: int) -> HelloReply:
        """Answer a hello."""
        assert acknowledged <= len(self.journal), "what it acknowledged is in the journal"
        self.asked_after = -1
        return accepting(len(self.journal))


class DeliveryMachine(RuleBasedStateMachine):
    """An emitter with a store, a relay, and between them connections that lose anything."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.relay = AcceptingRelay()
        self.store = RecordingStore()
        self.taken: list[Outgoing] = []
        self.to_relay: deque[tuple[int, Outgoing]] = deque()
        self.late: deque[tuple[int, Outgoing]] = deque()
        """On an earlier connection, and still to be read."""
        self.hellos: deque[int] = deque()
        self.to_emitter: deque[HelloReply | Notice] = deque()
        self.start_the_emitter(meets_relay=True)

    @rule(meets_relay=st.booleans())
    def start_the_emitter(self, meets_relay: bool) -> None:
        """The first one, or the next after `kill -9`."""
        self.outbox = Outbox(
            MAX_EVENTS,
            10_000,
            acknowledged=self.store.acknowledged,
            kept=self.store.kept,
            store=self.store.open(),
        )
        self.dialogue = Dialogue("manager-1", EPOCH, self.outbox)
        self.late += self.to_relay
        self.to_relay.clear()
        self.hellos.clear()
        self.to_emitter.clear()
        subscribe(self.dialogue, *KINDS)
        if meets_relay:
            self.meet()

    def meet(self) -> None:
        """What happens first if nothing comes between."""
        self.time_passes(1.1)
        self.relay_reads_hellos()
        self.emitter_reads(10_000)

    @rule(count=st.integers(1, 5), sent=st.integers(0, 5))
    def emit(self, count: int, sent: int) -> None:
        for _ in range(count):
            event = outgoing(len(self.taken) + 1)
            if self.outbox.has_room_for(event):
                self.outbox.add(event)
                self.taken.append(event)
        if sent:
            self.send(sent)

    @rule(limit=st.integers(1, 5))
    def send(self, limit: int) -> None:
        if self.dialogue.is_open:
            if not self.outbox.in_flight:
                self.dialogue.events_were_sent(self.now)
            first, events = self.outbox.take_unsent(limit)
            self.to_relay.extend(enumerate(events, first))

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.dialogue.hello_is_due(self.now):
            self.dialogue.hello_was_said(self.now)
            self.hellos.append(self.outbox.acknowledged)

    @rule(count=st.integers(1, 5), of_late=st.booleans())
    def relay_reads_events(self, count: int, of_late: bool) -> None:
        source = self.late if of_late else self.to_relay
        for _ in range(min(count, len(source))):
            notice = self.relay.read(*source.popleft())
            if notice is not None:
                self.to_emitter.append(notice)

    @rule()
    def relay_reads_hellos(self) -> None:
        while self.hellos:
            self.to_emitter.append(self.relay.greet(self.hellos.popleft()))

    @rule(count=st.integers(1, 5))
    def emitter_reads(self, count: int) -> None:
        for _ in range(min(count, len(self.to_emitter))):
            word = self.to_emitter.popleft()
            if isinstance(word, HelloReply):
                self.dialogue.accept(word, self.now)
            else:
                self.dialogue.hear(word, self.now)

    @rule(index=st.integers(0, 5))
    def an_event_is_lost(self, index: int) -> None:
        if index < len(self.to_relay):
            del self.to_relay[index]

    @rule()
    def words_are_lost(self) -> None:
        self.to_emitter.clear()
        self.hellos.clear()

    @rule(is_late=st.booleans(), meets_relay=st.booleans())
    def the_connection_is_lost(self, is_late: bool, meets_relay: bool) -> None:
        if is_late:
            self.late += self.to_relay
        self.to_relay.clear()
        unsubscribe(self.dialogue, *KINDS)
        subscribe(self.dialogue, *KINDS)
        if meets_relay:
            self.meet()

    @rule()
    def the_relay_restarts(self) -> None:
        self.late.clear()
        self.words_are_lost()
        self.relay.asked_after = -1
        self.the_connection_is_lost(is_late=False, meets_relay=True)

    @rule(can_write=st.booleans())
    def the_disk_fills(self, can_write: bool) -> None:
        self.relay.can_write = can_write

    @invariant()
    def the_journal_is_what_was_emitted_so_far(self) -> None:
        assert self.relay.journal == self.taken[: len(self.relay.journal)]

    @invariant()
    def nothing_is_acknowledged_that_is_not_in_the_journal(self) -> None:
        assert self.outbox.acknowledged <= len(self.relay.journal)

    def teardown(self) -> None:
        """The last of what is on its way is lost, and then nothing any more: all arrives."""
        self.emit(3, sent=3)
        self.to_relay.clear()
        self.words_are_lost()
        self.relay.can_write = True
        for _ in range(10):
            self.time_passes(1.1)
            self.relay_reads_hellos()
            self.emitter_reads(10_000)
            self.send(MAX_EVENTS)
            self.relay_reads_events(10_000, of_late=True)
            self.relay_reads_events(10_000, of_late=False)
            self.emitter_reads(10_000)
        assert self.relay.journal == self.taken
        assert len(self.outbox) == 0
        assert self.store.kept == []


TestExactlyOnce = DeliveryMachine.TestCase
TestExactlyOnce.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


class StateMachine(RuleBasedStateMachine):
    """The model: what is subscribed and said, from which the state follows by its definition."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(1000, 10_000)
        self.dialogue = Dialogue("manager-1", EPOCH, self.outbox)
        self.now = 0.0
        self.subscribed: set[str] = set()
        self.is_fenced = self.is_greeted = self.is_accepted = self.is_probing = False
        self.acknowledged_at_hello = 0

    @rule(kind=st.sampled_from(KINDS))
    def the_relay_subscribes(self, kind: str) -> None:
        subscribe(self.dialogue, kind)
        self.subscribed.add(kind)

    @rule(kind=st.sampled_from(KINDS))
    def the_relay_unsubscribes(self, kind: str) -> None:
        unsubscribe(self.dialogue, kind)
        if self.subscribed == {kind}:
            self.is_greeted = self.is_accepted = False
        self.subscribed.discard(kind)
        self.is_probing = False

    @rule(seconds=st.sampled_from([0.1, 1.1]))
    def hello_is_said_when_it_is_due(self, seconds: float) -> None:
        self.now += seconds
        is_due = self.dialogue.hello_is_due(self.now)
        assert not is_due or self.dialogue.due_at(self.now) <= self.now
        if not self.is_fenced and not self.is_greeted:
            assert is_due, "a relay that was not greeted is greeted at once"
        if is_due:
            self.dialogue.hello_was_said(self.now)
            self.is_greeted = True
            self.acknowledged_at_hello = self.outbox.acknowledged

    @rule(progress=st.integers(0, 3))
    def the_relay_accepts(self, progress: int) -> None:
        was_open = self.dialogue.is_open
        before = self.outbox.acknowledged
        sequence = min(before + progress, before + self.outbox.in_flight)
        self.dialogue.accept(accepting(sequence), self.now)
        if self.is_greeted and not self.is_fenced:
            self.is_accepted = True
            if was_open:
                has_progress = sequence > self.acknowledged_at_hello
                self.is_probing = not has_progress or (self.is_probing and sequence == before)
        else:
            assert self.outbox.acknowledged == before, "the reply of a relay that is gone"

    @rule(code=st.sampled_from(["emitter_in_use", "journal_unavailable", "stale_epoch"]))
    def the_relay_refuses(self, code: str) -> None:
        if code != "stale_epoch" or self.now > 20:
            self.dialogue.refuse(code, "text")
            self.is_fenced = self.is_fenced or code == "stale_epoch"

    @rule(count=st.integers(1, 5))
    def events_are_sent(self, count: int) -> None:
        for _ in range(count):
            self.outbox.add(outgoing(1))
        if self.dialogue.is_open:
            if not self.outbox.in_flight:
                self.dialogue.events_were_sent(self.now)
            self.outbox.take_unsent(count)

    @rule(count=st.integers(0, 3))
    def the_relay_acknowledges(self, count: int) -> None:
        count = min(count, self.outbox.in_flight)
        self.dialogue.hear(Acknowledged(EPOCH, self.outbox.acknowledged + count), self.now)
        if count:
            self.is_probing = False

    @rule()
    def the_relay_asks_to_send_again(self) -> None:
        self.dialogue.hear(Resend(EPOCH, self.outbox.acknowledged), self.now)
        if self.dialogue.is_accepted:
            assert self.outbox.in_flight == 0

    @invariant()
    def the_state_follows_from_what_happened(self) -> None:
        if self.is_fenced:
            expected = State.FENCED
        elif self.is_accepted and self.subscribed == set(KINDS):
            expected = State.PROBING if self.is_probing else State.OPEN
        elif self.is_accepted:
            expected = State.ACCEPTED
        else:
            expected = State.GREETING if self.is_greeted else State.DISCONNECTED
        assert self.dialogue.state is expected

    @invariant()
    def only_a_dialogue_that_probes_has_a_window_of_one(self) -> None:
        is_one = self.outbox.window_events == 1
        assert is_one == (self.dialogue.state is State.PROBING)


TestStates = StateMachine.TestCase
TestStates.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_the_table_reaches_every_state_and_leaves_all_but_one() -> None:
    reached = {State.DISCONNECTED} | set(TRANSITIONS.values())
    left = {state for state, _ in TRANSITIONS}
    assert reached == set(State)
    assert left == set(State) - {State.FENCED}


def test_only_an_accepted_hello_leads_to_sending() -> None:
    """Whatever is subscribed: a relay that did not answer may not know where to go on."""
    before = {state for (state, _), target in TRANSITIONS.items() if target is State.OPEN}
    assert before == {State.ACCEPTED, State.PROBING}
    to_accepted = {pair for pair, target in TRANSITIONS.items() if target is State.ACCEPTED}
    assert (State.GREETING, Signal.HELLO_ACCEPTED) in to_accepted
    assert {signal for _, signal in to_accepted} == {Signal.HELLO_ACCEPTED, Signal.UNSUBSCRIBED}


class Talk:
    """A dialogue that the relay has accepted, about `count` events."""

    def __init__(self, count: int = 0) -> None:
        self.outbox = Outbox(100, 10_000)
        for number in range(1, count + 1):
            self.outbox.add(outgoing(number))
        self.dialogue = Dialogue("manager-1", EPOCH, self.outbox)
        self.say_hello(0.0)
        self.dialogue.accept(accepting(0), 0.0)
        subscribe(self.dialogue, *KINDS)

    def say_hello(self, now: float) -> None:
        assert self.dialogue.hello_is_due(now)
        self.dialogue.hello_was_said(now)

    def send(self, now: float) -> list[int]:
        if not self.outbox.in_flight:
            self.dialogue.events_were_sent(now)
        first, events = self.outbox.take_unsent(100)
        return list(range(first, first + len(events)))


def test_it_is_open_with_the_hello_accepted_and_every_stream_subscribed() -> None:
    dialogue = Dialogue("manager-1", EPOCH, Outbox(1, 1))

    def state() -> tuple[bool, bool]:
        return dialogue.is_accepted, dialogue.is_open

    subscribe(dialogue, "event")
    assert state() == (False, False)
    dialogue.hello_was_said(0.0)
    dialogue.accept(accepting(0), 0.0)
    assert state() == (True, False)
    subscribe(dialogue, "task")
    assert state() == (True, True)
    unsubscribe(dialogue, "task")
    assert state() == (True, False)
    unsubscribe(dialogue, "event")
    assert state() == (False, False)
    assert dialogue.hello_is_due(0.0), "it is a new relay, perhaps"


def test_a_relay_that_journals_less_than_it_said_is_asked_again() -> None:
    """The reply was an older relay's; the one that is there subscribes to less."""
    dialogue = Dialogue("manager-1", EPOCH, Outbox(1, 1))
    dialogue.hello_was_said(0.0)
    dialogue.accept(accepting(0, ("event", "task", "audit")), 0.0)
    subscribe(dialogue, *KINDS)
    opened = [dialogue.is_open]
    assert dialogue.hello_is_due(1.0)
    dialogue.hello_was_said(1.0)
    dialogue.accept(accepting(0), 1.0)
    opened.append(dialogue.is_open)
    assert opened == [False, True]
    assert not dialogue.hello_is_due(2.0)


def test_a_hello_that_is_not_answered_is_said_again() -> None:
    dialogue = Dialogue("manager-1", EPOCH, Outbox(1, 1))
    assert dialogue.hello_is_due(0.0)
    dialogue.hello_was_said(10.0)
    assert not dialogue.hello_is_due(10.9)
    assert dialogue.due_at(10.9) == 11.0
    assert dialogue.hello_is_due(11.0)


def test_silence_with_nothing_in_flight_is_no_stall() -> None:
    talk = Talk(count=1)
    assert not talk.dialogue.hello_is_due(100.0)
    assert talk.send(100.0) == [1]
    assert not talk.dialogue.hello_is_due(100.0 + STALL_S / 2)
    assert talk.dialogue.hello_is_due(100.0 + STALL_S)


def test_a_stall_without_progress_sends_again_one_event_at_a_time() -> None:
    talk = Talk(count=3)
    talk.send(0.0)
    talk.dialogue.hear(Acknowledged(EPOCH, 1), 5.0)
    assert not talk.dialogue.hello_is_due(5.9)
    talk.say_hello(6.0)
    talk.dialogue.accept(accepting(1), 6.1)
    assert talk.send(6.1) == [2]
    assert talk.send(6.1) == []
    talk.dialogue.hear(Acknowledged(EPOCH, 2), 6.2)
    assert talk.send(6.2) == [3]


def test_a_stall_with_progress_goes_on_without_sending_again() -> None:
    """Only the acknowledgement was lost."""
    talk = Talk(count=3)
    talk.send(0.0)
    talk.say_hello(1.0)
    talk.dialogue.accept(accepting(2), 1.1)
    assert talk.send(1.1) == []
    assert len(talk.outbox) == 1
    assert not talk.dialogue.hello_is_due(2.0)
    talk.say_hello(2.1)
    talk.dialogue.accept(accepting(2), 2.2)
    assert talk.send(2.2) == [3]


def test_a_resend_notice_is_followed_at_once() -> None:
    talk = Talk(count=4)
    talk.send(0.0)
    talk.dialogue.hear(Resend(EPOCH, 2), 0.1)
    assert talk.outbox.acknowledged == 2
    assert talk.send(0.1) == [3, 4]


@pytest.mark.parametrize(
    "notice",
    [
        Acknowledged(EPOCH + 1, 3),
        Resend(EPOCH - 1, 1),
        Acknowledged(EPOCH, 5),
        Resend(EPOCH, 5),
    ],
)
def test_notices_about_something_else_change_nothing(
    notice: Notice, caplog: pytest.LogCaptureFixture
) -> None:
    talk = Talk(count=4)
    talk.send(0.0)
    talk.dialogue.hear(notice, 0.1)
    assert (talk.outbox.acknowledged, talk.outbox.in_flight) == (0, 4)
    assert "ignores" in caplog.text


def test_a_resend_notice_that_was_overtaken_changes_nothing() -> None:
    talk = Talk(count=4)
    talk.send(0.0)
    talk.dialogue.hear(Acknowledged(EPOCH, 3), 0.1)
    talk.dialogue.hear(Resend(EPOCH, 1), 0.2)
    assert (talk.outbox.acknowledged, talk.outbox.in_flight) == (3, 1)


def test_a_name_in_use_is_asked_for_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    dialogue = Dialogue("manager-1", EPOCH, Outbox(1, 1))
    for second in range(3):
        assert dialogue.hello_is_due(second)
        dialogue.hello_was_said(second)
        dialogue.refuse("emitter_in_use", "another live process has the name 'manager-1'")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "another live process" in caplog.text


def test_an_emitter_whose_name_was_taken_over_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk(count=2)
    talk.send(0.0)
    talk.say_hello(1.0)
    talk.dialogue.refuse("stale_epoch", "a newer process has taken over")
    assert talk.dialogue.is_fenced
    assert not talk.dialogue.is_open
    assert not talk.dialogue.hello_is_due(100.0)
    assert "2 events are unacknowledged" in caplog.text


def test_the_account_is_told_once_a_second_when_it_has_changed() -> None:
    talk = Talk(count=2)
    first = talk.dialogue.report_to_send(0.0)
    assert first is not None
    assert (first["accepted"], first["acknowledged"]) == (2, 0)
    assert talk.dialogue.report_to_send(5.0) is None, "nothing has changed"
    talk.outbox.add(outgoing(3))
    assert talk.dialogue.report_to_send(5.0) is not None
    talk.outbox.add(outgoing(4))
    assert talk.dialogue.report_to_send(5.5) is None, "too soon"
    assert talk.dialogue.due_at(5.5) == 6.0
    last = talk.dialogue.report_to_send(5.5, at_once=True)
    assert last is not None
    assert last["accepted"] == 4


def test_a_relay_that_was_restarted_gets_the_account_again() -> None:
    talk = Talk(count=1)
    assert talk.dialogue.report_to_send(0.0) is not None
    unsubscribe(talk.dialogue, *KINDS)
    assert talk.dialogue.report_to_send(5.0) is None, "nobody to tell"
    talk.say_hello(5.0)
    talk.dialogue.accept(accepting(0), 5.0)
    assert talk.dialogue.report_to_send(5.0) is not None


def test_a_relay_that_lost_acknowledged_events_is_sent_what_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    talk = Talk(count=4)
    talk.send(0.0)
    talk.dialogue.hear(Acknowledged(EPOCH, 3), 0.1)
    unsubscribe(talk.dialogue, *KINDS)
    subscribe(talk.dialogue, *KINDS)
    talk.say_hello(0.2)
    talk.dialogue.accept(accepting(1), 0.3)
    assert "has lost events 2 to 3" in caplog.text
    assert talk.send(0.3) == [4]


def test_a_relay_that_has_more_than_the_spool_is_not_sent_those_numbers_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox(100, 10_000)
    outbox.add(outgoing(1))
    dialogue = Dialogue("manager-1", EPOCH, outbox)
    dialogue.hello_was_said(0.0)
    dialogue.accept(accepting(7), 0.0)
    assert outbox.take_unsent(5) == (8, [outgoing(1)])
    assert "1 newer ones were numbered anew" in caplog.text
