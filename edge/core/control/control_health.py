"""`ControlHealth`: whether the relay answers requests, and replays events (protocol section 6).

The edge asks for something at least once a second, so that a control connection that leads
nowhere is known before a client needs it.
"""

from typing import NamedTuple

PROBE_INTERVAL_S = 1.0
"""A probe follows the last answer after this time."""
PROBE_REPEAT_S = 2.0
"""A probe that is unanswered for so long is followed by another one. The relay answers in order, so
the answer to any later request shows that the earlier ones are lost."""
ANSWER_TIMEOUT_S = 3.0
REPLAY_TIMEOUT_S = 10.0
RECONNECT_AFTER_S = 10.0
RECONNECT_AT_MOST_S = 80.0
"""The first and the longest silence after which the connection is replaced by a new one. An answer
of one large event may take long on a slow connection: each time the patience doubles."""
LATE_TICK_S = 1.0
"""A tick that comes later than this shows that this process itself stood still."""


class ControlTick(NamedTuple):
    """The actions that are due."""

    probe: bool
    reconnect: bool
    replays_failed: bool
    """No replay has come for `REPLAY_TIMEOUT_S` although at least one was requested."""


class ControlHealth:
    """Follows requests and answers. `now` is in seconds, of a clock that never goes back."""

    def __init__(self) -> None:
        self.is_answering = False
        """False before the first answer, and while a request waits for `ANSWER_TIMEOUT_S`."""
        self.is_replaying = True
        """False while a replay is requested and none has come for `REPLAY_TIMEOUT_S`."""
        self._ticked_at: float | None = None
        self._probed_at = 0.0
        self._is_probed = False
        """Whether a probe is unanswered."""
        self._silent_since: float | None = None
        """Since when a request is unanswered and no answer has come."""
        self._no_replay_since: float | None = None
        self._reconnect_after_s = RECONNECT_AFTER_S
        self._reconnected_at = 0.0

    def probe_sent(self, now: float) -> None:
        """Take notice of a probe, a request that costs the relay nothing."""
        self._probed_at = now
        self._is_probed = True

    def hear(self, now: float, *, is_replay: bool = False) -> None:
        """Take notice of an answer."""
        self.is_answering = True
        self._silent_since = None
        self._reconnect_after_s = RECONNECT_AFTER_S
        if self._is_probed:
            self._is_probed = False
            self._probed_at = now
        if is_replay:
            self.is_replaying = True
            self._no_replay_since = None

    def tick(self, now: float, *, is_waiting: bool, is_replay_waiting: bool) -> ControlTick:
        """Look at the time. Called several times a second; the flags tell what is unanswered."""
        if self._ticked_at is None or now - self._ticked_at > LATE_TICK_S:
            # The silence was ours: answers may wait in the socket that nobody has read.
            self._silent_since = self._no_replay_since = None
        self._ticked_at = now
        self._silent_since = _since(self._silent_since, now, is_waiting)
        self._no_replay_since = _since(self._no_replay_since, now, is_replay_waiting)
        silent_s = 0.0 if self._silent_since is None else now - self._silent_since
        if silent_s > ANSWER_TIMEOUT_S:
            self.is_answering = False
        replays_failed = (
            self._no_replay_since is not None and now - self._no_replay_since > REPLAY_TIMEOUT_S
        )
        self.is_replaying = not replays_failed
        return ControlTick(self._is_probe_due(now), self._is_reconnect_due(now), replays_failed)

    def _is_probe_due(self, now: float) -> bool:
        patience_s = PROBE_REPEAT_S if self._is_probed else PROBE_INTERVAL_S
        return now - self._probed_at >= patience_s

    def _is_reconnect_due(self, now: float) -> bool:
        if self._silent_since is None:
            return False
        if now - max(self._silent_since, self._reconnected_at) < self._reconnect_after_s:
            return False
        self._reconnected_at = now
        self._reconnect_after_s = min(2 * self._reconnect_after_s, RECONNECT_AT_MOST_S)
        return True


def _since(since: float | None, now: float, is_waiting: bool) -> float | None:
    """Return since when something waits, None if nothing does."""
    if not is_waiting:
        return None
    return now if since is None else since
