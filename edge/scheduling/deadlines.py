"""`Deadlines`: many items with the same timeout, on one timer of the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `on_due` with each item `timeout_s` after it was added, or earlier for lack of room.

    Items cannot be removed: `on_due` must recognise those that no longer matter. Bound:
    `max_items`; when there are more, the oldest is due in the next turn of the loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeout_s: float,
        on_due: Callable[[T], None],
        max_items: int = 100_000,
    ) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._on_due = on_due
        self._max_items = max_items
        self._items: deque[tuple[float, T]] = deque()
        """Due time by the loop's clock and item, oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        """Set while there are items."""

    def __len__(self) -> int:
        """The number of items that are not due."""
        return len(self._items)

    def add(self, item: T) -> None:
        """Make `item` due after the timeout."""
        self._items.append((self._loop.time() + self._timeout_s, item))
        if len(self._items) > self._max_items:
            # Later, because it may add an item again, and so may the next ones.
            self._loop.call_soon(self._on_due, self._items.popleft()[1])
        if self._timer is None:
            self._arm()

    def close(self) -> None:
        """Forget all items."""
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
        # `on_due` may have added an item, which has armed the timer already.
        if self._items and self._timer is None:
            self._arm()
