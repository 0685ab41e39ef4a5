"""The parts of an emitter that tasks, monitors and decorators use.

`emitters.Emitter` has all of them; tests pass recorders instead.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from relay.wire.envelope import Envelope


class Emits(Protocol):
    """Takes events."""

    def emit(
        self,
        topic: str,
        data: Mapping[str, Any],
        *,
        type: str | None = None,
        username: str | None = None,
    ) -> str:
        """Take one event and return its id, as `Emitter.emit` does."""
        ...


class EmitsTasks(Emits, Protocol):
    """Takes events and knows the task states that the relay remembers."""

    def emit(
        self,
        topic: str,
        data: Mapping[str, Any],
        *,
        type: str | None = None,
        username: str | None = None,
        while_connected: bool = False,
    ) -> str:
        """Take one event and return its id, as `Emitter.emit` does."""
        ...

    @property
    def name(self) -> str:
        """The `source` of its events."""
        ...

    def wait_connected(self, timeout: float) -> bool:
        """Wait until the relay takes its events, as `Emitter.wait_connected` does."""
        ...

    def wait_acknowledged(self, timeout: float) -> bool:
        """Wait until the relay has its events, as `Emitter.wait_acknowledged` does."""
        ...

    def retained(self, prefix: str, timeout: float) -> list[tuple[str, Envelope]]:
        """Return the latest states, as `Emitter.retained` does."""
        ...


class EmitsWatched(Emits, Protocol):
    """Takes events and knows which live topics somebody watches."""

    def is_watched(self, topic: str) -> bool:
        """Whether somebody is subscribed to `topic` right now."""
        ...

    def on_watch_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` from another thread whenever `is_watched` may answer differently."""
        ...
