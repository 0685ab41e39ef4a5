"""`FlushThrottle`: when gathered frames are sent to clients."""

import asyncio
import time
from collections.abc import Callable

SHORT_S = 0.002
"""A flush up to this duration may be followed by the next one at any time."""
LONGEST_REST_S = 0.01
ENOUGH_FRAMES = 4
"""A flush that sent a client this many frames gains little by waiting for more."""


class FlushThrottle:
    """Lets a long flush be followed by a rest of the same duration.

    A flush costs one system call for each client, however many frames it sends. Frames that arrive
    during the rest are sent together, so a busy edge sends less often instead of falling behind
    (decision 4). A flush to few clients is never delayed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, flush: Callable[[], int]) -> None:
        """`flush` sends the gathered frames, and returns the most that one client was sent."""
        self._loop = loop
        self._flush = flush
        self._resting_until = 0.0
        """By the monotonic clock."""
        self._timer: asyncio.TimerHandle | None = None
        """Set while a rest is waited for."""

    def ask(self) -> None:
        """Have the gathered frames sent, at once or at the end of the rest."""
        if self._timer is not None:
            return
        rest_s = self._resting_until - time.monotonic()
        if rest_s <= 0:
            self._send()
        else:
            self._timer = self._loop.call_later(rest_s, self._end_rest)

    def close(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _end_rest(self) -> None:
        self._timer = None
        self._send()

    def _send(self) -> None:
        began_at = time.monotonic()
        frames = self._flush()
        ended_at = time.monotonic()
        took_s = ended_at - began_at
        if took_s > SHORT_S and frames < ENOUGH_FRAMES:
            self._resting_until = ended_at + min(took_s, LONGEST_REST_S)
