"""`Observers`: several observers of the connections of a worker, as one."""

from collections.abc import Sequence

from edge.core.hub.audience import Connection
from edge.core.hub.connections import MembershipObserver
from relay.wire.topics import Pattern


class Observers:
    """Tells each of `observers`, in their order; a `MembershipObserver`."""

    def __init__(self, observers: Sequence[MembershipObserver]) -> None:
        self._observers = observers

    def connected(self, connection: Connection) -> None:
        """An authenticated connection was added."""
        for each in self._observers:
            each.connected(connection)

    def disconnected(self, connection: Connection) -> None:
        """A connection was removed."""
        for each in self._observers:
            each.disconnected(connection)

    def subscribed(self, connection: Connection, pattern: Pattern) -> None:
        """A connection has a new subscription."""
        for each in self._observers:
            each.subscribed(connection, pattern)

    def unsubscribed(self, connection: Connection, pattern: Pattern) -> None:
        """A connection has lost a subscription."""
        for each in self._observers:
            each.unsubscribed(connection, pattern)
