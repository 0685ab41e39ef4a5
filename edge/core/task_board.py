"""The latest state of each task, by the user who started it (protocol section 7, tasks)."""

from typing import Any, NamedTuple

from edge.core import messages
from relay.wire.envelope import Envelope
from relay.wire.header import Stamp

MAX_FINISHED_PER_USER = 50
FINISHED_STATUSES = frozenset({"success", "error"})


class TaskState(NamedTuple):
    """A task's latest update, as it is sent to its owner."""

    stamp: Stamp
    finished: bool
    fields: dict[str, Any]


class TaskBoard:
    """Remembers unfinished tasks, and each user's last finished ones."""

    def __init__(self) -> None:
        self._by_user: dict[str, dict[str, TaskState]] = {}

    def update(self, topic: str, stamp: Stamp, envelope: Envelope) -> TaskState | None:
        """Take a task's new state and return it, or None if a newer one is known."""
        assert envelope.username is not None, "a task event is always addressed"
        tasks = self._by_user.setdefault(envelope.username, {})
        known = tasks.pop(topic, None)
        if known is not None and _is_newer(known.stamp, stamp):
            tasks[topic] = known
            return None
        state = TaskState(
            stamp,
            envelope.data.get("status") in FINISHED_STATUSES,
            messages.event_fields(topic, stamp, envelope),
        )
        tasks[topic] = state
        if state.finished:
            _forget_old(tasks)
        return state

    def tasks_of(self, username: str) -> list[dict[str, Any]]:
        """The user's tasks as `task_update` messages, newest update first."""
        return [state.fields for state in reversed(self._by_user.get(username, {}).values())]

    def unfinished_of(self, username: str) -> list[dict[str, Any]]:
        """The user's unfinished tasks, oldest update first."""
        tasks = self._by_user.get(username, {}).values()
        return [state.fields for state in tasks if not state.finished]


def _is_newer(stamp: Stamp, than: Stamp) -> bool:
    return (stamp.epoch, stamp.offset) > (than.epoch, than.offset)


def _forget_old(tasks: dict[str, TaskState]) -> None:
    finished = [topic for topic, state in tasks.items() if state.finished]
    for topic in finished[:-MAX_FINISHED_PER_USER]:
        del tasks[topic]
