"""The newest value of each key, bounded by count and bytes."""

from collections.abc import Callable, Hashable, ItemsView
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Newest(Generic[K, V]):
    """A map from which the entry that was updated longest ago goes first when it is full.

    `size` tells the bytes of a value; one above `max_bytes` is not kept at all.
    """

    def __init__(self, max_items: int, max_bytes: int, size: Callable[[V], int]) -> None:
        self._values: dict[K, V] = {}
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._size = size
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """The value of `key`, None if there is none."""
        return self._values.get(key)

    def items(self) -> ItemsView[K, V]:
        """Keys and values, the one updated longest ago first."""
        return self._values.items()

    def keep(self, key: K, value: V) -> list[K]:
        """Set the value of `key`; return the keys that were given up for it."""
        values = self._values
        previous = values.pop(key, None)
        size = self._size(value)
        self._bytes += size if previous is None else size - self._size(previous)
        values[key] = value
        given_up = []
        while len(values) > self._max_items or self._bytes > self._max_bytes:
            oldest = next(iter(values))
            self.forget(oldest)
            given_up.append(oldest)
        return given_up

    def forget(self, key: K) -> None:
        """Remove `key` if it is there."""
        value = self._values.pop(key, None)
        if value is not None:
            self._bytes -= self._size(value)
