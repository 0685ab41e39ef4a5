"""`LastValues`: the last value of each live topic that a client of this edge watches."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from relay.shared.newest import Newest
from relay.wire.topics import Pattern

MAX_TOPICS = 10_000
MAX_BYTES = 32 * 1024 * 1024
"""Beyond either limit the value that was updated longest ago is forgotten."""


class LastValue(NamedTuple):
    """A live event as clients receive it."""

    relayed_at: int
    """Unix time in milliseconds."""
    addressed_to: str | None
    frame: bytes


class LastValues:
    """Gives a late subscriber the last value at once. Bounded in count and bytes."""

    def __init__(self) -> None:
        self._values: Newest[str, LastValue] = Newest(
            MAX_TOPICS, MAX_BYTES, lambda value: len(value.frame)
        )

    def __len__(self) -> int:
        return len(self._values)

    def keep(self, topic: str, value: LastValue) -> None:
        """Keep `value`, which has just arrived."""
        self._values.keep(topic, value)

    def keep_retained(self, topic: str, value: LastValue) -> bool:
        """Keep `value`, which the relay retained, if it is newer; return whether it was kept.

        The relay answers over another socket, so a newer value may have overtaken the answer.
        """
        known = self._values.get(topic)
        if known is not None and known.relayed_at >= value.relayed_at:
            return False
        self._values.keep(topic, value)
        return True

    def matching(self, selectors: tuple[Pattern, ...]) -> Iterator[tuple[str, LastValue]]:
        """Yield each known topic that one of `selectors` matches, once, with its value."""
        if all(selector.exact for selector in selectors):
            for topic in {selector.prefix for selector in selectors}:
                if (value := self._values.get(topic)) is not None:
                    yield topic, value
            return
        for topic, value in self._values.items():
            if any(selector.matches(topic) for selector in selectors):
                yield topic, value

    def keep_only(self, is_wanted: Callable[[str], bool]) -> None:
        """Forget the values of topics that no client watches: they change unseen from now on."""
        for topic in [topic for topic, _ in self._values.items() if not is_wanted(topic)]:
            self._values.forget(topic)
