"""`RelayTime`: the relay's clock, as the edge can tell it by the times in its messages.

Clocks of two machines differ, and jump. A message says when the relay sent it, and comes a little
later; the one that came fastest shows the difference between the clocks best.
"""

WINDOW_S = 10.0
"""A difference counts for one to two of these: the relay's clock may be set."""


class RelayTime:
    """The relay's Unix time by this machine's monotonic clock."""

    def __init__(self) -> None:
        self._ahead_ms: float | None = None
        """How far the monotonic clock is ahead, at most: the least of the last windows."""
        self._in_window: float | None = None
        self._window_ends_at = 0.0

    def hear(self, sent_at_ms: int, now: float) -> None:
        """A message that the relay sent at `sent_at_ms` has come at `now`, monotonic seconds."""
        ahead_ms = now * 1000 - sent_at_ms
        if now >= self._window_ends_at:
            self._ahead_ms, self._in_window = self._in_window, None
            self._window_ends_at = now + WINDOW_S
        self._in_window = _least(self._in_window, ahead_ms)
        self._ahead_ms = _least(self._ahead_ms, ahead_ms)

    def at(self, now: float) -> int:
        """Return the relay's time at `now`: never later than it is, 0 before the first message."""
        return 0 if self._ahead_ms is None else int(now * 1000 - self._ahead_ms)


def _least(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)
