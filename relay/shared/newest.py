"""The newest value of each key, bounded by count and bytes."""

from collections.abc import Callable, Hashable, ItemsView
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Newest(Generic[K, V]):
    """A map that drops the entry with the oldest update when it is full.

    `size` returns the bytes of a value. A value above `max_bytes` is dropped at once.
    """

    def __init__(self, max_items: int, max_bytes: int, size: Callable[[V], int]) -> None:
        self._values: dict[K, V] = {}
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._size = size
        self._bytes = 0

    @property
    def total_bytes(self) -> int:
        """The bytes of all values."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """Return the value of `key`, None if it has none."""
        return self._values.get(key)

    def items(self) -> ItemsView[K, V]:
        """Return keys and values, the one with the oldest update first."""
        return self._values.items()

    def keep(self, key: K, value: V) -> list[K]:
        """Set the value of `key`; return the keys that were dropped for it."""
        values = self._values
        # Removed first: a dict keeps the place of a key whose value changes.
        previous = values.pop(key, None)
        size = self._size(value)
        self._bytes += size if previous is None else size - self._size(previous)
        values[key] = value
        dropped = []
        while len(values) > self._max_items or self._bytes > self._max_bytes:
            oldest = next(iter(values))
            self.forget(oldest)
            dropped.append(oldest)
        return dropped

    def forget(self, key: K) -> None:
        """Remove `key` if it is there."""
        value = self._values.pop(key, None)
        if value is not None:
            self._bytes -= self._size(value)
