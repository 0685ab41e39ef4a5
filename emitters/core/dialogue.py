"""The emitter's side of the dialogue with the relay, as a state machine (protocol section 5).

The relay's subscriptions, replies and notices come in. From them the dialogue decides when hello is
sent, whether events may be sent, and which have to be sent again. Times are seconds on the caller's
clock.
"""

import logging
from enum import Enum, auto

from emitters.core.connection_watch import NO_CONTROL, NO_INGRESS, NOBODY, Trouble
from emitters.core.emitter_state import EmitterStatus
from emitters.core.outbox import WINDOW_EVENTS, Outbox
from emitters.core.received_subscriptions import ReceivedSubscriptions
from relay.wire.control import HelloReply
from relay.wire.notices import Acknowledged, Notice, Resend

HELLO_RETRY_S = 1.0
STALL_S = 1.0
MAX_STALL_S = 4.0
"""With events in flight and none acknowledged for this long, hello asks how far the relay is. The
time doubles with each answer that tells of no progress."""
REPORT_INTERVAL_S = 1.0
REPORT_AGAIN_S = 10.0
"""Unchanged counters are reported so often. By a report the relay learns on which connection the
emitter is, and it ends the tasks of an emitter that it cannot reach for longer."""
NO_EPOCH = Trouble(
    EmitterStatus.REFUSED,
    "the relay at {control} is of an earlier version and hands out no epoch; events wait."
    " Upgrade the relay.",
)
IN_USE = Trouble(
    EmitterStatus.REFUSED,
    "another live process has this spool, or a copy of it; events wait until that process ends."
    " Give each process a spool of its own, or none.",
)

logger = logging.getLogger(__name__)


class DialogueState(Enum):
    """The emitter's knowledge of the relay, and with it the permission to send."""

    DISCONNECTED = auto()
    """No relay is there, or hello was not sent to it yet. Hello is due at once."""
    GREETING = auto()
    """Hello was sent and is not accepted. It is sent again every second."""
    ACCEPTED = auto()
    """The relay accepted the hello, and has not subscribed to every journaled kind yet. Hello is
    sent again every second: the reply may have been an earlier relay's."""
    OPEN = auto()
    """Events are sent, as far as the window allows. After a stall, hello is sent again."""
    PROBING = auto()
    """As OPEN, one event at a time: the relay takes nothing, because its disk is full maybe."""
    FENCED = auto()
    """Another process has the emitter's spool. Nothing is sent any more."""


class DialogueSignal(Enum):
    """An occurrence that may change the state."""

    HELLO_SENT = auto()
    HELLO_ACCEPTED = auto()
    SUBSCRIBED = auto()
    """The relay is subscribed to every journaled kind."""
    UNSUBSCRIBED = auto()
    """The relay is not subscribed to some journaled kind, but to others."""
    RELAY_LOST = auto()
    """The relay has no subscription any more: libzmq takes them back when a connection ends."""
    NO_PROGRESS = auto()
    """Hello was answered after a stall: the journal has no event beyond the number in the hello,
    and the relay does not say that it takes events."""
    TAKES_EVENTS = auto()
    """Hello was answered after a stall: the relay takes events."""
    PROGRESS = auto()
    """The relay acknowledged another event."""
    TAKEN_OVER = auto()
    """The relay refused the hello because of a newer process."""


