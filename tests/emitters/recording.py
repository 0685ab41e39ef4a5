"""An emitter that remembers what it was given instead of sending it."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from emitters.errors import OutboxFull
from relay.wire.envelope import check_value
from relay.wire.topics import parse_topic


@dataclass(frozen=True)
class Emitted:
    """One call of `emit`."""

    topic: str
    data: dict[str, Any]
    type: str | None
    username: str | None
    while_connected: bool = False


@dataclass
class RecordingEmitter:
    """Checks values as an `Emitter` does, and refuses them while `full`."""

    name: str = "manager-1"
    full: bool = False

    def __post_init__(self) -> None:
        self.emitted: list[Emitted] = []
        self.refused = 0
        self.watched: set[str] = set()
        self.questions = 0
        """How often `is_watched` was asked."""
        self._callbacks: list[Callable[[], None]] = []
        self._changed = threading.Condition()

    def emit(
        self,
        topic: str,
        data: Mapping[str, Any],
        *,
        type: str | None = None,
        username: str | None = None,
        while_connected: bool = False,
    ) -> str:
        """Remember the event, or raise as `Emitter.emit` does."""
        parse_topic(topic)
        check_value(dict(data), "data")
        with self._changed:
            if self.full:
                self.refused += 1
                self._changed.notify_all()
                raise OutboxFull("full")
            self.emitted.append(Emitted(topic, dict(data), type, username, while_connected))
            self._changed.notify_all()
            return str(len(self.emitted))

    def is_watched(self, topic: str) -> bool:
        """Whether `topic` was given to `watch`."""
        self.questions += 1
        return topic in self.watched

    def on_watch_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` from `watch` and `unwatch`."""
        self._callbacks.append(callback)

    def watch(self, *topics: str) -> None:
        """Somebody begins to watch `topics`."""
        self.watched |= set(topics)
        self._tell()

    def unwatch(self, *topics: str) -> None:
        """Nobody watches `topics` any more."""
        self.watched -= set(topics)
        self._tell()

    def on(self, topic: str) -> list[Emitted]:
        """The events emitted on `topic`."""
        with self._changed:
            return [each for each in self.emitted if each.topic == topic]

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 10.0) -> None:
        """Wait until `condition` holds; it is looked at after every `emit`."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), (
                f"{what}: not within {timeout} s; got {self.emitted[-5:]}"
            )

    def _tell(self) -> None:
        for callback in self._callbacks:
            callback()
