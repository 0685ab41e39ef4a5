"""`PeriodicVisits`: something that every client needs now and then, spread over time."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_VISITS = 500
"""Visits at a tick. The others follow at the next, so that a tick never stalls the event loop."""


class PeriodicVisits(Generic[T]):
    """Visits each item every `interval_s`; somebody else calls `tick` much more often."""

    def __init__(self, interval_s: float, visit: Callable[[T], bool]) -> None:
        """`visit` returns whether the item is to be visited again."""
        self._interval_s = interval_s
        self._visit = visit
        self._items: deque[tuple[float, T]] = deque()
        """Due time and item, in order of due time."""

    def add(self, item: T, now: float) -> None:
        """Visit `item` from now on, first after the interval. `now` is in seconds."""
        self._items.append((now + self._interval_s, item))

    def tick(self, now: float) -> None:
        """Visit the items that are due, at most `MAX_VISITS` that stay."""
        allowance = MAX_VISITS
        while allowance and self._items and self._items[0][0] <= now:
            _, item = self._items.popleft()
            stays = True
            try:
                stays = self._visit(item)
            finally:
                # Also after a fault: a client must not be forgotten for one failed visit.
                if stays:
                    allowance -= 1
                    self.add(item, now)