TRANSITIONS = {
    (DialogueState.DISCONNECTED, DialogueSignal.HELLO_SENT): DialogueState.GREETING,
    (DialogueState.DISCONNECTED, DialogueSignal.TAKEN_OVER): DialogueState.FENCED,
    (DialogueState.GREETING, DialogueSignal.HELLO_ACCEPTED): DialogueState.ACCEPTED,
    (DialogueState.GREETING, DialogueSignal.RELAY_LOST): DialogueState.DISCONNECTED,
    (DialogueState.GREETING, DialogueSignal.TAKEN_OVER): DialogueState.FENCED,
    (DialogueState.ACCEPTED, DialogueSignal.SUBSCRIBED): DialogueState.OPEN,
    (DialogueState.ACCEPTED, DialogueSignal.RELAY_LOST): DialogueState.DISCONNECTED,
    (DialogueState.ACCEPTED, DialogueSignal.TAKEN_OVER): DialogueState.FENCED,
    (DialogueState.OPEN, DialogueSignal.UNSUBSCRIBED): DialogueState.ACCEPTED,
    (DialogueState.OPEN, DialogueSignal.NO_PROGRESS): DialogueState.PROBING,
    (DialogueState.OPEN, DialogueSignal.RELAY_LOST): DialogueState.DISCONNECTED,
    (DialogueState.OPEN, DialogueSignal.TAKEN_OVER): DialogueState.FENCED,
    (DialogueState.PROBING, DialogueSignal.PROGRESS): DialogueState.OPEN,
    (DialogueState.PROBING, DialogueSignal.TAKES_EVENTS): DialogueState.OPEN,
    (DialogueState.PROBING, DialogueSignal.UNSUBSCRIBED): DialogueState.ACCEPTED,
    (DialogueState.PROBING, DialogueSignal.RELAY_LOST): DialogueState.DISCONNECTED,
    (DialogueState.PROBING, DialogueSignal.TAKEN_OVER): DialogueState.FENCED,
}
"""State and signal to the next state. A pair that is not here leaves the state as it is."""

_SENDING = (DialogueState.OPEN, DialogueState.PROBING)
_KNOWN = (DialogueState.ACCEPTED, *_SENDING)


