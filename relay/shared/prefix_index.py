"""A map of topic prefixes that finds all prefixes of a topic, one look-up per prefix length."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from relay.shared.compaction import compacted

P = TypeVar("P", str, bytes)
V = TypeVar("V")


class PrefixIndex(Generic[P, V]):
    """Prefix to value, like a dict; `matching` finds the values of all prefixes of a topic.

    A look-up costs O(distinct prefix lengths + matches), independent of the number of prefixes.
    One thread may change the index while others look up: the lengths that they iterate over are
    replaced, never changed.
    """

    __slots__ = ("_count_by_length", "_lengths", "_values")

    def __init__(self) -> None:
        self._values: dict[P, V] = {}
        self._count_by_length: dict[int, int] = {}
        self._lengths: tuple[int, ...] = ()
        """Ascending."""

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, prefix: P) -> bool:
        return prefix in self._values

    def get(self, prefix: P) -> V | None:
        """Return the value of `prefix` itself, None if it is not in the index."""
        return self._values.get(prefix)

    def set(self, prefix: P, value: V) -> None:
        """Set the value of `prefix`."""
        if prefix not in self._values:
            self._count(len(prefix), 1)
        self._values[prefix] = value

    def discard(self, prefix: P) -> None:
        """Remove `prefix` if it is in the index."""
        if prefix in self._values:
            # The value goes first: a look-up in another thread may still use the old lengths.
            del self._values[prefix]
            self._count(len(prefix), -1)

    def shrink(self) -> None:
        """Give back the room of prefixes that have gone."""
        self._values = compacted(self._values)

    def matching(self, topic: P) -> Iterator[tuple[P, V]]:
        """Yield each prefix of `topic` in the index with its value, the shortest first."""
        values = self._values
        size = len(topic)
        for length in self._lengths:
            if length > size:
                return
            prefix = topic[:length]
            if (value := values.get(prefix, _ABSENT)) is not _ABSENT:
                yield prefix, value  # type: ignore[misc]

    def _count(self, length: int, change: int) -> None:
        count = self._count_by_length.get(length, 0) + change
        if count:
            self._count_by_length[length] = count
        else:
            del self._count_by_length[length]
        # Lengths change rarely; most prefixes share theirs with others.
        if len(self._count_by_length) != len(self._lengths):
            self._lengths = tuple(sorted(self._count_by_length))


# None is a valid value.
_ABSENT: object = object()
