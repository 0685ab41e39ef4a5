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

logger = logging.getLogger(__name__)


class Slices:
    """Runs pieces of work at once as long as there is time in this turn, then in the next ones.

    In the order in which they come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        """Since when, and what."""
        self._until = 0.0
        """When this turn's slice is spent, by the monotonic clock."""
        self._is_running = False
        """Whether the next turn is asked for."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def wait_s(self) -> float:
        """How long what is next has waited, and so about what anything that comes now will."""
        return time.monotonic() - self._waiting[0][0] if self._waiting else 0.0

    def run(self, work: Callable[[], None]) -> bool:
        """Call `work` now or when it is its turn; return whether it was now."""
        now = time.monotonic()
        if not self._is_running:
            self._is_running = True
            self._until = now + SLICE_S
            self._loop.call_soon(self._go_on)
        if self._waiting or now >= self._until:
            self._waiting.append((now, work))
            return False
        self._do(work)
        return True

    def _go_on(self) -> None:
        if not self._waiting:
            self._is_running = False
            return
        self._loop.call_soon(self._go_on)
        now = time.monotonic()
        self._until = now + SLICE_S
        while self._waiting and now < self._until:
            self._do(self._waiting.popleft()[1])
            now = time.monotonic()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # A fault with one client must not keep the others from being served.
            logger.exception("a client could not be served")
