"""The events that a client has: offsets by stream, and the newest update of each task."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from edge.client.core.messages import Epoch, Event, NewEpoch

KNOWN_TASKS = 10_000
"""The relay remembers as many unfinished tasks."""
FINAL_STATUSES = ("success", "error", "completed", "failed", "cancelled")


def can_match(pattern: str, stream: str) -> bool:
    """Whether the pattern can match topics of the stream."""
    if pattern == stream or pattern.startswith(f"{stream}:"):
        return True
    return pattern.endswith("*") and f"{stream}:".startswith(pattern[:-1])


def is_epoch(value: object) -> TypeGuard[Epoch]:
    """Whether a message names an epoch with this value."""
    return isinstance(value, int | str) and not isinstance(value, bool)


class SeenPosition:
    """The offset in each stream at which the next connection resumes, and their epoch."""

    def __init__(self) -> None:
        self.epoch: Epoch | None = None
        self.offsets: dict[str, int] = {}

    def adopt(self, message: Mapping[str, Any], *, keeps_known: bool = False) -> NewEpoch | None:
        """Take over epoch and position of a reply or a `position` message.

        With `keeps_known` the offsets of known streams stay. Return the change of epoch, if another
        one was known before.
        """
        epoch = message.get("epoch")
        if not is_epoch(epoch):
            return None
        previous = self.epoch
        if epoch != previous:
            self.offsets = {}
        self.epoch = epoch
        for stream, offset in (message.get("position") or {}).items():
            if not (keeps_known and stream in self.offsets):
                self.advance(stream, offset)
        return None if previous is None or previous == epoch else NewEpoch(epoch, previous)

    def advance(self, stream: str, offset: int | None) -> None:
        """Advance the position, if an epoch is known: without one an offset means nothing."""
        if self.epoch is not None and offset is not None:
            self.offsets[stream] = max(offset, self.offsets.get(stream, 0))

    def is_beyond(self, stream: str, offset: int | None) -> bool:
        """Whether the client lacks the event; one without an offset is always new."""
        return offset is None or offset > self.offsets.get(stream, 0)

    def since(self, pattern: str) -> dict[str, int] | None:
        """Return the offsets at which a subscription resumes; None if no known stream matches."""
        found = {
            stream: offset for stream, offset in self.offsets.items() if can_match(pattern, stream)
        }
        return found or None


class KnownTasks:
    """The newest update of each task: an older retained state must not follow it."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, Event | None]] = {}
        """Topic to the offset, and to the event of a task that has not ended."""

    @property
    def unfinished(self) -> list[Event]:
        """The latest states of tasks that have not ended, marked `retained`."""
        events = [event for _, event in self._newest.values()]
        return [replace(event, retained=True) for event in events if event is not None]

    def has(self, event: Event) -> bool:
        """Whether this state or a newer one is known."""
        offset, _ = self._newest.get(event.topic, (-1, None))
        return offset >= (event.offset or 0)

    def add(self, event: Event) -> None:
        """Remember an update; the task that was updated the longest ago is forgotten first."""
        self._newest.pop(event.topic, None)
        self._newest[event.topic] = event.offset or 0, None if _has_ended(event) else event
        if len(self._newest) > KNOWN_TASKS:
            del self._newest[next(iter(self._newest))]

    def clear(self) -> None:
        """Forget all tasks: another epoch has begun."""
        self._newest.clear()


def _has_ended(event: Event) -> bool:
    return isinstance(event.data, dict) and event.data.get("status") in FINAL_STATUSES
