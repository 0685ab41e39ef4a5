"""What the relay remembers for late subscribers: live values and task states.

All of it is bounded by count and bytes; what was updated longest ago goes first.
"""

from typing import NamedTuple

from relay.shared.newest import Newest
from relay.wire.topics import Topic

MAX_LIVE_TOPICS = 10_000
MAX_TASKS = 10_000
MAX_FINISHED_TASKS = 1_000
MAX_GROUP_BYTES = 32 * 1024 * 1024
"""For live values, unfinished tasks and finished tasks each."""


class Item(NamedTuple):
    """An event as it went out: the three frames."""

    topic: bytes
    stamp: bytes
    envelope: bytes


class RetainedValues:
    """Remembers the last value of each live topic and the latest state of each task."""

    def __init__(self) -> None:
        self._live = _newest(MAX_LIVE_TOPICS)
        self._unfinished = _newest(MAX_TASKS)
        self._finished = _newest(MAX_FINISHED_TASKS)

    def keep_live(self, topic: Topic, item: Item) -> None:
        """Remember `item`, a live value."""
        self._live.keep(topic.text, item)

    def keep_task(self, topic: Topic, item: Item, *, finished: bool) -> list[str]:
        """Remember `item`, a task's state; return the topics that were forgotten for it."""
        into, other = (
            (self._finished, self._unfinished) if finished else (self._unfinished, self._finished)
        )
        other.forget(topic.text)
        return into.keep(topic.text, item)

    def items(self, prefix: str) -> list[Item]:
        """Return what is remembered of topics that start with `prefix`, oldest update first."""
        return [
            item
            for group in (self._live, self._finished, self._unfinished)
            for topic, item in group.items()
            if topic.startswith(prefix)
        ]

    def item(self, topic: str) -> Item | None:
        """Return what is remembered of `topic`."""
        groups = (self._live, self._unfinished, self._finished)
        return next((item for group in groups if (item := group.get(topic))), None)

    def page(self, prefix: str, after: bytes, max_bytes: int) -> tuple[tuple[Item, ...], bool]:
        """Return the items whose topics come after `after`, and whether there are more.

        In the order of their topics, as many as fit `max_bytes`, but at least one.
        """
        page: list[Item] = []
        size = 0
        for item in sorted(item for item in self.items(prefix) if item.topic > after):
            size += _size(item)
            if page and size > max_bytes:
                return tuple(page), True
            page.append(item)
        return tuple(page), False


def _newest(max_items: int) -> Newest[str, Item]:
    return Newest(max_items, MAX_GROUP_BYTES, _size)


def _size(item: Item) -> int:
    return sum(map(len, item))
