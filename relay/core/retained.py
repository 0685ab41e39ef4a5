"""What the relay remembers for late subscribers: live values and task states.

All of it is bounded by count and bytes; what was updated longest ago goes first.
"""

from typing import NamedTuple

from relay.wire.envelope import Envelope
from relay.wire.topics import TASK, Topic

MAX_LIVE_TOPICS = 10_000
MAX_TASKS = 10_000
MAX_FINISHED_TASKS = 1_000
MAX_GROUP_BYTES = 32 * 1024 * 1024
"""For live values, unfinished tasks and finished tasks each."""

FINISHED_STATUSES = ("success", "error")
"""A tuple, because a status may be anything, also what cannot be hashed."""


class Item(NamedTuple):
    """An event as it went out: the three frames."""

    topic: bytes
    stamp: bytes
    envelope: bytes


class Retained:
    """Remembers the last value of each live topic and the latest state of each task."""

    def __init__(self) -> None:
        self._live = _Group(MAX_LIVE_TOPICS)
        self._unfinished = _Group(MAX_TASKS)
        self._finished = _Group(MAX_FINISHED_TASKS)

    def keep(self, topic: Topic, envelope: Envelope, item: Item) -> None:
        """Remember `item`, which is an event of a task or of a live topic."""
        if topic.kind != TASK:
            self._live.keep(topic.text, item)
        elif envelope.data.get("status") in FINISHED_STATUSES:
            self._unfinished.forget(topic.text)
            self._finished.keep(topic.text, item)
        else:
            self._finished.forget(topic.text)
            self._unfinished.keep(topic.text, item)

    def items(self, prefix: str) -> list[Item]:
        """Return what is remembered of topics that start with `prefix`, oldest update first."""
        return [
            item
            for group in (self._live, self._finished, self._unfinished)
            for topic, item in group.items.items()
            if topic.startswith(prefix)
        ]

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


class _Group:
    """The newest item of each topic, the one updated longest ago first."""

    def __init__(self, max_items: int) -> None:
        self.items: dict[str, Item] = {}
        self._max_items = max_items
        self._bytes = 0

    def keep(self, topic: str, item: Item) -> None:
        self.forget(topic)
        self.items[topic] = item
        self._bytes += _size(item)
        while len(self.items) > self._max_items or self._bytes > MAX_GROUP_BYTES:
            self.forget(next(iter(self.items)))

    def forget(self, topic: str) -> None:
        item = self.items.pop(topic, None)
        if item is not None:
            self._bytes -= _size(item)


def _size(item: Item) -> int:
    return sum(map(len, item))
