"""`SelectorIndex`: which of many subscriptions match a topic, without a look at all of them."""

from collections.abc import Iterable
from typing import Generic, TypeVar

from relay.shared.prefix_index import PrefixIndex
from relay.wire.topics import Pattern

T = TypeVar("T")


class SelectorIndex(Generic[T]):
    """Finds the items of which a selector matches. The work is that for the distinct lengths of
    prefixes, 255 at most, and for the items that are found."""

    def __init__(self, items: Iterable[tuple[T, Iterable[Pattern]]]) -> None:
        """`items` come with their selectors."""
        self._exact: dict[str, list[T]] = {}
        self._prefixes: PrefixIndex[str, list[T]] = PrefixIndex()
        for item, selectors in items:
            for selector in selectors:
                self._list_of(selector).append(item)

    def matching(self, topic: str) -> Iterable[T]:
        """Return each item of which a selector matches `topic`, once."""
        found = list(self._exact.get(topic, ()))
        for _, items in self._prefixes.matching(topic):
            found += items
        return dict.fromkeys(found)

    def _list_of(self, selector: Pattern) -> list[T]:
        if selector.exact:
            return self._exact.setdefault(selector.prefix, [])
        items = self._prefixes.get(selector.prefix)
        if items is None:
            self._prefixes.set(selector.prefix, items := [])
        return items
