"""`TimeSlicedQueue`: the requests of clients, in slices of time between which events pass."""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

from relay.shared.logs import LimitedLog

SLICE_S = 0.005
"""Seconds of each turn of the event loop that requests may take."""

logger = logging.getLogger(__name__)


class _Line:
    """The work of one party that waits, with the times of arrival; the oldest first."""

    __slots__ = ("unserved_since", "work")

    def __init__(self, now: float) -> None:
        self.unserved_since = now
        """When the party was served last, or began to wait."""
        self.work: deque[Callable[[], None]] = deque()


class TimeSlicedQueue:
    """Does work at once while this turn's slice lasts, else in later turns.

    The parties that have work waiting take turns, one piece at a time, so that nobody waits for all
    that another one has sent. The work of one party is done in the order of its arrival.

    The queue has no limit of its own. The senders bound it: a connection with work in the queue
    is not read (so at most one read of data, 256 KiB, waits for each), and handshakes are turned
    away with 4013 while `wait_s` is too long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: OrderedDict[Hashable, _Line] = OrderedDict()
        """By party, in the order of their turns."""
        self._log = LimitedLog(logger)
        self._count = 0
        self._slice_ends_at = 0.0
        """By the monotonic clock."""
        self._is_scheduled = False
        """Whether the loop calls `_next_turn` in its next turn."""

    def __len__(self) -> int:
        """The number of pieces of work that wait."""
        return self._count

    @property
    def wait_s(self) -> float:
        """Seconds that a party has waited for its turn: an estimate of the wait for another one."""
        if not self._lines:
            return 0.0
        return time.monotonic() - next(iter(self._lines.values())).unserved_since

    def run(self, work: Callable[[], None], party: Hashable = None) -> bool:
        """Call `work` of `party` now or in a later turn; return whether it was called now.

        None is a party that nobody else is.
        """
        now = time.monotonic()
        if not self._is_scheduled:
            # The first work of a turn starts its slice; the callback marks the end of the turn.
            self._is_scheduled = True
            self._slice_ends_at = now + SLICE_S
            self._loop.call_soon(self._next_turn)
        if self._lines or now >= self._slice_ends_at:
            party = object() if party is None else party
            self._lines.setdefault(party, _Line(now)).work.append(work)
            self._count += 1
            return False
        self._do(work)
        return True

    def _next_turn(self) -> None:
        if not self._lines:
            self._is_scheduled = False
            return
        self._loop.call_soon(self._next_turn)
        now = time.monotonic()
        self._slice_ends_at = now + SLICE_S
        while self._lines and now < self._slice_ends_at:
            party, line = next(iter(self._lines.items()))
            self._count -= 1
            work = line.work.popleft()
            if line.work:
                line.unserved_since = now
                self._lines.move_to_end(party)
            else:
                del self._lines[party]
            self._do(work)
            now = time.monotonic()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - logged
            # A fault with one client must not stop the work of the others.
            self._log.exception("serve", "a client could not be served")
