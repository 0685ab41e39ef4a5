"""The latest state of each task, by the user who started it (protocol section 7, tasks)."""

from typing import Any, NamedTuple

from edge.core import messages
from relay.wire.envelope import Envelope
from relay.wire.header import Stamp

MAX_FINISHED_PER_USER = 50
MAX_TASKS = 20_000
"""Of all users together; the one updated longest ago is forgotten first."""

FINISHED_STATUSES = ("success", "error")
"""A tuple, because a status may be anything, also what cannot be hashed."""


class TaskState(NamedTuple):
    """A task's latest update, as it is sent to its owner."""

    stamp: Stamp
    finished: bool
    fields: dict[str, Any]


class TaskBoard:
    """Remembers unfinished tasks, and each user's last finished ones."""

    def __init__(self) -> None:
        self._by_user: dict[str, dict[str, TaskState]] = {}
        self._by_age: dict[tuple[str, str], None] = {}
        """User and topic of every task, the one updated longest ago first."""

    def update(self, topic: str, stamp: Stamp, envelope: Envelope) -> TaskState | None:
        """Take a task's new state and return it, or None if it is known or outdated."""
        username = envelope.username
        assert username is not None, "a task event is always addressed"
        known = self._by_user.get(username, {}).get(topic)
        if known is not None and not _is_newer(stamp, known.stamp):
            return None
        state = TaskState(
            stamp,
            envelope.data.get("status") in FINISHED_STATUSES,
            messages.event_fields(topic, stamp, envelope),
        )
        self._forget(username, topic)
        self._by_user.setdefault(username, {})[topic] = state
        self._by_age[username, topic] = None
        if state.finished:
            self._forget_old_ones_of(username)
        if len(self._by_age) > MAX_TASKS:
            self._forget(*next(iter(self._by_age)))
        return state

    def tasks_of(self, username: str) -> list[dict[str, Any]]:
        """The user's tasks as `task_update` messages, newest update first."""
        states = sorted(self._by_user.get(username, {}).values(), key=_age, reverse=True)
        return [state.fields for state in states]

    def unfinished_of(self, username: str) -> list[dict[str, Any]]:
        """The user's unfinished tasks, oldest update first."""
        states = sorted(self._by_user.get(username, {}).values(), key=_age)
        return [state.fields for state in states if not state.finished]

    def _forget_old_ones_of(self, username: str) -> None:
        tasks = self._by_user[username]
        finished = [topic for topic, state in tasks.items() if state.finished]
        for topic in finished[:-MAX_FINISHED_PER_USER]:
            self._forget(username, topic)

    def _forget(self, username: str, topic: str) -> None:
        tasks = self._by_user.get(username, {})
        if tasks.pop(topic, None) is None:
            return
        del self._by_age[username, topic]
        if not tasks:
            del self._by_user[username]


def _age(state: TaskState) -> tuple[int, int]:
    return state.stamp.epoch, state.stamp.offset


def _is_newer(stamp: Stamp, than: Stamp) -> bool:
    return (stamp.epoch, stamp.offset) > (than.epoch, than.offset)
