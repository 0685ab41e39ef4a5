"""What an emitter does next: say hello, send, send again, or wait (protocol section 5).

It hears the relay's subscriptions, replies and notices, and knows from them what the relay has.
Times are seconds on the caller's clock. The caller provides the locking that the outbox needs.
"""

import logging

from emitters.core.outbox import Outbox
from relay.shared.prefix_index import PrefixIndex
from relay.wire.control import HelloReply
from relay.wire.notices import Acknowledged, Notice, Resend

HELLO_RETRY_S = 1.0
STALL_S = 1.0
"""With something in flight and nothing acknowledged for so long, ask where the relay is."""
ACCOUNT_INTERVAL_S = 1.0

logger = logging.getLogger(__name__)


class Conversation:
    """One emitter's side of it, over any number of connections and relays."""

    def __init__(self, name: str, epoch: int, outbox: Outbox) -> None:
        self._name = name
        self._epoch = epoch
        self._outbox = outbox
        self.subscriptions = PrefixIndex[bytes, None]()
        self._journaled_kinds: frozenset[str] | None = None
        """What the relay journals; None until it has accepted our hello."""
        self.is_fenced = False
        """A newer process has our name; the relay takes nothing from us any more."""
        self._told: str | None = None
        """The code of the refusal that was logged last."""
        self._hello_due_at = 0.0
        self._quiet_since = 0.0
        """Nothing was acknowledged, or nothing was in flight, since then."""
        self._acknowledged_at_hello = 0
        self._account: dict[str, int] = {}
        """As it was sent last."""
        self._account_due_at = 0.0

    @property
    def is_accepted(self) -> bool:
        """Whether the relay has answered our hello and is still there."""
        return self._journaled_kinds is not None

    @property
    def is_open(self) -> bool:
        """Whether events may be sent: the hello was accepted and the subscriptions are there."""
        kinds = self._journaled_kinds
        return kinds is not None and all(
            f"{kind}:".encode() in self.subscriptions for kind in kinds
        )

    def hear_subscription(self, frame: bytes) -> bool:
        """The data socket has a subscription more or less; return whether the relay is gone."""
        if frame[:1] == b"\x01":
            self.subscriptions.set(frame[1:], None)
        elif frame[:1] == b"\x00":
            self.subscriptions.discard(frame[1:])
            if len(self.subscriptions) == 0:
                self._lose_relay()
                return True
        return False

    def hello_is_due(self, now: float) -> bool:
        """Whether to say hello, with the outbox's `acknowledged`."""
        due_at = self._next_hello_at()
        return due_at is not None and now >= due_at

    def hello_was_said(self, now: float) -> None:
        """It will be said again unless it is answered."""
        self._hello_due_at = now + HELLO_RETRY_S
        self._acknowledged_at_hello = self._outbox.acknowledged

    def accept(self, reply: HelloReply, now: float) -> None:
        """The relay has answered and said what it has.

        Raises `SpoolUnavailable` when the events cannot be numbered anew as they must be; then
        hello is to be said again.
        """
        outbox = self._outbox
        sequence = reply.sequence or 0
        if self.is_open:
            if sequence > self._acknowledged_at_hello:
                outbox.acknowledge(sequence)
            else:
                logger.info("%s sends again what follows event %d", self._name, sequence)
                outbox.rewind(max(sequence, outbox.acknowledged), probing=True)
        else:
            self._begin(sequence, frozenset(reply.journaled_kinds))
        self._quiet_since = now

    def refuse(self, code: str, text: str) -> None:
        """The relay has refused our hello."""
        if code == "stale_epoch":
            self.is_fenced = True
            self._journaled_kinds = None
            logger.error(
                "another process has taken over the name %s; %d events are unacknowledged: %s",
                self._name,
                len(self._outbox),
                text,
            )
        elif code != self._told:
            self._told = code
            if code == "emitter_in_use":
                logger.warning("%s waits: another live process has this name", self._name)
            else:
                logger.error("%s: %s", self._name, text)

    def hear(self, notice: Notice, now: float) -> None:
        """The relay acknowledges, or asks to send again."""
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

    def events_were_sent(self, now: float) -> None:
        """Events were put in flight where none was."""
        self._quiet_since = now

    def account_to_send(self, now: float, *, at_once: bool = False) -> dict[str, int] | None:
        """The counters to tell, or None: at most once a second, and only what has changed."""
        if not self.is_accepted or (now < self._account_due_at and not at_once):
            return None
        counters = self._outbox.counters()
        if counters == self._account:
            return None
        self._account = counters
        self._account_due_at = now + ACCOUNT_INTERVAL_S
        return counters

    def due_at(self, now: float) -> float:
        """When to go on even if nothing is heard."""
        due_at = self._next_hello_at()
        account_due_at = self._account_due_at if self._has_account else None
        return min((at for at in (due_at, account_due_at) if at is not None), default=now + 60.0)

    @property
    def _has_account(self) -> bool:
        return self.is_accepted and self._outbox.counters() != self._account

    def _next_hello_at(self) -> float | None:
        if self.is_fenced:
            return None
        if not self.is_open:
            return self._hello_due_at
        if self._outbox.in_flight:
            return max(self._quiet_since + STALL_S, self._hello_due_at)
        return None

    def _begin(self, sequence: int, kinds: frozenset[str]) -> None:
        """A new connection: what was in flight on the old one may be lost."""
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
        self._account = {}
        self._told = None

    def _lose_relay(self) -> None:
        if self.is_accepted:
            logger.warning("%s has lost the relay", self._name)
        self._journaled_kinds = None
        self._hello_due_at = 0.0
