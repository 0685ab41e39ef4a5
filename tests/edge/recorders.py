"""Recorders in place of the small protocols through which the edge's core reaches the world."""

import json
from typing import Any

from edge.core.hub.audience import Connection, FrameBatch
from edge.core.identity.access import Identity
from edge.core.protocol.requests import MethodCall, Publish
from edge.core.websocket.frames import frame_payload
from relay.wire.topics import Pattern, Topic


class RecordingConnection:
    """A client that remembers its frames, in order."""

    def __init__(
        self, username: str = "alice", role: str = "user", expires_at: int = 10**10
    ) -> None:
        self.identity = Identity(username, role, expires_at)
        self.record: list[tuple[str | None, bytes]] = []
        """All frames, with the live topic of each that may be replaced."""
        self.frames: list[bytes] = []
        self.live: list[tuple[str, bytes]] = []

    def send(self, frame: bytes) -> None:
        """Remember a frame that must arrive."""
        self.record.append((None, frame))
        self.frames.append(frame)

    def send_live(self, topic: str, frame: bytes) -> None:
        """Remember a frame that may be replaced."""
        self.record.append((topic, frame))
        self.live.append((topic, frame))

    def send_batch(self, batch: FrameBatch) -> None:
        """Remember each frame; together they must be the joined bytes."""
        assert batch.joined == b"".join(batch.frames)
        assert batch.count == len(batch.frames) > 0
        for frame, topic in batch:
            if topic is None:
                self.send(frame)
            else:
                self.send_live(topic, frame)

    def take(self) -> list[dict[str, Any]]:
        """Return and forget the messages that must arrive."""
        taken, self.frames = self.frames, []
        return [json.loads(frame_payload(frame)) for frame in taken]


class RecordingObserver:
    """Remembers the selectors that clients have together, and every change."""

    def __init__(self) -> None:
        self.selectors: set[Pattern] = set()
        self.changes: list[tuple[str, Pattern]] = []

    def wanted(self, selector: Pattern, username: str) -> None:
        """Must not be wanted already."""
        assert selector not in self.selectors, f"{selector} wanted twice"
        self.selectors.add(selector)
        self.changes.append(("wanted", selector))

    def unwanted(self, selector: Pattern) -> None:
        """Must be wanted."""
        assert selector in self.selectors, f"{selector} unwanted but not wanted"
        self.selectors.remove(selector)
        self.changes.append(("unwanted", selector))


class RecordingActions:
    """Remembers what clients publish and call; the application has `topics` and `methods`."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.methods: set[str] = set()
        self.published: list[Publish] = []
        self.called: list[MethodCall] = []

    def takes(self, topic: Topic) -> bool:
        """As the test says."""
        return topic.text in self.topics

    def answers(self, method: str) -> bool:
        """As the test says."""
        return method in self.methods

    def publish(self, connection: Connection, request: Publish) -> None:
        """Remember."""
        self.published.append(request)

    def call(self, connection: Connection, request: MethodCall) -> None:
        """Remember."""
        self.called.append(request)
