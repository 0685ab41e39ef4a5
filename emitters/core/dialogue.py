"""The emitter's side of the dialogue with the relay, as a state machine (protocol section 5).

The dialogue hears the relay's subscriptions, replies and notices. From them it decides when to say
hello, whether events may be sent, and which have to be sent again. Times are seconds on the
caller's clock.
"""

import logging
from enum import Enum, auto

from emitters.core.outbox import WINDOW_EVENTS, Outbox
from emitters.core.subscriptions import RelaySubscriptions
from relay.wire.control import HelloReply
from relay.wire.notices import Acknowledged, Notice, Resend

HELLO_RETRY_S = 1.0
STALL_S = 1.0
"""With events in flight and none acknowledged for this long, the dialogue says hello again."""
REPORT_INTERVAL_S = 1.0

logger = logging.getLogger(__name__)


class State(Enum):
    """What the emitter knows of the relay, and so what it may send."""

    DISCONNECTED = auto()
    """No relay is there, or no hello was said to the one that is. Hello is due at once."""
    GREETING = auto()
    """Hello was said and is not accepted. It is said again every second."""
    ACCEPTED = auto()
    """The relay accepted the hello, and has not subscribed to every journaled kind yet. Hello is
    said again every second: the reply may have been an earlier relay's."""
    OPEN = auto()
    """Events are sent, as far as the window allows. After a stall, hello is said again."""
    PROBING = auto()
    """As OPEN, one event at a time: the relay takes nothing, because its disk is full maybe."""
    FENCED = auto()
    """A newer process has the emitter's name. Nothing is sent any more."""


class Signal(Enum):
    """What may change the state."""

    HELLO_SAID = auto()
    HELLO_ACCEPTED = auto()
    SUBSCRIBED = auto()
    """The relay is subscribed to every journaled kind."""
    UNSUBSCRIBED = auto()
    """The relay is not subscribed to some journaled kind, but to others."""
    RELAY_LOST = auto()
    """The relay has no subscription any more: libzmq takes them back when a connection ends."""
    NO_PROGRESS = auto()
    """Hello was answered after a stall, and the relay has not taken any event since the hello."""
    PROGRESS = auto()
    """The relay acknowledged another event."""
    TAKEN_OVER = auto()
    """The relay refused the hello because of a newer process."""


TRANSITIONS = {
    (State.DISCONNECTED, Signal.HELLO_SAID): State.GREETING,
    (State.DISCONNECTED, Signal.TAKEN_OVER): State.FENCED,
    (State.GREETING, Signal.HELLO_ACCEPTED): State.ACCEPTED,
    (State.GREETING, Signal.RELAY_LOST): State.DISCONNECTED,
    (State.GREETING, Signal.TAKEN_OVER): State.FENCED,
    (State.ACCEPTED, Signal.SUBSCRIBED): State.OPEN,
    (State.ACCEPTED, Signal.RELAY_LOST): State.DISCONNECTED,
    (State.ACCEPTED, Signal.TAKEN_OVER): State.FENCED,
    (State.OPEN, Signal.UNSUBSCRIBED): State.ACCEPTED,
    (State.OPEN, Signal.NO_PROGRESS): State.PROBING,
    (State.OPEN, Signal.RELAY_LOST): State.DISCONNECTED,
    (State.OPEN, Signal.TAKEN_OVER): State.FENCED,
    (State.PROBING, Signal.PROGRESS): State.OPEN,
    (State.PROBING, Signal.UNSUBSCRIBED): State.ACCEPTED,
    (State.PROBING, Signal.RELAY_LOST): State.DISCONNECTED,
    (State.PROBING, Signal.TAKEN_OVER): State.FENCED,
}
"""State and signal to the next state. A pair that is not here leaves the state as it is."""

_SENDING = (State.OPEN, State.PROBING)
_KNOWN = (State.ACCEPTED, *_SENDING)


