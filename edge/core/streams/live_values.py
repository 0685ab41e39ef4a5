"""The newest value of each live topic that a client of this edge watches."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from relay.shared.newest import Newest
from relay.wire.topics import Pattern

MAX_TOPICS = 10_000
MAX_BYTES = 32 * 1024 * 1024


class LiveValue(NamedTuple):
    """A live event as it is sent to clients."""

    relayed_at: int
    addressed_to: str | None
    frame: bytes


class LiveValues:
    """Lets a late subscriber have the last value at once. Bounded by count and bytes."""

    def __init__(self) -> None:
        self._values: Newest[str, LiveValue] = Newest(
            MAX_TOPICS, MAX_BYTES, lambda value: len(value.frame)
        )

    def __len__(self) -> int:
        return len(self._values)

    def keep(self, topic: str, value: LiveValue) -> None:
        """Remember `value`, which has just arrived."""
        self._values.keep(topic, value)

    def keep_retained(self, topic: str, value: LiveValue) -> bool:
        """Remember `value`, which the relay remembered, unless what is known is as new.

        Returns whether it was news.
        """
        known = self._values.get(topic)
        if known is not None and known.relayed_at >= value.relayed_at:
            return False
        self._values.keep(topic, value)
        return True

    def matching(self, patterns: tuple[Pattern, ...]) -> Iterator[tuple[str, LiveValue]]:
        """The known topics that one of `patterns` matches, each once, and their values."""
        if all(pattern.exact for pattern in patterns):
            for topic in {pattern.prefix for pattern in patterns}:
                if (value := self._values.get(topic)) is not None:
                    yield topic, value
            return
        for topic, value in self._values.items():
            if any(pattern.matches(topic) for pattern in patterns):
                yield topic, value

    def keep_only(self, is_wanted: Callable[[str], bool]) -> None:
        """Forget the values of topics that nobody wants any more."""
        for topic in [topic for topic, _ in self._values.items() if not is_wanted(topic)]:
            self._values.forget(topic)
