"""Many things that are due after the same time, with one timer."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


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
    """Visits each item once in `interval_s`, some of them at every tick."""

    def __init__(self, interval_s: float, visit: Callable[[T], bool]) -> None:
        """`visit` returns whether the item is to be visited again."""
        self._interval_s = interval_s
        self._visit = visit
        self._items: deque[T] = deque()
        self._allowance = 0.0

    def add(self, item: T) -> None:
        """Visit `item` from now on, first after about the interval."""
        self._items.append(item)

    def tick(self, elapsed_s: float) -> None:
        """Visit those that are due `elapsed_s` after the last tick."""
        count = len(self._items)
        self._allowance = min(count, self._allowance + count * elapsed_s / self._interval_s)
        while self._allowance >= 1 and self._items:
            self._allowance -= 1
            item = self._items.popleft()
            stays = True
            try:
                stays = self._visit(item)
            finally:
                if stays:
                    self._items.append(item)
