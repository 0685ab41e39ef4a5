"""A set of topic prefixes that finds those that match in one look-up per length."""

from collections.abc import Iterator


class PrefixSet:
    """Topic prefixes, as ZeroMQ subscriptions are. Bytes in, bytes compared.

    One thread may change it while others look: what they iterate over is replaced, never changed.
    """

    def __init__(self) -> None:
        self._prefixes: set[bytes] = set()
        self._count_by_length: dict[int, int] = {}

    def add(self, prefix: bytes) -> None:
        """Add `prefix`; adding it again changes nothing."""
        if prefix not in self._prefixes:
            self._prefixes.add(prefix)
            size = len(prefix)
            self._count_by_length = self._count_by_length | {
                size: self._count_by_length.get(size, 0) + 1
            }

    def discard(self, prefix: bytes) -> None:
        """Remove `prefix` if it is there."""
        if prefix in self._prefixes:
            self._prefixes.discard(prefix)
            size = len(prefix)
            counts = dict(self._count_by_length)
            counts[size] -= 1
            if not counts[size]:
                del counts[size]
            self._count_by_length = counts

    def matching(self, topic: bytes) -> Iterator[bytes]:
        """The prefixes that `topic` starts with, shortest first."""
        for length in sorted(self._count_by_length):
            if (prefix := topic[:length]) in self._prefixes and len(prefix) == length:
                yield prefix

    def __contains__(self, prefix: bytes) -> bool:
        return prefix in self._prefixes

    def __len__(self) -> int:
        return len(self._prefixes)
