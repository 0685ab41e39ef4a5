"""The events that the relay remembers for late subscribers: live values and task states.

Each of the three groups (live values, unfinished tasks, finished tasks) is bounded in count and
bytes. When a group is full, its topic with the oldest update is forgotten.
"""

from collections.abc import Iterator

from relay.shared.newest import Newest
from relay.wire.header import StampedFrames

MAX_LIVE_TOPICS = 10_000
MAX_TASKS = 10_000
MAX_FINISHED_TASKS = 1_000
MAX_GROUP_BYTES = 32 * 1024 * 1024
"""For each of the three groups."""
MAX_PAGE_EVENTS = 4096
"""The most events in one page, however small they are."""


class RetainedValues:
    """The last value of each live topic and the latest state of each task, by topic."""

    def __init__(self) -> None:
        self._live = _newest(MAX_LIVE_TOPICS)
        self._unfinished = _newest(MAX_TASKS)
        self._finished = _newest(MAX_FINISHED_TASKS)

    def keep_live(self, topic: str, frames: StampedFrames) -> None:
        """Remember `frames` as the value of the live `topic`."""
        self._live.keep(topic, frames)

    def keep_task(self, topic: str, frames: StampedFrames, *, is_finished: bool) -> list[str]:
        """Remember `frames` as the state of the task `topic`; return the topics forgotten for it.

        A state above `MAX_GROUP_BYTES` is forgotten at once and returned as well.
        """
        # A task is in one group at a time, so that a flood of finished tasks displaces no other.
        if is_finished:
            self._unfinished.forget(topic)
            return self._finished.keep(topic, frames)
        self._finished.forget(topic)
        return self._unfinished.keep(topic, frames)

    def get(self, topic: str) -> StampedFrames | None:
        """Return the remembered event of `topic`."""
        groups = (self._live, self._unfinished, self._finished)
        return next((frames for group in groups if (frames := group.get(topic))), None)

    def matching(self, prefix: str) -> Iterator[StampedFrames]:
        """Yield the events of topics that start with `prefix`, group by group.

        In each group the event with the oldest update comes first.
        """
        for group in (self._live, self._finished, self._unfinished):
            for topic, frames in group.items():
                if topic.startswith(prefix):
                    yield frames

    def page(
        self, prefix: str, after: bytes, max_bytes: int
    ) -> tuple[tuple[StampedFrames, ...], bool]:
        """Return events whose topics start with `prefix` and sort after `after`; and if any remain.

        In the order of their topics, up to `max_bytes` and `MAX_PAGE_EVENTS`, but at least one.
        """
        page: list[StampedFrames] = []
        page_bytes = 0
        # Sorted by topic, not by update: updates between two requests must hide no topic.
        for frames in sorted(frames for frames in self.matching(prefix) if frames[0] > after):
            page_bytes += _size(frames)
            if page and (page_bytes > max_bytes or len(page) == MAX_PAGE_EVENTS):
                return tuple(page), True
            page.append(frames)
        return tuple(page), False


def _newest(max_topics: int) -> Newest[str, StampedFrames]:
    return Newest(max_topics, MAX_GROUP_BYTES, _size)


def _size(frames: StampedFrames) -> int:
    return sum(map(len, frames))
