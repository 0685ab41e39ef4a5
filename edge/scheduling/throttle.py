"""When events are sent to clients: at once, unless that takes so long that waiting costs less."""

import asyncio
import time
from collections.abc import Callable

SHORT_S = 0.002
"""A fan-out as short as that may be followed by the next at any time."""
LONGEST_REST_S = 0.01
ENOUGH_FRAMES = 4
"""Who sends so many frames at a time gains little by waiting for more."""


class Pace:
    """Lets a long fan-out be followed by a rest as long as it was.

    One system call for each client is what a fan-out costs, whatever it sends. What arrives during
    the rest goes out together, so a busy edge sends less often instead of falling behind (decision
    4). A fan-out to few clients is never delayed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, flush: Callable[[], int]) -> None:
        """`flush` sends what there is, and returns how many frames the busiest client got."""
        self._loop = loop
        self._flush = flush
        self._resting_until = 0.0
        """By the monotonic clock."""
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Something was gathered: have it sent as soon as it is time."""
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
