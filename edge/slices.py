"""What clients ask for, done in slices, so that events do not wait behind it."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

SLICE_S = 0.005
"""Of each turn of the event loop."""
_WEIGHT = 0.05
"""Of the newest piece of work in the mean."""

logger = logging.getLogger(__name__)


class Slices:
    """Runs pieces of work at once as long as there is time in this turn, then in the next ones.

    In the order in which they come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._until = 0.0
        """When this turn's slice is spent, by the monotonic clock."""
        self._is_running = False
        """Whether the next turn is asked for."""
        self._mean_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def expected_wait_s(self) -> float:
        """How long what comes now would wait if nothing else was to be done."""
        return len(self._waiting) * self._mean_s

    def run(self, work: Callable[[], None]) -> bool:
        """Call `work` now or when it is its turn; return whether it was now."""
        now = time.monotonic()
        if not self._is_running:
            self._is_running = True
            self._until = now + SLICE_S
            self._loop.call_soon(self._go_on)
        if self._waiting or now >= self._until:
            self._waiting.append(work)
            return False
        self._do(work, now)
        return True

    def _go_on(self) -> None:
        if not self._waiting:
            self._is_running = False
            return
        self._loop.call_soon(self._go_on)
        now = time.monotonic()
        self._until = now + SLICE_S
        while self._waiting and now < self._until:
            now = self._do(self._waiting.popleft(), now)

    def _do(self, work: Callable[[], None], began_at: float) -> float:
        try:
            work()
        except Exception:
            # A fault with one client must not keep the others from being served.
            logger.exception("a client could not be served")
        now = time.monotonic()
        self._mean_s += _WEIGHT * (now - began_at - self._mean_s)
        return now
