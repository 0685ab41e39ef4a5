"""The unfinished tasks whose emitters are gone: nobody else would ever end them.

The relay knows which emitter published the newest state of each task. When that emitter has been
away for a grace period, its tasks are *orphaned*, and the relay ends them with an update of its own
(protocol section 5). An emitter that returns in time keeps its tasks, and one that returns later
publishes a newer state, which wins as any other does.
"""

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from relay.wire.envelope import UNFINISHED_STATUSES, Envelope

ORPHANED_MESSAGE = "The process that ran this task is gone."
FAILED_AFTER = {"queued": "failed", "running": "failed"}
"""The status of an orphaned task after its last one, in the words of its emitter; else `error`."""
MAX_EMITTERS_AT_ONCE = 512
MAX_TASKS_AT_ONCE = 256
"""Bounds of one look, which keeps the relay's loop from its sockets. The others have their turn at
the next look."""


class TaskOwner(NamedTuple):
    """The emitter that published the newest state of a task."""

    emitter_id: bytes
    epoch: int


Presence = Callable[[TaskOwner], int | None]
"""Returns None if the emitter is not connected. Otherwise, the last sequence number of its epoch
that an earlier process has used, whose spool it goes on with; 0 without one."""


class TaskOwners:
    """The owner of each unfinished task, by its key. Times are monotonic seconds.

    It holds one entry for each unfinished task that the relay retains, and is bounded with them.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._owners: dict[str, TaskOwner] = {}
        self._tasks: dict[TaskOwner, dict[str, int]] = {}
        """Owner to its tasks, each with the sequence number of its newest state."""
        self._away_since: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def keep(self, key: str, owner: TaskOwner, sequence: int) -> None:
        """Note that `owner` has published a new state of the unfinished task."""
        self.forget(key)
        self._owners[key] = owner
        self._tasks.setdefault(owner, {})[key] = sequence

    def forget(self, key: str) -> None:
        """Drop the task: it is finished, no longer retained, or nobody's."""
        self._away_since.pop(key, None)
        owner = self._owners.pop(key, None)
        if owner is not None:
            tasks = self._tasks[owner]
            del tasks[key]
            if not tasks:
                del self._tasks[owner]

    def forget_absences(self) -> None:
        """Have every emitter that is away count as away from the next look on."""
        self._away_since.clear()

    def orphaned(self, now: float, presence: Presence) -> list[str]:
        """Return tasks whose emitters have been away for the grace period.

        Looks at a bounded number of emitters, those first that were looked at longest ago. A task
        is returned again and again until it is forgotten.
        """
        orphans: list[str] = []
        for owner in list(islice(self._tasks, MAX_EMITTERS_AT_ONCE)):
            tasks = self._tasks.pop(owner)
            self._tasks[owner] = tasks
            inherited = presence(owner)
            for key, sequence in tasks.items():
                if inherited is not None and sequence > inherited:
                    self._away_since.pop(key, None)
                elif now - self._away_since.setdefault(key, now) >= self._grace_s:
                    orphans.append(key)
            if len(orphans) >= MAX_TASKS_AT_ONCE:
                break
        return orphans[:MAX_TASKS_AT_ONCE]


def is_orphan(state: Envelope) -> bool:
    """Return whether the task with the newest state `state` ends with its emitter."""
    return state.while_connected and state.data.get("status") in UNFINISHED_STATUSES


def orphaned_state(state: Envelope, now_ms: int, new_id: str) -> Envelope:
    """Return the final state of an orphaned task, whose newest state is `state`."""
    data = {
        "status": FAILED_AFTER.get(state.data["status"], "error"),
        "message": ORPHANED_MESSAGE,
        "result": None,
        "username": state.username,
    }
    if "progress" in state.data:
        data["progress"] = state.data["progress"]
    return Envelope(state.type, data, state.username, state.source, now_ms, new_id)
