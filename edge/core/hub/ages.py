"""`ConnectionAges`: since when each connection of a worker has been authenticated."""

from collections.abc import Callable

from edge.core.hub.audience import Connection
from relay.wire.topics import Pattern


class ConnectionAges:
    """Tells older connections from newer ones; a `MembershipObserver`."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """`now_ms` returns the time of the clock by which ages are compared."""
        self._now_ms = now_ms
        self._since: dict[Connection, int] = {}

    def existed(self, connection: Connection, at_ms: int) -> bool:
        """Whether `connection` was there at `at_ms`."""
        return self._since.get(connection, at_ms) <= at_ms

    def connected(self, connection: Connection) -> None:
        """Note the time."""
        self._since[connection] = self._now_ms()

    def disconnected(self, connection: Connection) -> None:
        """Forget the connection."""
        self._since.pop(connection, None)

    def subscribed(self, connection: Connection, pattern: Pattern) -> None:
        """Do nothing."""

    def unsubscribed(self, connection: Connection, pattern: Pattern) -> None:
        """Do nothing."""