class Dialogue:
    """One emitter's dialogue, over any number of connections and relays."""

    def __init__(self, name: str, epoch: int, outbox: Outbox) -> None:
        self._name = name
        self._epoch = epoch
        self._outbox = outbox
        self._state = State.DISCONNECTED
        self.subscriptions = RelaySubscriptions()
        self._journaled_kinds: frozenset[str] = frozenset()
        """Named by the last reply to hello."""
        self._logged_code = ""
        """The error code of the refusal that was logged last."""
        self._hello_due_at = 0.0
        self._quiet_since = 0.0
        """Since then no event was acknowledged, or none was in flight."""
        self._acknowledged_at_hello = 0
        self._reported: dict[str, int] = {}
        """The counters that were reported last."""
        self._report_due_at = 0.0

    @property
    def state(self) -> State:
        """Where the dialogue is; `_on` alone changes it."""
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
        """Whether a newer process has the name."""
        return self._state is State.FENCED

    def hear_subscription(self, frame: bytes) -> None:
        """Take a frame that the data socket received: one subscription gained or lost."""
        had_any = len(self.subscriptions) > 0
        self.subscriptions.change(frame)
        if had_any and len(self.subscriptions) == 0:
            self._lose_relay()
        else:
            self._check_subscriptions()

    def hello_is_due(self, now: float) -> bool:
        """Whether to say hello now, with the outbox's `acknowledged`."""
        due_at = self._next_hello_at()
        return due_at is not None and now >= due_at

    def hello_was_said(self, now: float) -> None:
        """Note that hello was said; it is due again in a second unless it is answered."""
        self._hello_due_at = now + HELLO_RETRY_S
        self._acknowledged_at_hello = self._outbox.acknowledged
        self._on(Signal.HELLO_SAID)

    def accept(self, reply: HelloReply, now: float) -> None:
        """Take the relay's reply to the latest hello: from which event to go on.

        Raises `SpoolUnavailable` when the spool cannot be brought in line with the relay; then the
        state is as before, and hello is due again in its time.
        """
        match self._state:
            case State.GREETING | State.ACCEPTED:
                self._begin(reply.sequence or 0, frozenset(reply.journaled_kinds))
                self._on(Signal.HELLO_ACCEPTED)
                self._check_subscriptions()
            case State.OPEN | State.PROBING:
                self._go_on_after_stall(reply.sequence or 0)
            case State.DISCONNECTED | State.FENCED:
                return  # The relay that replied is gone; its successor may have less.
        self._quiet_since = now

    def refuse(self, code: str, text: str) -> None:
        """Take the relay's refusal of a hello. Each kind of refusal is logged once in a row."""
        if code == "stale_epoch":
            self._on(Signal.TAKEN_OVER)
            logger.error(
                "another process has taken over the name %s; %d events are unacknowledged: %s",
                self._name,
                len(self._outbox),
                text,
            )
        elif code != self._logged_code:
            self._logged_code = code
            if code == "emitter_in_use":
                logger.warning("%s waits: another live process has this name", self._name)
            else:
                logger.error("%s: %s", self._name, text)

    def hear(self, notice: Notice, now: float) -> None:
        """Take an acknowledgement or a request to send again."""
        outbox = self._outbox
        if notice.epoch != self._epoch:
            logger.warning("%s ignores a notice of epoch %d", self._name, notice.epoch)
            return
        before = outbox.acknowledged
        match notice:
            case Acknowledged():
                was_sent = outbox.acknowledge(notice.sequence)
            case Resend() if self.is_accepted and notice.sequence >= before:
                was_sent = outbox.rewind(notice.sequence)
            case Resend():
                return  # Overtaken by a hello or an acknowledgement.
        if not was_sent:
            logger.warning("%s ignores %s, which was not sent", self._name, notice)
        if outbox.acknowledged > before:
            self._quiet_since = now
            self._on(Signal.PROGRESS)

    def events_were_sent(self, now: float) -> None:
        """Note that events were put in flight where none was."""
        self._quiet_since = now

    def report_to_send(self, now: float, *, at_once: bool = False) -> dict[str, int] | None:
        """Return the counters to report, None if they are unchanged or were sent less than a
        second ago (unless `at_once`)."""
        if not self.is_accepted or (now < self._report_due_at and not at_once):
            return None
        counters = self._outbox.counters()
        if counters == self._reported:
            return None
        self._reported = counters
        self._report_due_at = now + REPORT_INTERVAL_S
        return counters

    def due_at(self, now: float) -> float:
        """Return when hello or a report is due even if the relay sends nothing."""
        due_at = self._next_hello_at()
        report_due_at = self._report_due_at if self._has_report else None
        return min((at for at in (due_at, report_due_at) if at is not None), default=now + 60.0)

    @property
    def _has_report(self) -> bool:
        return self.is_accepted and self._outbox.counters() != self._reported

    def _next_hello_at(self) -> float | None:
        match self._state:
            case State.FENCED:
                return None
            case State.OPEN | State.PROBING:
                # With nothing in flight the relay has nothing to acknowledge: silence is no stall.
                if not self._outbox.in_flight:
                    return None
                return max(self._quiet_since + STALL_S, self._hello_due_at)
            case State.DISCONNECTED | State.GREETING | State.ACCEPTED:
                return self._hello_due_at

    def _begin(self, sequence: int, kinds: frozenset[str]) -> None:
        """Bring the outbox in line with the relay: events in flight on an earlier connection may
        be lost, or journaled without having been acknowledged."""
        outbox = self._outbox
        if sequence < outbox.acknowledged:
            logger.error(
                "the relay has lost events %d to %d of %s, which it had acknowledged",
                sequence + 1,
                outbox.acknowledged,
                self._name,
            )
        if not outbox.rewind(max(sequence, outbox.acknowledged)):
            renumbered = outbox.skip_to(sequence)
            logger.error(
                "the relay has events of %s up to %d, which are not in the spool any more; "
                "%d newer ones were numbered anew",
                self._name,
                sequence,
                renumbered,
            )
        outbox.set_journaled_kinds(kinds)
        outbox.relay_was_met()
        self._journaled_kinds = kinds
        self._reported = {}
        self._logged_code = ""

    def _go_on_after_stall(self, sequence: int) -> None:
        """Send again only if the relay has taken nothing since the hello.

        Else events are merely slow, or an acknowledgement was lost. Sending a whole window again
        each second would keep a slow relay from ever catching up.
        """
        outbox = self._outbox
        if sequence > self._acknowledged_at_hello:
            before = outbox.acknowledged
            outbox.acknowledge(sequence)
            if outbox.acknowledged > before:
                self._on(Signal.PROGRESS)
        else:
            logger.info("%s sends again what follows event %d", self._name, sequence)
            outbox.rewind(max(sequence, outbox.acknowledged))
            self._on(Signal.NO_PROGRESS)

    def _check_subscriptions(self) -> None:
        is_complete = self.subscriptions.include_kinds(self._journaled_kinds)
        self._on(Signal.SUBSCRIBED if is_complete else Signal.UNSUBSCRIBED)

    def _lose_relay(self) -> None:
        if self.is_accepted:
            logger.warning("%s has lost the relay", self._name)
        self._hello_due_at = 0.0
        self._on(Signal.RELAY_LOST)

    def _on(self, signal: Signal) -> None:
        self._state = TRANSITIONS.get((self._state, signal), self._state)
        self._outbox.window_events = 1 if self._state is State.PROBING else WINDOW_EVENTS
