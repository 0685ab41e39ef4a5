"""The parts of an emitter that tasks, monitors and decorators use.

`emitters.Emitter` has all of them; tests pass recorders instead.
"""

from collections.abc import Callable
from typing import Any, Protocol


class Emits(Protocol):
    """Takes events."""

    def emit(
        self,
        topic: str,
        data: Any,
        *,
        type: str | None = None,
        username: str | None = None,
    ) -> str:
        """Take one event and return its id, as `Emitter.emit` does."""
        ...


class EmitsTasks(Emits, Protocol):
    """Takes events, and states of tasks that end with this process."""

    def emit(
        self,
        topic: str,
        data: Any,
        *,
        type: str | None = None,
        username: str | None = None,
        while_connected: bool = False,
    ) -> str:
        """Take one event and return its id, as `Emitter.emit` does."""
        ...


class EmitsWatched(Emits, Protocol):
    """Takes events and knows which live topics somebody watches."""

    def is_watched(self, topic: str) -> bool:
        """Whether somebody is subscribed to `topic` right now."""
        ...

    def on_watch_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` from another thread whenever `is_watched` may answer differently."""
        ...
