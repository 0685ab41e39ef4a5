"""`DigestSet`: a set of 64-bit numbers, about nine bytes each. A Python set takes about eighty."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator

BUCKET_BITS = 8
"""The first bits of a number choose its bucket, so that a change copies a small part of the set."""
_SHIFT = 64 - BUCKET_BITS
_EMPTY = array("Q")


class DigestSet:
    """Numbers from 0 to 2^64 - 1, evenly distributed, as digests are; iterated in ascending order.

    One thread may change the set while others look up: a bucket is replaced, never changed.
    """

    __slots__ = ("_buckets", "_count")

    def __init__(self) -> None:
        self._buckets: dict[int, array[int]] = {}
        """The first bits to the numbers that begin with them, ascending."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, digest: int) -> bool:
        bucket = self._buckets.get(digest >> _SHIFT, _EMPTY)
        index = bisect_left(bucket, digest)
        return index < len(bucket) and bucket[index] == digest

    def __iter__(self) -> Iterator[int]:
        for key in sorted(self._buckets):
            yield from self._buckets[key]

    def add(self, digest: int) -> bool:
        """Add `digest`; return whether it was not there."""
        key = digest >> _SHIFT
        bucket = self._buckets.get(key, _EMPTY)
        index = bisect_left(bucket, digest)
        if index < len(bucket) and bucket[index] == digest:
            return False
        self._buckets[key] = bucket[:index] + array("Q", (digest,)) + bucket[index:]
        self._count += 1
        return True

    def discard(self, digest: int) -> bool:
        """Remove `digest`; return whether it was there."""
        key = digest >> _SHIFT
        bucket = self._buckets.get(key, _EMPTY)
        index = bisect_left(bucket, digest)
        if index == len(bucket) or bucket[index] != digest:
            return False
        if len(bucket) == 1:
            del self._buckets[key]
        else:
            self._buckets[key] = bucket[:index] + bucket[index + 1 :]
        self._count -= 1
        return True

    def page(self, after: int | None, max_count: int) -> list[int]:
        """Return the first `max_count` numbers above `after`, all from the first on if None."""
        first = 0 if after is None else after + 1
        start = first >> _SHIFT
        found: list[int] = []
        for key in sorted(key for key in self._buckets if key >= start):
            bucket = self._buckets[key]
            index = bisect_left(bucket, first) if key == start else 0
            found += bucket[index : index + max_count - len(found)]
            if len(found) == max_count:
                break
        return found
