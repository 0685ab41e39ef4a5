"""The states of a task, as its user gets them (protocol section 7)."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import msgpack

from emitters.core.carry import carry
from emitters.core.failure import MAX_MESSAGE_BYTES
from emitters.core.readable import carry_text, type_name

RUNNING_MESSAGE = "Task is running."
SUCCESS_MESSAGE = "Task completed successfully."
CANCELLED_MESSAGE = "Task was cancelled."
ORPHANED_MESSAGE = "The manager stopped before the task finished."

Status = Literal["in_progress", "success", "error", "cancelled"]


@dataclass(frozen=True, slots=True)
class TaskState:
    """One state of one task; it changes by replacement."""

    id: str
    username: str
    status: Status = "in_progress"
    message: str = RUNNING_MESSAGE
    result: Any = None
    """A value that an event can carry; see `emitters.core.carry`."""
    progress: float | None = None
    """From 0 to 1."""

    @property
    def topic(self) -> str:
        """The topic of the task's updates."""
        return f"task:{self.id}"

    @property
    def is_finished(self) -> bool:
        """Whether this state is final."""
        return self.status != "in_progress"

    def data(self) -> dict[str, Any]:
        """Return the `data` of the update with this state."""
        data = {
            "status": self.status,
            "message": self.message,
            "result": self.result,
            "username": self.username,
        }
        return data if self.progress is None else data | {"progress": self.progress}

    def size_bytes(self) -> int:
        """Return the packed size of the update's data."""
        return len(msgpack.packb(self.data()))

    def advanced(self, fraction: float | None, message: str | None) -> Self:
        """Return the state with a new progress or message; None keeps the present one."""
        progress = None if fraction is None else clamped(fraction)
        return dataclasses.replace(
            self,
            progress=self.progress if progress is None else progress,
            message=self.message if message is None else carry_text(message, MAX_MESSAGE_BYTES),
        )

    def succeeded(self, result: object) -> Self:
        """Return the final state of a task that returned `result`."""
        progress = None if self.progress is None else 1.0
        return dataclasses.replace(
            self,
            status="success",
            message=SUCCESS_MESSAGE,
            result=carry(result),
            progress=progress,
        )

    def failed(self, message: object, result: object = None) -> Self:
        """Return the final state of a task that failed with `message`."""
        return dataclasses.replace(
            self,
            status="error",
            message=carry_text(message, MAX_MESSAGE_BYTES),
            result=carry(result),
        )

    def cancelled(self, result: object = None) -> Self:
        """Return the final state of a task that was cancelled, with what it has until then."""
        return dataclasses.replace(
            self, status="cancelled", message=CANCELLED_MESSAGE, result=carry(result)
        )


def clamped(fraction: Any) -> float | None:
    """Return `fraction`, a number of any type, within 0 to 1; None for NaN.

    Raises `TypeError` for anything else.
    """
    try:
        return None if math.isnan(fraction) else round(min(1.0, max(0.0, float(fraction))), 4)
    except OverflowError:
        return 1.0 if fraction > 0 else 0.0
    except (TypeError, ValueError):
        raise TypeError(f"fraction must be a number, not {type_name(fraction)}") from None
