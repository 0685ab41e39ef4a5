"""`TimeSlicedQueue`: the requests of clients, in slices of time between which events pass."""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import NamedTuple

from relay.shared.logs import LimitedLog
from relay.shared.time_share import TimeShare

SLICE_S = 0.001
"""Seconds of each turn of the event loop that requests may take. An event waits for so long."""
WHOLE = TimeShare(1.0, burst_s=1.0)
MIN_REST_S = 0.02
"""A party rests for so long at least: a rest costs a timer, and its clients are not read."""
MANY_ACCOUNTS = 10_000
"""With more, those without a debt are forgotten."""

logger = logging.getLogger(__name__)


class Party(NamedTuple):
    """Those who take turns with others, such as all connections of a user."""

    name: Hashable
    has_share: bool
    """Whether its work may take a share of the processor only."""


class _Line:
    """The work of one party that waits, with the times of arrival; the oldest first."""

    __slots__ = ("unserved_since", "work")

    def __init__(self, now: float) -> None:
        self.unserved_since = now
        """When the party was served last, or began to wait."""
        self.work: deque[tuple[float, Callable[[], None]]] = deque()


class TimeSlicedQueue:
    """Does work at once while this turn's slice lasts, else in later turns.

    The parties that have work waiting take turns, one piece at a time, so that nobody waits for all
    that another one has sent. The work of one party is done in the order of its arrival. The
    further work of a party that has taken more than its share of the processor rests.

    The queue has no limit of its own. The senders bound it: a connection with work in the queue
    is not read (so at most one read of data, 256 KiB, waits for each), and handshakes are turned
    away with 4013 while `wait_s` is too long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, share: TimeShare = WHOLE) -> None:
        """Work of one party takes at most `share` of the processor."""
        self._loop = loop
        self._share = share
        self._lines: OrderedDict[Hashable, _Line] = OrderedDict()
        """By party, in the order of their turns."""
        self._resting: dict[Hashable, tuple[_Line, asyncio.TimerHandle]] = {}
        self._paid_at: dict[Party, float] = {}
        """See `relay.shared.time_share`."""
        self.rests = 0
        """How often a party had to rest."""
        self._log = LimitedLog(logger)
        self._count = 0
        self._slice_ends_at = 0.0
        """By the monotonic clock."""
        self._is_scheduled = False
        """Whether the loop calls `_next_turn` in its next turn."""

    def __len__(self) -> int:
        """The number of pieces of work that wait."""
        return self._count

    def wait_s(self, party: Party | None = None) -> float:
        """Estimate the seconds that new work of `party` will wait.

        So long has some party waited for its turn, or the oldest work of this one.
        """
        if not self._lines:
            return 0.0
        since = next(iter(self._lines.values())).unserved_since
        if (own := self._lines.get(party)) is not None:
            since = min(since, own.work[0][0])
        return time.monotonic() - since

    @property
    def has_time(self) -> bool:
        """Whether the work that is being done may go on: nobody else waits, and the slice lasts."""
        return not self._lines and time.monotonic() < self._slice_ends_at

    def close(self) -> None:
        """Do nothing more."""
        for _, timer in self._resting.values():
            timer.cancel()
        self._lines.clear()

    def run(self, work: Callable[[], None], party: Party | None = None) -> bool:
        """Call `work` of `party` now or in a later turn; return whether it was called now.

        None is a party that nobody else is.
        """
        now = time.monotonic()
        if party in self._resting:
            line, _ = self._resting[party]
            line.work.append((now, work))
            self._count += 1
            return False
        if not self._is_scheduled:
            # The first work of a turn starts its slice; the callback marks the end of the turn.
            self._is_scheduled = True
            self._slice_ends_at = now + SLICE_S
            self._loop.call_soon(self._next_turn)
        if self._lines or now >= self._slice_ends_at:
            self._lines.setdefault(party or object(), _Line(now)).work.append((now, work))
            self._count += 1
            return False
        self._do(work, party)
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
            _, work = line.work.popleft()
            if line.work:
                line.unserved_since = now
                self._lines.move_to_end(party)
            else:
                del self._lines[party]
            self._do(work, party)
            now = time.monotonic()

    def _do(self, work: Callable[[], None], party: Hashable) -> None:
        began = time.thread_time()
        try:
            work()
        except Exception:  # noqa: BLE001 - logged
            # A fault with one client must not stop the work of the others.
            self._log.exception("serve", "a client could not be served")
        if isinstance(party, Party) and party.has_share:
            self._charge(party, time.thread_time() - began)

    def _charge(self, party: Party, cost_s: float) -> None:
        now = time.monotonic()
        paid_at = self._share.charge(self._paid_at.get(party, 0.0), cost_s, now)
        self._paid_at[party] = paid_at
        if len(self._paid_at) > MANY_ACCOUNTS:
            self._paid_at = {party: at for party, at in self._paid_at.items() if at > now}
        rest_s = self._share.rests_until(paid_at) - now
        if rest_s > 0 and party not in self._resting:
            self.rests += 1
            line = self._lines.pop(party, None) or _Line(now)
            timer = self._loop.call_later(max(rest_s, MIN_REST_S), self._end_rest, party)
            self._resting[party] = line, timer

    def _end_rest(self, party: Party) -> None:
        line, _ = self._resting.pop(party)
        if not line.work:
            return
        line.unserved_since = time.monotonic()
        self._lines[party] = line
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._next_turn)
