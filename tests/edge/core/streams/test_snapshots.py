"""The present state that a client receives at once."""

import json

import pytest

from edge.core.identity.access import Identity
from edge.core.websocket.frames import frame_payload
from relay.wire.topics import parse_pattern
from tests.edge.core.streams.test_inbound import connect, new_edge
from tests.edge.recorders import RecordingConnection
from tests.edge.relay_words import frames
from tests.edge.world import EdgeCore

ALICE = Identity("alice", "user", 10**10)


@pytest.fixture
def edge() -> EdgeCore:
    return new_edge()


def values(edge: EdgeCore, *patterns: str, identity: Identity = ALICE) -> list[str]:
    """The topics of the last values that `patterns` bring."""
    parsed = tuple(parse_pattern(pattern) for pattern in patterns)
    return [topic for topic, _ in edge.snapshots.last_values(identity, parsed)]


def test_unfinished_tasks_are_shown_as_states_and_finished_ones_are_not(edge: EdgeCore) -> None:
    edge.arrive(
        frames("task:1", 21, {"status": "in_progress"}, username="alice"),
        frames("task:2", 22, {"status": "success"}, username="alice"),
        frames("task:3", 23, {"status": "in_progress"}, username="bob"),
    )
    shown = [json.loads(frame_payload(each)) for each in edge.snapshots.unfinished_tasks("alice")]
    assert [(each["topic"], each["retained"]) for each in shown] == [("task:1", True)]


def test_last_values_are_those_of_live_topics_that_were_selected(edge: EdgeCore) -> None:
    connect(edge, "live:*", role="admin")
    edge.arrive(frames("live:a", 0), frames("live:b", 0), frames("event:a", 11))
    assert values(edge, "live:a") == ["live:a"]
    assert values(edge, "*") == ["live:a", "live:b"]
    assert values(edge, "event:*") == [], "a stream has no last values"


def test_a_last_value_for_one_user_is_shown_to_nobody_else(edge: EdgeCore) -> None:
    connect(edge, "live:*", role="admin")
    edge.arrive(frames("live:a", 0, username="bob"))
    assert values(edge, "live:a") == []
    assert values(edge, "live:a", identity=Identity("bob", "user", 10**10)) == ["live:a"]


def test_a_position_names_the_streams_that_the_connection_follows(edge: EdgeCore) -> None:
    alice = connect(edge, "event:a", "live:x")
    edge.arrive(frames("event:b", 11))
    assert edge.snapshots.position_of(alice) == {"event": 11, "task": 20, "addressed": 0}


def test_an_administrator_who_selects_everything_does_not_follow_others_tasks(
    edge: EdgeCore,
) -> None:
    root = RecordingConnection("root", "admin")
    edge.manager.connect(root)
    everything = parse_pattern("*")
    edge.manager.subscribe(root, everything, (everything,))
    assert edge.snapshots.position_of(root) == {"event": 10}


def test_a_subscriber_to_presence_is_shown_its_present_state() -> None:
    edge = EdgeCore()
    pattern = parse_pattern("presence:lobby")
    identity = RecordingConnection().identity
    assert list(edge.snapshots.last_values(identity, (pattern,))) == []
    edge.snapshots.presence = lambda topic: f"state of {topic}".encode()
    shown = list(edge.snapshots.last_values(identity, (pattern,)))
    assert shown == [("presence:lobby", b"state of lobby")]
    assert list(edge.snapshots.last_values(identity, ())) == []
    assert list(edge.snapshots.last_values(identity, (parse_pattern("room:5"),))) == []


def test_last_values_cost_their_user_by_number_and_bytes(edge: EdgeCore) -> None:
    spent: list[tuple[str, int, int]] = []
    edge.snapshots.spend = lambda *cost: spent.append(cost)
    connect(edge, "live:*", "x:*", role="admin")
    edge.arrive(*[frames(f"live:{number}", 0) for number in range(30)], frames("x:1", 0))
    [(_, frame)] = edge.snapshots.last_values(ALICE, (parse_pattern("x:1"),))
    assert spent.pop() == ("alice", 1, len(frame))
    values(edge, "live:*")
    username, looked_at, size_bytes = spent.pop()
    assert (username, looked_at) == ("alice", 30 + 3)
    assert size_bytes > 30 * 20
    values(edge, "nothing:*")
    assert spent.pop() == ("alice", 3, 0)
    values(edge, "event:*")
    assert spent == []
