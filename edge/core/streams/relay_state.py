"""`RelayState`: whether this edge follows the relay (protocol sections 4 and 6).

| state | the sync handshake is answered | a heartbeat of another start | silence |
|---|---|---|---|
| SEARCHING | FOLLOWING | | |
| FOLLOWING | | SYNCHRONIZING | SEARCHING: the relay is lost |
| SYNCHRONIZING | FOLLOWING | | SEARCHING: the relay is lost |

In SEARCHING and SYNCHRONIZING the handshake is repeated every `HANDSHAKE_RETRY_S`.
"""

from enum import Enum
from typing import NamedTuple

from edge.core.streams.relay_time import RelayTime
from relay.wire.control import HEARTBEATS_UNTIL_LOST

HANDSHAKE_RETRY_S = 1.0
SILENCE_AT_MOST = 2
"""Timeouts without an event or heartbeat after which a relay is lost that answers requests."""
LATE_TICK_S = 1.0
"""A tick that comes later than this shows that this process itself stood still."""


class RelayPhase(Enum):
    """How this edge stands to the relay."""

    SEARCHING = "searching"
    """No relay was found yet, or it was lost: no clients are served."""
    FOLLOWING = "following"
    """Events arrive."""
    SYNCHRONIZING = "synchronizing"
    """The relay was restarted. Clients stay while the subscriptions are put in place again."""


TRANSITIONS = {
    (RelayPhase.SEARCHING, RelayPhase.FOLLOWING),
    (RelayPhase.FOLLOWING, RelayPhase.SYNCHRONIZING),
    (RelayPhase.FOLLOWING, RelayPhase.SEARCHING),
    (RelayPhase.SYNCHRONIZING, RelayPhase.FOLLOWING),
    (RelayPhase.SYNCHRONIZING, RelayPhase.SEARCHING),
}


class Heard(Enum):
    """The meaning of a heartbeat."""

    NOTHING = "nothing"
    """Without a handshake its offsets say nothing about the events that will arrive."""
    ANSWER = "answer"
    """The handshake is answered: subscriptions are in place; see `follow`."""
    ROLLBACK = "rollback"
    """As ANSWER, by a relay that is not to be followed before it has begun a new epoch."""
    RESTART = "restart"
    """Another relay process speaks: a handshake is due."""
    PROGRESS = "progress"
    """Every event up to the heartbeat's last offsets has arrived or was lost."""
    RECONNECTED = "reconnected"
    """As PROGRESS. The connection was made anew: messages without an offset may be lost as well."""


class Tick(NamedTuple):
    """The outcome of `RelayState.tick`."""

    is_lost: bool
    """The relay has just been lost: clients must be sent away."""
    is_handshake_due: bool


class RelayState:
    """Decides when to synchronize, and when the relay counts as lost. `now` is in seconds."""

    def __init__(self, timeout_s: float) -> None:
        """The relay counts as lost after `timeout_s` of silence, or later: see `hear_interval`."""
        self.is_journaling = True
        """Whether the relay could write its journal when it was heard last."""
        self.clock = RelayTime()
        self.is_journal_damaged = False
        """Whether the relay has met events in its journal that it cannot read."""
        self._shortest_timeout_s = self._timeout_s = timeout_s
        self._phase = RelayPhase.SEARCHING
        self._followed = (0, 0)
        """The epoch and start time of the relay process that was followed last."""
        self._heard_at = 0.0
        self._answered_at = 0.0
        self._ticked_at = 0.0
        self._handshake_due_at = 0.0

    @property
    def phase(self) -> RelayPhase:
        """The present state."""
        return self._phase

    @property
    def is_alive(self) -> bool:
        """Whether events arrive."""
        return self._phase is RelayPhase.FOLLOWING

    def hear(self, now: float) -> None:
        """Take notice of an event or heartbeat, whatever its content."""
        self._heard_at = now

    def hear_answer(self, now: float) -> None:
        """Take notice of an answer to a request: the relay is there, though it publishes nothing.

        A relay whose disk is slow must not cost every client its connection. It counts as lost
        nevertheless after `SILENCE_AT_MOST` times the timeout without any heartbeat.
        """
        self._answered_at = now

    def hear_interval(self, heartbeat_s: float) -> None:
        """Take the interval of the relay's heartbeats: silence in between is no loss."""
        self._timeout_s = max(self._shortest_timeout_s, HEARTBEATS_UNTIL_LOST * heartbeat_s)

    def tick(self, now: float) -> Tick:
        """Look at the time. Called several times a second."""
        if now - self._ticked_at > LATE_TICK_S:
            # The silence was ours: messages may wait in the socket that nobody has read.
            self._heard_at = max(self._heard_at, now)
        self._ticked_at = now
        is_lost = self._phase is not RelayPhase.SEARCHING and self._is_silent(now)
        if is_lost:
            self._enter(RelayPhase.SEARCHING)
        return Tick(is_lost, not self.is_alive and now >= self._handshake_due_at)

    def begin_handshake(self, now: float) -> None:
        """Take notice that a handshake was begun."""
        self._handshake_due_at = now + HANDSHAKE_RETRY_S

    def repeat_handshake(self) -> None:
        """Have the next tick begin another handshake: subscriptions were added to the last one."""
        self._handshake_due_at = 0.0

    def take_heartbeat(
        self, epoch: int, started_at: int, *, is_answer: bool, is_rolled_back: bool = False
    ) -> Heard:
        """Take the epoch and start time in a heartbeat; `is_answer` if it answers the handshake.

        `is_rolled_back` tells that its journal lacks events that were received here. Of a relay
        that is followed it is only an old heartbeat: after a new connection, libzmq may deliver
        messages of the earlier one behind newer ones.
        """
        if self._phase is not RelayPhase.FOLLOWING:
            if not is_answer:
                return Heard.NOTHING
            return Heard.ROLLBACK if is_rolled_back else Heard.ANSWER
        if (epoch, started_at) != self._followed:
            self._enter(RelayPhase.SYNCHRONIZING)
            return Heard.RESTART
        # The nonce stays subscribed: libzmq subscribes to it again with every new connection.
        return Heard.RECONNECTED if is_answer else Heard.PROGRESS

    def follow(self, epoch: int, started_at: int) -> None:
        """Follow the relay whose answer to the handshake named these."""
        self._followed = (epoch, started_at)
        self._enter(RelayPhase.FOLLOWING)

    def _is_silent(self, now: float) -> bool:
        silent_s, timeout_s = now - self._heard_at, self._timeout_s
        if silent_s <= timeout_s:
            return False
        return now - self._answered_at > timeout_s or silent_s > SILENCE_AT_MOST * timeout_s

    def _enter(self, phase: RelayPhase) -> None:
        """Change the state: the only place."""
        assert (self._phase, phase) in TRANSITIONS, f"{self._phase} to {phase}"
        self._phase = phase
