"""What the relay remembers for late subscribers: live values and task states.

Both are bounded; the entry that was updated longest ago goes first, of tasks a finished one.
"""

from typing import NamedTuple

from relay.wire.envelope import Envelope
from relay.wire.topics import TASK, Topic

MAX_LIVE_TOPICS = 10_000
MAX_TASKS = 10_000
MAX_FINISHED_TASKS = 1_000
FINISHED_STATUSES = frozenset({"success", "error"})


class Item(NamedTuple):
    """An event as it went out: the three frames."""

    topic: bytes
    stamp: bytes
    envelope: bytes


class Retained:
    """Remembers the last value of each live topic and the latest state of each task."""

    def __init__(self) -> None:
        self._live: dict[str, Item] = {}
        self._unfinished: dict[str, Item] = {}
        self._finished: dict[str, Item] = {}

    def keep(self, topic: Topic, envelope: Envelope, item: Item) -> None:
        """Remember `item`, which is an event of a task or of a live topic."""
        if topic.kind != TASK:
            _keep_newest(self._live, topic.text, item, MAX_LIVE_TOPICS)
        elif envelope.data.get("status") in FINISHED_STATUSES:
            self._unfinished.pop(topic.text, None)
            _keep_newest(self._finished, topic.text, item, MAX_FINISHED_TASKS)
        else:
            self._finished.pop(topic.text, None)
            _keep_newest(self._unfinished, topic.text, item, MAX_TASKS)

    def items(self, prefix: str) -> list[Item]:
        """Return what is remembered of topics that start with `prefix`, oldest update first."""
        return [
            item
            for group in (self._live, self._finished, self._unfinished)
            for topic, item in group.items()
            if topic.startswith(prefix)
        ]


def _keep_newest(group: dict[str, Item], topic: str, item: Item, limit: int) -> None:
    group.pop(topic, None)
    group[topic] = item
    if len(group) > limit:
        del group[next(iter(group))]
