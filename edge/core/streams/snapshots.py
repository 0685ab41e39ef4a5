"""`Snapshots`: the present state that a new subscriber receives at once (protocol section 7)."""

from collections.abc import Callable, Iterable

from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import Identity, may_receive
from edge.core.streams.last_values import LastValues
from edge.core.streams.streams import Streams
from edge.core.streams.task_board import TaskBoard
from relay.wire.topics import PERSONAL_KINDS, Pattern, presence_subject

NOT_MATCHING = 10
"""Values that do not match cost as much as one that does."""


def _free(username: str, looked_at: int, size_bytes: int) -> None:
    """Let it cost nothing."""


class Snapshots:
    """Answers for one connection: the user's tasks, the last live values, the position."""

    def __init__(
        self, manager: ConnectionManager, streams: Streams, tasks: TaskBoard, live: LastValues
    ) -> None:
        self._manager = manager
        self._streams = streams
        self._tasks = tasks
        self._live = live
        self.spend: Callable[[str, int, int], None] = _free
        """Takes the cost of last values: the user, how many were looked at, and their bytes."""
        self.presence: Callable[[str], bytes] | None = None
        """Returns the message with the present state of a topic whose presence is known."""

    def unfinished_tasks(self, username: str) -> list[bytes]:
        """Return frames with the latest state of each unfinished task of `username`."""
        return self._tasks.unfinished_of(username)

    def task_state(self, username: str, pattern: Pattern) -> bytes | None:
        """Return a frame with the latest state of the task with the topic `pattern`.

        None if that is not a topic of one task, or none of `username`.
        """
        return self._tasks.state_of(username, pattern.prefix) if pattern.exact else None

    def last_values(
        self, identity: Identity, selectors: tuple[Pattern, ...]
    ) -> Iterable[tuple[str, bytes]]:
        """Return topic and frame of each matching live value that `identity` may receive."""
        if self.presence is not None and selectors:
            subject = presence_subject(selectors[0])
            if subject is not None:
                return [(selectors[0].prefix, self.presence(str(subject)))]
        live = tuple(each for each in selectors if not self._streams.contain(each))
        if not live:
            return ()
        values = [
            (topic, value.frame)
            for topic, value in self._live.matching(live)
            if may_receive(identity, value.addressed_to)
        ]
        is_search = not all(each.exact for each in live)
        looked_at = len(values) + is_search * len(self._live) // NOT_MATCHING
        self.spend(identity.username, looked_at, sum(len(frame) for _, frame in values))
        return values

    def position_of(self, connection: Connection) -> dict[str, int]:
        """Return the position of `connection`: each stream that it follows, to its head."""
        position = self._streams.offsets_concerning(self._manager.selectors(connection))
        # An administrator's `*` matches personal topics, but those reach their own user only.
        for kind in PERSONAL_KINDS:
            position.pop(kind, None)
        return position | self.personal_position_of(connection)

    def personal_position_of(self, connection: Connection) -> dict[str, int]:
        """Return the position in the streams that `connection` follows without a subscription."""
        return {
            kind: stream.history.head
            for kind in sorted(PERSONAL_KINDS)
            if (stream := self._streams.get(kind)) is not None
            and self._manager.follows(connection, kind)
        }
