"""Whatever is lost on the way, the relay takes every event once and in order."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from emitters.core.dialogue import Dialogue
from emitters.core.greeting import Greeting
from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from relay.wire.control import HelloReply
from relay.wire.notices import Acknowledged, Notice, Resend
from tests.emitters.core.messages import EPOCH, KINDS, accepting, outgoing, subscribe, unsubscribe
from tests.emitters.core.stores import RecordingStore

MAX_EVENTS = 20


def proof_of(sequence: int) -> bytes:
    return b"proof of %d" % sequence


class AcceptingRelay:
    """Takes the number that is next, and asks once at a gap."""

    def __init__(self) -> None:
        self.journal: list[Outgoing] = []
        self.can_write = True
        self.asked_after = -1
        self.drops = 0

    def read(self, sequence: int, event: Outgoing) -> Notice | None:
        """Take or drop one event, and return what to tell its emitter."""
        last = len(self.journal)
        if not self.can_write:
            self.drops += 1
            return None
        if sequence == last + 1:
            self.journal.append(event)
        elif sequence > last:
            if self.asked_after == last:
                return None
            self.asked_after = last
            return Resend(EPOCH, last)
        return Acknowledged(EPOCH, len(self.journal), proof_of(len(self.journal)))

    def greet(self, greeting: Greeting) -> HelloReply:
        """Answer a hello."""
        assert greeting.acknowledged <= len(self.journal), "what it acknowledged is in the journal"
        assert greeting.proof in (None, proof_of(greeting.acknowledged))
        drops = self.drops if self.can_write else None
        reply = accepting(len(self.journal), drops=drops)
        return reply.model_copy(update={"proof": proof_of(len(self.journal))})


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
        self.hellos: deque[Greeting] = deque()
        self.to_emitter: deque[HelloReply | Notice] = deque()
        self.start_the_emitter(meets_relay=True)

    @rule(meets_relay=st.booleans())
    def start_the_emitter(self, meets_relay: bool) -> None:
        """The first one, or the next after `kill -9`."""
        self.outbox = Outbox(
            acknowledged=self.store.acknowledged,
            kept=self.store.kept,
            store=self.store.open(),
        )
        self.dialogue = Dialogue("manager-1", self.outbox)
        self.late += self.to_relay
        self.to_relay.clear()
        self.hellos.clear()
        self.to_emitter.clear()
        self.relay.asked_after = -1
        subscribe(self.dialogue, *KINDS)
        if meets_relay:
            self.meet()

    def meet(self) -> None:
        """The first steps of a connection, if nothing comes between."""
        self.time_passes(1.1)
        self.relay_reads_hellos()
        self.emitter_reads(10_000)

    @rule(count=st.integers(1, 5), sent=st.integers(0, 5))
    def emit(self, count: int, sent: int) -> None:
        for _ in range(count):
            event = outgoing(len(self.taken) + 1)
            if len(self.outbox) < MAX_EVENTS:
                self.outbox.add([event])
                self.taken.append(event)
        if sent:
            self.send(sent)

    @rule(limit=st.integers(1, 5))
    def send(self, limit: int) -> None:
        if self.dialogue.is_open:
            if not self.outbox.in_flight:
                self.dialogue.on_events_sent(self.now)
            first, events = self.outbox.take_unsent(limit)
            self.to_relay.extend(enumerate(events, first))

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.dialogue.hello_is_due(self.now):
            self.dialogue.on_hello_sent(self.now)
            self.hellos.append(Greeting.of(self.outbox, self.dialogue.relay_epoch))

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
                self.dialogue.on_hello_accepted(word, self.now)
            else:
                self.dialogue.on_notice(word, self.now)

    @rule(index=st.integers(0, 5))
    def an_event_is_lost(self, index: int) -> None:
        """The relay drops it, as on an unbroken connection nobody else does."""
        if index < len(self.to_relay):
            del self.to_relay[index]
            self.relay.drops += 1

    @rule()
    def words_are_lost(self) -> None:
        """They find no room in a full queue."""
        if any(isinstance(word, Resend) for word in self.to_emitter):
            self.relay.drops += 1
        self.to_emitter.clear()
        self.hellos.clear()

    @rule(is_late=st.booleans(), meets_relay=st.booleans())
    def the_connection_is_lost(self, is_late: bool, meets_relay: bool) -> None:
        if is_late:
            self.late += self.to_relay
        self.to_relay.clear()
        self.relay.asked_after = -1
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

    @invariant()
    def a_proof_is_kept_with_its_number(self) -> None:
        assert self.outbox.proof in (None, proof_of(self.outbox.acknowledged))
        assert self.store.proof in (None, proof_of(self.store.acknowledged))

    def teardown(self) -> None:
        """The last of what is on its way is lost, and then nothing any more: all arrives."""
        self.emit(3, sent=3)
        self.to_relay.clear()
        self.relay.drops += 1
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
        assert self.store.proof == proof_of(len(self.taken)), "the next process can prove it"


TestExactlyOnce = DeliveryMachine.TestCase


TestExactlyOnce.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
