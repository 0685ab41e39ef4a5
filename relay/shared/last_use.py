"""`LastUse`: keys in the order of their last use."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MAX_LOOKS = 64


class LastUse(Generic[K]):
    """A set whose iteration begins with the key that was used longest ago."""

    def __init__(self) -> None:
        self._keys: OrderedDict[K, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[K]:
        return iter(self._keys)

    def use(self, key: K) -> None:
        """Add `key`, or note that it was used again."""
        self._keys[key] = None
        self._keys.move_to_end(key)

    def discard(self, key: K) -> None:
        """Remove `key` if it is there."""
        self._keys.pop(key, None)

    def oldest(self, may_go: Callable[[K], bool]) -> K | None:
        """Return the first key that `may_go`, of the `MAX_LOOKS` that were used longest ago.

        Those before it count as used: the next call looks at others.
        """
        for key in tuple(islice(self._keys, MAX_LOOKS)):
            if may_go(key):
                return key
            self._keys.move_to_end(key)
        return None
