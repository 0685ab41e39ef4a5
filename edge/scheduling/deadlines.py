"""Many things that are due after the same time, with one timer."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_VISITS = 500
"""At a tick; who is not visited then is at the next."""


class Deadlines(Generic[T]):
    """Calls `on_due` with each item `timeout_s` after it was added. Items are not taken back."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeout_s: float, on_due: Callable[[T], None]
    ) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._on_due = on_due
        self._items: deque[tuple[float, T]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: T) -> None:
        """Have `item` be due after the timeout."""
        self._items.append((self._loop.time() + self._timeout_s, item))
        if self._timer is None:
            self._arm()

    def close(self) -> None:
        """Forget everything."""
        self._items.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._items[0][0], self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._items and self._items[0][0] <= now:
            self._on_due(self._items.popleft()[1])
        if self._items and self._timer is None:
            self._arm()


class Rounds(Generic[T]):
    """Visits each item every `interval_s`, some of them at every tick."""

    def __init__(self, interval_s: float, visit: Callable[[T], bool]) -> None:
        """`visit` returns whether the item is to be visited again."""
        self._interval_s = interval_s
        self._visit = visit
        self._items: deque[tuple[float, T]] = deque()
        """When each is due, in that order."""

    def add(self, item: T, now: float) -> None:
        """Visit `item` from now on, first after the interval."""
        self._items.append((now + self._interval_s, item))

    def tick(self, now: float) -> None:
        """Visit those that are due, as many as may be at a time."""
        allowance = MAX_VISITS
        while allowance and self._items and self._items[0][0] <= now:
            _, item = self._items.popleft()
            stays = True
            try:
                stays = self._visit(item)
            finally:
                if stays:
                    allowance -= 1
                    self.add(item, now)
