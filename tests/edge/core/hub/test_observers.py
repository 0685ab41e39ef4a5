"""`Observers` tell each observer, in order."""

from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.hub.observers import Observers
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.recorders import RecordingConnection, RecordingObserver


class Notes:
    """An observer that writes down what it is told."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    def connected(self, connection: Connection) -> None:
        self._notes.append(f"{self._name} connected")

    def disconnected(self, connection: Connection) -> None:
        self._notes.append(f"{self._name} disconnected")

    def subscribed(self, connection: Connection, pattern: Pattern) -> None:
        self._notes.append(f"{self._name} subscribed {pattern}")

    def unsubscribed(self, connection: Connection, pattern: Pattern) -> None:
        self._notes.append(f"{self._name} unsubscribed {pattern}")


def test_each_is_told_in_order() -> None:
    notes: list[str] = []
    observers = Observers([Notes("a", notes), Notes("b", notes)])
    manager = ConnectionManager(RecordingObserver(), members=observers)
    connection = RecordingConnection()
    pattern = parse_pattern("event:x")
    manager.connect(connection)
    manager.subscribe(connection, pattern, (pattern,))
    manager.subscribe(connection, pattern, (pattern,))
    manager.unsubscribe(connection, pattern)
    manager.subscribe(connection, pattern, (pattern,))
    manager.disconnect(connection)
    told = (
        "connected",
        "subscribed event:x",
        "unsubscribed event:x",
        "subscribed event:x",
        "unsubscribed event:x",
        "disconnected",
    )
    assert notes == [f"{name} {what}" for what in told for name in ("a", "b")]
