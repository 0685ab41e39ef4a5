"""A set of topic prefixes that finds those that match in one look-up per length."""

from collections.abc import Iterator


class PrefixSet:
    """Topic prefixes, as ZeroMQ subscriptions are. Bytes in, bytes compared."""

    def __init__(self) -> None:
        self._prefixes: set[bytes] = set()
        self._lengths: tuple[int, ...] = ()

    def add(self, prefix: bytes) -> None:
        """Add `prefix`; adding it again changes nothing."""
        self._prefixes.add(prefix)
        self._lengths = tuple(sorted({len(prefix) for prefix in self._prefixes}))

    def discard(self, prefix: bytes) -> None:
        """Remove `prefix` if it is there."""
        self._prefixes.discard(prefix)
        self._lengths = tuple(sorted({len(prefix) for prefix in self._prefixes}))

    def matching(self, topic: bytes) -> Iterator[bytes]:
        """The prefixes that `topic` starts with, shortest first."""
        for length in self._lengths:
            if (prefix := topic[:length]) in self._prefixes and len(prefix) == length:
                yield prefix

    def __contains__(self, prefix: bytes) -> bool:
        return prefix in self._prefixes

    def __len__(self) -> int:
        return len(self._prefixes)