class Dialogue:
    """One emitter's dialogue, over any number of connections and relays."""

    def __init__(self, name: str, outbox: Outbox) -> None:
        self._name = name
        self._outbox = outbox
        self._state = DialogueState.DISCONNECTED
        self.subscriptions = ReceivedSubscriptions()
        self._journaled_kinds: frozenset[str] = frozenset()
        """Named by the last reply to hello."""
        self._refusal: Trouble | None = None
        """The relay's refusal of the last hello that it answered."""
        self._hello_due_at = 0.0
        self.relay_epoch = outbox.relay_epoch
        """The relay's epoch in the last reply to hello, perhaps to an earlier process."""
        self._stall_s = STALL_S
        self._drops: int | None = None
        """The `drops` of the last reply to hello."""
        self._quiet_since = 0.0
        """Since then no event was acknowledged, or none was in flight."""
        self._acknowledged_at_hello = 0
        self._reported: dict[str, int] = {}
        """The counters that were reported last."""
        self._reported_at = -REPORT_INTERVAL_S

    @property
    def state(self) -> DialogueState:
        """Where the dialogue is; `_change_state` alone changes it."""
        return self._state

    @property
    def is_accepted(self) -> bool:
        """Whether the relay has accepted the hello and is still there."""
        return self._state in _KNOWN

    @property
    def is_open(self) -> bool:
        """Whether events may be sent."""
        return self._state in _SENDING

    @property
    def is_fenced(self) -> bool:
        """Whether another process has the spool."""
        return self._state is DialogueState.FENCED

    @property
    def trouble(self) -> Trouble | None:
        """The reason for which events do not reach the relay; None while they do."""
        if self.is_open or self.is_fenced:
            return None
        if self._refusal is not None:
            return self._refusal
        if self.is_accepted:
            return NO_INGRESS
        return NO_CONTROL if len(self.subscriptions) > 0 else NOBODY

    def on_subscription(self, frame: bytes) -> None:
        """Take a frame that the data socket received: one subscription gained or lost."""
        had_any = len(self.subscriptions) > 0
        self.subscriptions.change(frame)
        # Counted by all subscriptions, live ones included: libzmq takes them back one by one.
        if had_any and len(self.subscriptions) == 0:
            self._lose_relay()
        else:
            self._check_subscriptions()

    def hello_is_due(self, now: float) -> bool:
        """Whether hello has to be sent now, with the outbox's `acknowledged`."""
        due_at = self._next_hello_at()
        return due_at is not None and now >= due_at

    def on_hello_sent(self, now: float) -> None:
        """Note that hello was sent; it is due again in a second unless it is answered."""
        self._hello_due_at = now + HELLO_RETRY_S
        self._acknowledged_at_hello = self._outbox.acknowledged
        self._change_state(DialogueSignal.HELLO_SENT)

    def on_hello_accepted(self, reply: HelloReply, now: float) -> None:
        """Go on where the relay is, by its reply to the latest hello.

        Raises `SpoolUnavailable` when the spool cannot be brought in line with the relay; then the
        state is as before, and hello is due again in its time.
        """
        match self._state:
            case DialogueState.GREETING | DialogueState.ACCEPTED:
                if not self._take_epoch(reply):
                    return
                self._begin(reply)
                self._drops = reply.drops
                self._change_state(DialogueSignal.HELLO_ACCEPTED)
                self._check_subscriptions()
            case DialogueState.OPEN | DialogueState.PROBING:
                self._go_on_after_stall(reply)
            case DialogueState.DISCONNECTED | DialogueState.FENCED:
                return  # The relay that replied is gone; its successor may have less.
        self.relay_epoch = reply.epoch
        self._outbox.keep_relay_epoch(reply.epoch)
        self._quiet_since = now

    def on_hello_refused(self, code: str, text: str) -> None:
        """Wait, or stop for good: the relay refused the hello."""
        match code:
            case "stale_epoch":
                self._change_state(DialogueSignal.TAKEN_OVER)
                logger.error(
                    "another process has taken over the spool of %s; %d events are"
                    " unacknowledged: %s",
                    self._name,
                    len(self._outbox),
                    text,
                )
            case "emitter_in_use":
                self._refusal = IN_USE
            case _:
                # Braces of the relay's text are no fields of the log line.
                told = text.replace("{", "{{").replace("}", "}}")
                self._refusal = Trouble(EmitterStatus.REFUSED, f"{told}; events wait")

    def on_notice(self, notice: Notice, now: float) -> None:
        """Take an acknowledgement or a request to send again."""
        outbox = self._outbox
        # Sent for an earlier process of this name: its numbers mean other events.
        if notice.epoch != outbox.epoch:
            logger.warning("%s ignores a notice of epoch %d", self._name, notice.epoch)
            return
        before = outbox.acknowledged
        match notice:
            case Acknowledged():
                was_sent = outbox.acknowledge(notice.sequence, notice.proof)
            case Resend() if self.is_accepted and notice.sequence >= before:
                was_sent = outbox.rewind(notice.sequence)
            case Resend():
                return  # Overtaken by a hello or an acknowledgement.
        # Believing it would drop events that the relay cannot have.
        if not was_sent:
            logger.warning("%s ignores %s, which was not sent", self._name, notice)
        if outbox.acknowledged > before:
            self._quiet_since = now
            self._on_progress()

    def on_events_sent(self, now: float) -> None:
        """Note that events were put in flight where none was."""
        self._quiet_since = now

    def report_to_send(self, now: float, *, at_once: bool = False) -> dict[str, int] | None:
        """Return the counters to report, None if they were sent less than a second ago (unless
        `at_once`), or less than ten seconds ago and are unchanged."""
        if not self.is_accepted or (now < self._reported_at + REPORT_INTERVAL_S and not at_once):
            return None
        counters = self._outbox.counters()
        if counters == self._reported and now < self._reported_at + REPORT_AGAIN_S:
            return None
        self._reported = counters
        self._reported_at = now
        return counters

    def due_at(self, now: float) -> float:
        """Return when hello or a report is due even if the relay sends nothing."""
        due_at = self._next_hello_at()
        report_at = self._next_report_at()
        return min((at for at in (due_at, report_at) if at is not None), default=now + 60.0)

    def _next_report_at(self) -> float | None:
        if not self.is_accepted:
            return None
        is_changed = self._outbox.counters() != self._reported
        return self._reported_at + (REPORT_INTERVAL_S if is_changed else REPORT_AGAIN_S)

    def _next_hello_at(self) -> float | None:
        match self._state:
            case DialogueState.FENCED:
                return None
            case DialogueState.OPEN | DialogueState.PROBING:
                # With nothing in flight the relay has nothing to acknowledge: silence is no stall.
                if not self._outbox.in_flight:
                    return None
                return max(self._quiet_since + self._stall_s, self._hello_due_at)
            case DialogueState.DISCONNECTED | DialogueState.GREETING | DialogueState.ACCEPTED:
                return self._hello_due_at

    def _take_epoch(self, reply: HelloReply) -> bool:
        """Return whether the events have an epoch, maybe from `reply`."""
        if reply.emitter_epoch is not None and not self._outbox.epoch:
            self._outbox.keep_epoch(reply.emitter_epoch)
        if not self._outbox.epoch:
            self._refusal = NO_EPOCH
        return bool(self._outbox.epoch)

    def _begin(self, reply: HelloReply) -> None:
        """Bring the outbox in line with the relay: events in flight on an earlier connection may
        be lost, or journaled without having been acknowledged."""
        outbox = self._outbox
        sequence, kinds = reply.sequence or 0, frozenset(reply.journaled_kinds)
        if sequence < outbox.acknowledged:
            logger.error(
                "the relay has lost events %d to %d of %s, which it had acknowledged",
                sequence + 1,
                outbox.acknowledged,
                self._name,
            )
        if not outbox.rewind(sequence, reply.proof):
            renumbered = outbox.skip_to(sequence, reply.proof)
            logger.error(
                "the relay has events of %s up to %d, which are not in the spool any more; "
                "%d newer ones were numbered anew",
                self._name,
                sequence,
                renumbered,
            )
        # Noted in the spool before any event is sent: its next process must know.
        outbox.set_journaled_kinds(kinds)
        outbox.relay_was_met()
        self._journaled_kinds = kinds
        # A relay that was restarted has no counters of this emitter.
        self._reported = {}
        self._refusal = None
        self._stall_s = STALL_S

    def _go_on_after_stall(self, reply: HelloReply) -> None:
        """Send again only what the relay has dropped.

        Otherwise events are merely slow, or an acknowledgement was lost. Sending them again would
        fill a slow connection with copies until no event arrives any more.
        """
        outbox = self._outbox
        sequence, drops = reply.sequence or 0, reply.drops
        has_progress = sequence > self._acknowledged_at_hello
        if has_progress:
            outbox.acknowledge(sequence, reply.proof)
            self._on_progress()
        else:
            self._stall_s = min(2 * self._stall_s, MAX_STALL_S)
        is_dropped = not has_progress if drops is None else drops != self._drops
        if is_dropped:
            logger.info("%s sends the events after %d again", self._name, sequence)
            outbox.rewind(sequence)
        if drops is None:
            # It takes nothing now: it is enough to try one event at a time.
            self._stall_s = STALL_S
            if not has_progress:
                self._change_state(DialogueSignal.NO_PROGRESS)
        else:
            self._drops = drops
            self._change_state(DialogueSignal.TAKES_EVENTS)

    def _on_progress(self) -> None:
        self._stall_s = STALL_S
        self._change_state(DialogueSignal.PROGRESS)

    def _check_subscriptions(self) -> None:
        is_complete = self.subscriptions.include_kinds(self._journaled_kinds)
        self._change_state(
            DialogueSignal.SUBSCRIBED if is_complete else DialogueSignal.UNSUBSCRIBED
        )

    def _lose_relay(self) -> None:
        if self.is_accepted:
            logger.warning("%s has lost the relay", self._name)
        # The next relay is greeted at once, however recently this one was.
        self._hello_due_at = 0.0
        self._refusal = None
        self._outbox.live.connection_lost()
        self._change_state(DialogueSignal.RELAY_LOST)

    def _change_state(self, signal: DialogueSignal) -> None:
        self._state = TRANSITIONS.get((self._state, signal), self._state)
        self._outbox.window_events = 1 if self._state is DialogueState.PROBING else WINDOW_EVENTS
