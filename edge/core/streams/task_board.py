"""The latest state of each task, by the user who started it (protocol section 7, tasks)."""

from typing import Any, NamedTuple

import orjson

from edge.core.protocol import messages
from edge.core.websocket.frames import frame_payload
from relay.shared.newest import Newest
from relay.wire.envelope import Envelope, is_finished_task
from relay.wire.header import Stamp

MAX_FINISHED_PER_USER = 50
MAX_TASKS = 20_000
MAX_BYTES = 64 * 1024 * 1024
"""Of all users together; the task that was updated longest ago is forgotten first."""


class TaskState(NamedTuple):
    """A task's latest update."""

    stamp: Stamp
    finished: bool
    frame: bytes
    """As it is sent to its owner."""


class TaskBoard:
    """Remembers unfinished tasks, and each user's last finished ones."""

    def __init__(self) -> None:
        self._epoch = 0
        self._tasks: Newest[tuple[str, str], TaskState] = Newest(
            MAX_TASKS, MAX_BYTES, lambda state: len(state.frame)
        )
        """By user and topic."""
        self._topics: dict[str, dict[str, None]] = {}
        """Each user's topics in the order of their updates."""

    def begin_epoch(self, epoch: int) -> None:
        """From now on `epoch` is the relay's; states of any other are older."""
        self._epoch = epoch

    def update(
        self, topic: str, stamp: Stamp, envelope: Envelope, frame: bytes
    ) -> TaskState | None:
        """Take a task's new state, whose message is `frame`.

        Returns it, or None if it is known or outdated.
        """
        username = envelope.username
        assert username is not None, "a task event is always addressed"
        known = self._tasks.get((username, topic))
        if known is not None and self._age(stamp) <= self._age(known.stamp):
            return None
        state = TaskState(stamp, is_finished_task(envelope), frame)
        topics = self._topics.setdefault(username, {})
        topics.pop(topic, None)
        topics[topic] = None
        for given_up in self._tasks.keep((username, topic), state):
            self._forget_topic(*given_up)
        if state.finished:
            self._forget_old_ones_of(username)
        return state

    def tasks_of(self, username: str) -> list[dict[str, Any]]:
        """The user's tasks as `task_update` messages, newest update first."""
        states = reversed(self._states_of(username))
        return [orjson.loads(frame_payload(state.frame)) for state in states]

    def unfinished_of(self, username: str) -> list[bytes]:
        """The frames of the user's unfinished tasks, oldest update first, marked as retained."""
        return [
            messages.retained(state.frame)
            for state in self._states_of(username)
            if not state.finished
        ]

    def _states_of(self, username: str) -> list[TaskState]:
        found = (self._tasks.get((username, topic)) for topic in self._topics.get(username, ()))
        states = [state for state in found if state is not None]
        return sorted(states, key=lambda state: self._age(state.stamp))

    def _age(self, stamp: Stamp) -> tuple[bool, int, int]:
        """Comparable; what is newer is greater."""
        return stamp.epoch == self._epoch, stamp.epoch, stamp.offset

    def _forget_old_ones_of(self, username: str) -> None:
        finished = [
            topic
            for topic in self._topics[username]
            if (state := self._tasks.get((username, topic))) is not None and state.finished
        ]
        for topic in finished[:-MAX_FINISHED_PER_USER]:
            self._tasks.forget((username, topic))
            self._forget_topic(username, topic)

    def _forget_topic(self, username: str, topic: str) -> None:
        topics = self._topics[username]
        del topics[topic]
        if not topics:
            del self._topics[username]
