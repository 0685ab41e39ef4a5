"""The bounds and counters of `ConnectionManager`, to the byte and to the frame."""

import pytest

from edge.core.hub import connections
from edge.core.hub.connections import ConnectionManager
from relay.wire.topics import parse_pattern
from tests.edge.recorders import RecordingConnection, RecordingObserver


@pytest.fixture
def manager() -> ConnectionManager:
    return ConnectionManager(RecordingObserver())


def subscriber(manager: ConnectionManager, *topics: str) -> RecordingConnection:
    connection = RecordingConnection()
    manager.connect(connection)
    for topic in topics:
        manager.subscribe(connection, parse_pattern(topic), (parse_pattern(topic),))
    return connection


def test_frames_wait_up_to_the_bytes_that_may_be_gathered(
    manager: ConnectionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_GATHERED_BYTES", 10)
    connection = subscriber(manager, "event:a")
    for _ in range(2):
        waiting = []
        for frame in (b"1234", b"567890", b"1"):
            manager.broadcast_to_topic("event:a", frame)
            waiting.append(manager.waiting)
        assert waiting == [1, 2, 0]
    assert connection.frames == [b"1234", b"567890", b"1"] * 2


def test_frames_wait_up_to_the_count_that_may_be_gathered(
    manager: ConnectionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame counts for each audience: each has a list of its own."""
    monkeypatch.setattr(connections, "MAX_GATHERED_FRAMES", 4)
    for topic in ("live:1", "live:2"):
        subscriber(manager, "event:a", topic)
    for _ in range(2):
        waiting = []
        for _ in range(3):
            manager.broadcast_to_topic("event:a", b"")
            waiting.append(manager.waiting)
        assert waiting == [2, 4, 0]


def test_the_throttle_learns_how_many_frames_one_client_was_sent(
    manager: ConnectionManager,
) -> None:
    assert manager.flush() == 0
    for topics in (["event:a"], ["event:a", "event:b"]):
        subscriber(manager, *topics)
    for topic in ("event:a", "event:b", "event:a"):
        manager.broadcast_to_topic(topic, b"frame")
    assert [manager.flush(), manager.flush()] == [3, 0]


def test_messages_that_are_no_events_are_counted(manager: ConnectionManager) -> None:
    connection = subscriber(manager, "event:a", "live:a")
    manager.receive_personal(connection)
    manager.forward_to_client(connection, b"an event")
    manager.broadcast_to_topic("event:a", b"an event")
    manager.send_to_user("alice", b"an event")
    assert manager.messages_sent == 0
    manager.send_to_client(connection, b"a reply")
    manager.show_to_client(connection, "live:a", b"a last value")
    assert manager.messages_sent == 2


def test_selectors_that_the_last_client_has_given_up_are_counted(
    manager: ConnectionManager,
) -> None:
    first, second = subscriber(manager, "live:a", "live:b"), subscriber(manager, "live:a")
    assert manager.given_up_selectors == 0
    manager.disconnect(first)
    assert manager.given_up_selectors == 1, "live:b"
    manager.unsubscribe(second, parse_pattern("live:a"))
    assert manager.given_up_selectors == 2
