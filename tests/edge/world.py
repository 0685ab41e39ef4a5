"""An edge with its relay and clients, where everything happens when the test says so.

The real core, with a journal in memory in place of the relay. The steps of a
catch-up and the relay's replies, which take time in a running edge, are calls here.
"""

import json
from collections.abc import Sequence
from typing import Any

from edge.core.catch_up.connection_catch_up import CatchUpState, ConnectionCatchUp, JournalRange
from edge.core.catch_up.subscriptions import Subscriptions
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import KindAccess
from edge.core.protocol.requests import PersonalPosition, Subscribe
from edge.core.stats import EdgeStats
from edge.core.streams.inbound import Inbound
from edge.core.streams.last_values import LastValues
from edge.core.streams.record import Record
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import Streams
from edge.core.streams.task_board import TaskBoard
from edge.core.websocket.frames import frame_payload
from relay.wire.control import Heartbeat
from relay.wire.header import Stamp, pack_stamp
from relay.wire.kinds import Kinds
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.journal import Journal
from tests.edge.recorders import RecordingConnection, RecordingObserver

EPOCH = 7
TOPICS = ["event:a", "event:b", "event:bb", "task:1"]
PATTERNS = ["event:a", "event:b*", "event:bb", "event:*", "*"]
USERS = ["alice", "bob"]


class EdgeCore:
    """The core of one worker, with a recorder in place of its subscriptions at the relay."""

    def __init__(
        self, served_prefixes: tuple[str, ...] = ("",), history_bytes: int = 2**30
    ) -> None:
        self.stats = EdgeStats()
        self.observer = RecordingObserver()
        self.manager = ConnectionManager(self.observer)
        self.streams = Streams(
            served_prefixes, history_bytes, self.stats.dropped, self.stats.unreadable
        )
        self.tasks, self.live = TaskBoard(), LastValues()
        self.snapshots = Snapshots(self.manager, self.streams, self.tasks, self.live)
        self.access = KindAccess(Kinds())
        self.warnings: list[str] = []
        self.inbound = Inbound(
            self.streams, self.manager, self.tasks, self.live, self.stats, self._warn
        )

    def arrive(self, *events: Sequence[bytes]) -> None:
        """A batch of events is read from the relay."""
        for frames in events:
            self.inbound.take_event(list(frames))
        self.manager.flush()

    def _warn(self, cause: str, message: str, *args: object) -> None:
        self.warnings.append(f"{cause}: {message % args}")


class World:
    """A relay's journals and an edge that follows them."""

    def __init__(self, history_bytes: int = 2**30, before: int = 0) -> None:
        self.journals = {"event": Journal(), "task": Journal()}
        for kind, topic, user in (("event", "event:a", None), ("task", "task:1", "alice")):
            for _ in range(before):
                self.journals[kind].append(topic, user)
        self.history_bytes = history_bytes
        self.epoch = EPOCH
        self.edge = self.new_edge()

    def new_edge(self) -> EdgeCore:
        """An edge that has just begun, and remembers nothing."""
        self.edge = EdgeCore(history_bytes=self.history_bytes)
        self.synchronize()
        return self.edge

    def synchronize(self) -> None:
        self.edge.inbound.synchronize(self.epoch, self.heartbeat())

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(
            tips={kind: journal.tip for kind, journal in self.journals.items()},
            low={kind: journal.low for kind, journal in self.journals.items()},
            started_at=1,
            journaling=True,
        )

    def emit(self, topic: str, username: str | None = None) -> None:
        """An event is committed and arrives."""
        kind = topic.partition(":")[0]
        added = self.journals[kind].append(topic, username)
        stamp = pack_stamp(Stamp(self.epoch, added.offset, 0))
        self.edge.arrive([topic.encode(), stamp, added.payload])

    def retire(self, low: int) -> None:
        self.journals["event"].retire(low)
        self.edge.inbound.take_heartbeat(self.heartbeat())

    def fetch(self, missing: JournalRange) -> Sequence[Record]:
        """The relay replies, and `JournalReplay.fetch` takes the reply."""
        stream = self.edge.streams.get(missing.stream)
        assert stream is not None
        journal = self.journals[missing.stream]
        records = journal.replay(missing.after, missing.limit)
        stream.history.raise_journal_first(journal.low)
        stream.history.install(records)
        return records


