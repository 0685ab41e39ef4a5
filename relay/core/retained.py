"""The events that the relay remembers for late subscribers: live values and task states.

Each of the three groups (live values, unfinished tasks, finished tasks) is bounded in count and
bytes. When a group is full, its topic with the oldest update is forgotten.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from relay.shared.newest import Newest
from relay.wire.header import StampedFrames
from relay.wire.usernames import normal_username

MAX_LIVE_TOPICS = 10_000
MAX_TASKS = 10_000
MAX_FINISHED_TASKS = 1_000
MAX_GROUP_BYTES = 32 * 1024 * 1024
"""For each of the three groups."""
MAX_PAGE_EVENTS = 512
"""The most events in one page, however small they are."""
MANY_KEYS = 64


def task_key(topic: str, username: str) -> str:
    """Return the key of a task: a user's task is another one than another user's on the topic."""
    # No topic has a newline.
    return f"{topic}\n{normal_username(username)}"


def topic_of(key: str) -> str:
    """Return the topic in the key of a task, or the key itself, which is that of a live topic."""
    return key.partition("\n")[0]


class RetainedValues:
    """The last value of each live topic, by topic, and the latest state of each task, by its key.

    Values are in the order of these keys, in which `page` returns them.
    """

    def __init__(self) -> None:
        self._live = _newest(MAX_LIVE_TOPICS)
        self._unfinished = _newest(MAX_TASKS)
        self._finished = _newest(MAX_FINISHED_TASKS)
        self._keys: list[str] = []
        """All keys, sorted, so that a page costs no more than its own size."""

    def keep_live(self, topic: str, frames: StampedFrames) -> None:
        """Remember `frames` as the value of the live `topic`."""
        if topic not in self._live:
            insort(self._keys, topic)
        self._forget_keys(self._live.keep(topic, frames))

    def keep_task(self, key: str, frames: StampedFrames, *, is_finished: bool) -> list[str]:
        """Remember `frames` as the state of the task `key`; return the keys forgotten for it.

        A state above `MAX_GROUP_BYTES` is forgotten at once and returned as well.
        """
        if key not in self._unfinished and key not in self._finished:
            insort(self._keys, key)
        # A task is in one group at a time, so that a flood of finished tasks displaces no other.
        group, other = self._unfinished, self._finished
        if is_finished:
            group, other = other, group
        other.forget(key)
        forgotten = group.keep(key, frames)
        self._forget_keys(forgotten)
        return forgotten

    def get(self, key: str) -> StampedFrames | None:
        """Return the remembered event of a live topic, or of the task with that key."""
        groups = (self._live, self._unfinished, self._finished)
        return next((frames for group in groups if (frames := group.get(key))), None)

    def of_topic(self, topic: str) -> tuple[StampedFrames, ...]:
        """Return the value of a live topic, or the states of all users' tasks on the topic."""
        live = self._live.get(topic)
        if live is not None:
            return (live,)
        return tuple(frames for _, frames in self._following(f"{topic}\n", ""))

    def page(
        self, prefix: str, after: bytes, max_bytes: int
    ) -> tuple[tuple[StampedFrames, ...], bytes | None]:
        """Return events whose topics start with `prefix`, behind `after`; and the next `after`.

        In the order of their keys, up to `max_bytes` and `MAX_PAGE_EVENTS`, but at least one. The
        next `after` is None when none remain.
        """
        page: list[StampedFrames] = []
        page_bytes = 0
        # By key, not by update: updates between two requests must hide no topic.
        last = after.decode(errors="surrogateescape")
        for key, frames in self._following(prefix, last):
            page_bytes += _size(frames)
            if page and (page_bytes > max_bytes or len(page) == MAX_PAGE_EVENTS):
                return tuple(page), last.encode(errors="surrogateescape")
            page.append(frames)
            last = key
        return tuple(page), None

    def matching(self, prefix: str) -> Iterator[tuple[str, StampedFrames]]:
        """Yield the keys and events of topics that start with `prefix`, group by group.

        In each group the event with the oldest update, which goes first, comes first.
        """
        for group in (self._live, self._finished, self._unfinished):
            for key, frames in group.items():
                if key.startswith(prefix):
                    yield key, frames

    def _following(self, prefix: str, after: str) -> Iterator[tuple[str, StampedFrames]]:
        """Yield the keys that start with `prefix`, in their order behind `after`, and events."""
        keys = self._keys
        for index in range(max(bisect_left(keys, prefix), bisect_right(keys, after)), len(keys)):
            key = keys[index]
            if not key.startswith(prefix):
                return
            frames = self.get(key)
            assert frames is not None, "each key has a value"
            yield key, frames

    def _forget_keys(self, forgotten: list[str]) -> None:
        if len(forgotten) > MANY_KEYS:
            # One pass: to remove each by itself moves the others each time.
            gone = set(forgotten)
            self._keys = [key for key in self._keys if key not in gone]
            return
        for key in forgotten:
            del self._keys[bisect_left(self._keys, key)]


def _newest(max_topics: int) -> Newest[str, StampedFrames]:
    return Newest(max_topics, MAX_GROUP_BYTES, _size)


def _size(frames: StampedFrames) -> int:
    return sum(map(len, frames))
