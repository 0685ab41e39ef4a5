"""The newest value of each live topic that a client of this edge watches."""

from collections.abc import Callable, Iterator
from typing import NamedTuple


class LiveValue(NamedTuple):
    """A live event as it is sent to clients."""

    relayed_at: int
    addressed_to: str | None
    frame: bytes


class LiveValues:
    """Lets a late subscriber have the last value at once."""

    def __init__(self) -> None:
        self._values: dict[str, LiveValue] = {}

    def __len__(self) -> int:
        return len(self._values)

    def offer(self, topic: str, value: LiveValue) -> bool:
        """Keep `value` unless a newer one is known; return whether it was kept."""
        known = self._values.get(topic)
        if known is not None and known.relayed_at > value.relayed_at:
            return False
        self._values[topic] = value
        return True

    def has(self, topic: str) -> bool:
        """Whether a value of `topic` is known."""
        return topic in self._values

    def matching(self, matches: Callable[[str], bool]) -> Iterator[tuple[str, LiveValue]]:
        """The topics for which `matches` is true, and their values."""
        return ((topic, value) for topic, value in self._values.items() if matches(topic))

    def keep_only(self, is_wanted: Callable[[str], bool]) -> None:
        """Forget the values of topics that nobody wants any more."""
        self._values = {topic: value for topic, value in self._values.items() if is_wanted(topic)}
