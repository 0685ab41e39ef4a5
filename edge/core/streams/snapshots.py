"""`Snapshots`: the present state that a client is shown at once (protocol section 7)."""

from collections.abc import Iterable

from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.hub.overlap import concerns
from edge.core.identity.access import Identity, may_receive
from edge.core.streams.live_values import LiveValues
from edge.core.streams.streams import Streams
from edge.core.streams.task_board import TaskBoard
from relay.wire.topics import TASK, Pattern


class Snapshots:
    """Answers for one connection: its user's tasks, its live values, its position."""

    def __init__(
        self, manager: ConnectionManager, streams: Streams, tasks: TaskBoard, live: LiveValues
    ) -> None:
        self._manager = manager
        self._streams = streams
        self._tasks = tasks
        self._live = live

    def unfinished_tasks(self, username: str) -> list[bytes]:
        """Return frames with the latest state of each unfinished task of `username`."""
        return self._tasks.unfinished_of(username)

    def last_values(
        self, identity: Identity, patterns: tuple[Pattern, ...]
    ) -> Iterable[tuple[str, bytes]]:
        """Return topic and frame of each live value that `patterns` select for `identity`."""
        live = tuple(each for each in patterns if not self._streams.contain(each))
        if not live:
            return ()
        return [
            (topic, value.frame)
            for topic, value in self._live.matching(live)
            if may_receive(identity, value.addressed_to)
        ]

    def position_of(self, connection: Connection) -> dict[str, int]:
        """Return the position of `connection`: each stream that it follows, to its head."""
        position = self._streams.concerning(self._manager.selectors(connection))
        position.pop(TASK, None)
        if (tasks := self._streams.get(TASK)) is not None and self.follows(connection, TASK):
            position[TASK] = tasks.history.head
        return position

    def follows(self, connection: Connection, kind: str) -> bool:
        """Whether `connection` receives the events of the stream `kind` live."""
        if kind == TASK:
            return connection in self._manager.task_receivers(connection.identity.username)
        return any(concerns(selector, kind) for selector in self._manager.selectors(connection))
