"""`TimeSlicedQueue`: the requests of clients, in slices of time between which events pass."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

SLICE_S = 0.005
"""Seconds of each turn of the event loop that requests may take."""

logger = logging.getLogger(__name__)


class TimeSlicedQueue:
    """Does work at once while this turn's slice lasts, else in later turns; in order of arrival.

    The queue has no limit of its own. The senders bound it: a connection with work in the queue
    is not read (so at most one read of data, 256 KiB, waits for each), and handshakes are turned
    away with 4013 while `wait_s` is too long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        """Time of arrival and work, oldest first."""
        self._slice_ends_at = 0.0
        """By the monotonic clock."""
        self._is_scheduled = False
        """Whether the loop calls `_next_turn` in its next turn."""

    def __len__(self) -> int:
        """The number of pieces of work that wait."""
        return len(self._waiting)

    @property
    def wait_s(self) -> float:
        """Seconds that the oldest work has waited: an estimate of the wait for new work."""
        return time.monotonic() - self._waiting[0][0] if self._waiting else 0.0

    def run(self, work: Callable[[], None]) -> bool:
        """Call `work` now or in a later turn; return whether it was called now."""
        now = time.monotonic()
        if not self._is_scheduled:
            # The first work of a turn starts its slice; the callback marks the end of the turn.
            self._is_scheduled = True
            self._slice_ends_at = now + SLICE_S
            self._loop.call_soon(self._next_turn)
        if self._waiting or now >= self._slice_ends_at:
            self._waiting.append((now, work))
            return False
        self._do(work)
        return True

    def _next_turn(self) -> None:
        if not self._waiting:
            self._is_scheduled = False
            return
        self._loop.call_soon(self._next_turn)
        now = time.monotonic()
        self._slice_ends_at = now + SLICE_S
        while self._waiting and now < self._slice_ends_at:
            self._do(self._waiting.popleft()[1])
            now = time.monotonic()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # A fault with one client must not stop the work of the others.
            logger.exception("a client could not be served")
