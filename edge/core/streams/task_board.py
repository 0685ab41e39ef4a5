"""`TaskBoard`: the latest state of each task, by the user who started it (section 7, tasks)."""

from typing import NamedTuple

from edge.core.protocol import messages
from edge.core.websocket.frames import frame_payload
from relay.shared.newest import Newest
from relay.wire.envelope import Envelope, is_finished_task
from relay.wire.header import Stamp

MAX_FINISHED_PER_USER = 50
MAX_TASKS = 20_000
MAX_BYTES = 64 * 1024 * 1024
"""For all users together; beyond either limit the task updated longest ago is forgotten."""


class TaskUpdate(NamedTuple):
    """A task's latest update."""

    stamp: Stamp
    finished: bool
    frame: bytes
    """As its owner receives it. The stream's history holds the same object."""


class TaskBoard:
    """Remembers unfinished tasks, and the last finished ones of each user."""

    def __init__(self) -> None:
        self._epoch = 0
        self._tasks: Newest[tuple[str, str], TaskUpdate] = Newest(
            MAX_TASKS, MAX_BYTES, lambda update: len(update.frame)
        )
        """By user and topic."""
        self._topics: dict[str, dict[str, None]] = {}
        """The topics of each user, in the order of their updates."""

    def begin_epoch(self, epoch: int) -> None:
        """Take the relay's epoch; updates of any other epoch count as older from now on."""
        self._epoch = epoch

    def update(
        self, topic: str, stamp: Stamp, envelope: Envelope, frame: bytes
    ) -> TaskUpdate | None:
        """Take an update, whose message is `frame`.

        Returns the task's new state, or None if the known one is as new: the relay's retained
        states repeat updates that this edge has forwarded already.
        """
        username = envelope.username
        assert username is not None, "a task event is always addressed"
        known = self._tasks.get((username, topic))
        if known is not None and self._age(stamp) <= self._age(known.stamp):
            return None
        update = TaskUpdate(stamp, is_finished_task(envelope), frame)
        topics = self._topics.setdefault(username, {})
        topics.pop(topic, None)
        topics[topic] = None
        for given_up in self._tasks.keep((username, topic), update):
            self._forget_topic(*given_up)
        if update.finished:
            self._forget_old_ones_of(username)
        return update

    def tasks_of(self, username: str) -> list[bytes]:
        """Return the user's tasks as `task_update` messages in JSON, newest update first."""
        return [frame_payload(update.frame) for update in reversed(self._updates_of(username))]

    def unfinished_of(self, username: str) -> list[bytes]:
        """Return frames of the user's unfinished tasks, oldest update first, marked as retained."""
        return [
            messages.retained(update.frame)
            for update in self._updates_of(username)
            if not update.finished
        ]

    def message_of(self, username: str, topic: str) -> bytes | None:
        """Return the user's task as a `task_update` message in JSON, or None."""
        update = self._tasks.get((username, topic))
        return None if update is None else frame_payload(update.frame)

    def state_of(self, username: str, topic: str) -> bytes | None:
        """Return a frame of the latest state of the user's task, marked as retained, or None."""
        update = self._tasks.get((username, topic))
        return None if update is None else messages.retained(update.frame)

    def _updates_of(self, username: str) -> list[TaskUpdate]:
        found = (self._tasks.get((username, topic)) for topic in self._topics.get(username, ()))
        updates = [update for update in found if update is not None]
        return sorted(updates, key=lambda update: self._age(update.stamp))

    def _age(self, stamp: Stamp) -> tuple[bool, int, int]:
        """Return a sort key that is greater for a newer update."""
        # The current epoch wins by name and not by size: the relay's clock makes epochs, and a
        # clock that was set back makes a smaller one.
        return stamp.epoch == self._epoch, stamp.epoch, stamp.offset

    def _forget_old_ones_of(self, username: str) -> None:
        finished = [
            topic
            for topic in self._topics.get(username, ())
            if (update := self._tasks.get((username, topic))) is not None and update.finished
        ]
        for topic in finished[:-MAX_FINISHED_PER_USER]:
            self._tasks.forget((username, topic))
            self._forget_topic(username, topic)

    def _forget_topic(self, username: str, topic: str) -> None:
        topics = self._topics[username]
        del topics[topic]
        if not topics:
            del self._topics[username]