class Viewer:
    """A user who keeps a position, as a browser does, and resumes from it."""

    def __init__(self, world: World, username: str, patterns: Sequence[str] = ()) -> None:
        self.world = world
        self.username = username
        self.patterns = [parse_pattern(text) for text in patterns]
        self.seen: dict[str, list[int]] = {"event": [], "task": []}
        self.gaps: list[tuple[int, int]] = []
        self.recovered: list[bool] = []
        self.replies: list[dict[str, Any]] = []
        self.positions: dict[str, int] = {}
        self.connection: RecordingConnection | None = None
        self.pending: list[ConnectionCatchUp] = []
        self.missing: JournalRange | None = None

    def connect(self, role: str = "user") -> None:
        self.connection = RecordingConnection(self.username, role)
        self.subscriptions = Subscriptions(
            self.connection, self.world.edge, self.pending.append, 100
        )
        task = self.positions.get("task")
        self.subscriptions.open(None if task is None else PersonalPosition(EPOCH, {"task": task}))

    def subscribe_all(self) -> None:
        since = {"event": self.positions["event"]} if "event" in self.positions else None
        for pattern in self.patterns:
            self.subscriptions.take(Subscribe(pattern, "id", since=since, epoch=EPOCH))
        self.subscriptions.end_gathering()

    def disconnect(self) -> None:
        if self.connection is not None:
            self.read()
            self.world.edge.manager.disconnect(self.connection)
            self.connection, self.pending, self.missing = None, [], None

    def step(self) -> bool:
        """Step the catch-up; return whether there was one that need not wait for the streams."""
        if not self.pending:
            return False
        records = () if self.missing is None else self.world.fetch(self.missing)
        catch_up = self.pending[0]
        result = catch_up.step(records)
        self.missing = result.missing
        if result.state.is_final:
            self.pending.remove(catch_up)
        return result.state is not CatchUpState.AWAITING_STREAMS

    def settle(self) -> None:
        for _ in range(10_000):
            if not self.step():
                self.read()
                return
        raise AssertionError("a catch-up does not end")

    def read(self) -> None:
        """Take down the messages, moving the position only as a careful client may."""
        assert self.connection is not None
        frames, self.connection.frames = self.connection.frames, []
        for frame in frames:
            message = json.loads(frame_payload(frame))
            if message.get("retained"):
                continue
            if "offset" in message:
                kind = message["topic"].partition(":")[0]
                assert message["data"]["n"] == message["offset"]
                self.seen[kind].append(message["offset"])
                self.positions[kind] = message["offset"]
            elif message.get("type") == "gap":
                self.gaps.append((message["from"], message["to"]))
                self.positions[message["stream"]] = message["to"]
            elif message.get("type") == "position":
                self.positions |= message["position"]
            else:
                self.replies.append(message)
                assert message["status"] == "success", message
                self.positions |= message.get("position", {})
                if "recovered" in message:
                    self.recovered.append(message["recovered"])


def permitted(
    journal: Journal, username: str, patterns: Sequence[Pattern], after: int = 0
) -> list[int]:
    """The offsets that a user with these subscriptions may see."""
    return [
        each.offset
        for each in journal.records[after:]
        if user_of(each) in (None, username)
        and any(pattern.matches(each.topic.text) for pattern in patterns)
    ]


def user_of(record: Record) -> str | None:
    """The user to whom it is addressed, decoded independently of the edge."""
    fresh = Record(record.topic, record.offset, 0, record.payload)
    return fresh.open().username


def viewer_patterns(viewer: Viewer) -> Sequence[Pattern]:
    assert viewer.connection is not None
    return list(viewer.world.edge.manager.subscriptions(viewer.connection))
