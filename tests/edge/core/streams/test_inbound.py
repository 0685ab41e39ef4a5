"""The way of an event from the relay's frames to the clients' frames."""

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.protocol import messages
from edge.core.streams.inbound import ALL_TASKS, Repair
from edge.core.websocket.frames import frame_payload
from relay.wire.header import Stamp, pack_stamp
from relay.wire.topics import parse_pattern
from tests.edge.recorders import RecordingConnection
from tests.edge.relay_words import EPOCH, frames, heartbeat, replay
from tests.edge.world import EdgeCore
from tests.relay.wire.strategies import frames_like

Item = tuple[bytes, bytes, bytes]


@pytest.fixture
def edge() -> EdgeCore:
    return new_edge()


def new_edge(served_prefixes: tuple[str, ...] = ("",)) -> EdgeCore:
    edge = EdgeCore(served_prefixes)
    edge.inbound.synchronize(EPOCH, heartbeat(10))
    return edge


def take_replay(edge: EdgeCore, stream: str, *items: Item, **bounds: int) -> None:
    """The relay replies to a repair."""
    edge.inbound.take_replay(stream, replay(*items, **bounds))
    edge.manager.flush()


def take_retained(edge: EdgeCore, *items: Item) -> None:
    """The relay replies with retained events."""
    edge.inbound.take_retained(items)
    edge.manager.flush()


def connect(
    edge: EdgeCore, *patterns: str, username: str = "alice", role: str = "user"
) -> RecordingConnection:
    connection = RecordingConnection(username, role)
    edge.manager.connect(connection)
    edge.manager.receive_personal(connection)
    for text in patterns:
        pattern = parse_pattern(text)
        edge.manager.subscribe(
            connection, pattern, edge.access.selectors(connection.identity, pattern)
        )
    return connection


def test_an_event_goes_to_whoever_subscribed_and_moves_the_position(edge: EdgeCore) -> None:
    alice, bob = connect(edge, "event:*"), connect(edge, "event:b", username="bob")
    edge.arrive(frames("event:a", 11, {"n": 1}))
    (message,) = alice.take()
    assert (message["topic"], message["offset"], message["data"]) == ("event:a", 11, {"n": 1})
    assert bob.take() == []
    assert edge.streams.offsets["event"] == 11


def test_an_event_that_nobody_wants_is_not_decoded_but_counts_for_the_position(
    edge: EdgeCore,
) -> None:
    topic, stamp, _ = frames("event:a", 11)
    edge.inbound.take_event([topic, stamp, b"not even msgpack"])
    assert edge.stats.malformed == {}
    assert edge.stats.events_filtered == {"event": 1}
    assert edge.streams.offsets["event"] == 11


def test_a_task_goes_to_its_user_alone_without_subscription(edge: EdgeCore) -> None:
    alice = connect(edge)
    admin = connect(edge, "*", "task:*", username="root", role="admin")
    edge.arrive(frames("task:1", 21, {"status": "in_progress"}, username="alice"))
    assert [message["topic"] for message in alice.take()] == ["task:1"]
    assert admin.take() == []
    assert len(list(edge.snapshots.unfinished_tasks("alice"))) == 1


def test_a_retained_value_reaches_the_subscriber_that_was_first(edge: EdgeCore) -> None:
    alice = connect(edge, "resource-monitor:a", "event:a")
    take_retained(edge, frames("resource-monitor:a", 0, {"cpu": 1}))
    assert [topic for topic, _ in alice.live] == ["resource-monitor:a"]


def test_an_edge_that_begins_to_follow_asks_for_the_tasks_it_has_not_seen() -> None:
    edge = EdgeCore()
    assert edge.inbound.synchronize(EPOCH, heartbeat(10)) == (ALL_TASKS,)
    assert EdgeCore(("event:",)).inbound.synchronize(EPOCH, heartbeat(10)) == ()


def test_a_value_that_nobody_watches_any_more_is_forgotten(edge: EdgeCore) -> None:
    """It would be shown to the next subscriber, although it may have changed unseen."""
    alice = connect(edge, "resource-monitor:a", "resource-monitor:b")
    edge.arrive(frames("resource-monitor:a", 0), frames("resource-monitor:b", 0))
    edge.manager.unsubscribe(alice, parse_pattern("resource-monitor:a"))
    edge.inbound.forget_unwatched()
    everything = (parse_pattern("*"),)
    left = [topic for topic, _ in edge.snapshots.last_values(alice.identity, everything)]
    assert left == ["resource-monitor:b"]


def test_a_retained_value_does_not_replace_one_that_arrived_meanwhile(edge: EdgeCore) -> None:
    alice = connect(edge, "resource-monitor:a")
    edge.arrive(frames("resource-monitor:a", 0, {"cpu": 2}, relayed_at=5))
    take_retained(edge, frames("resource-monitor:a", 0, {"cpu": 1}, relayed_at=4))
    assert len(alice.live) == 1


def test_a_remembered_live_value_is_sent_only_if_it_is_newer(edge: EdgeCore) -> None:
    alice = connect(edge, "resource-monitor:a")
    edge.arrive(frames("resource-monitor:a", 0, relayed_at=5))
    take_retained(edge, frames("resource-monitor:a", 0, relayed_at=4))
    assert len(alice.live) == 1
    edge.arrive(frames("resource-monitor:a", 0, relayed_at=4))
    assert len(alice.live) == 2, "what has just arrived is new whatever the clock says"


def test_a_remembered_value_that_nobody_wants_is_not_kept(edge: EdgeCore) -> None:
    """ZeroMQ's prefixes bring `ab` where `a` is watched; `ab` may change unseen meanwhile."""
    connect(edge, "resource-monitor:a")
    take_retained(edge, frames("resource-monitor:ab", 0, {"n": 1}))
    late = connect(edge, "resource-monitor:ab", username="bob")
    take_retained(edge, frames("resource-monitor:ab", 0, {"n": 2}))
    assert len(late.live) == 1


def test_users_do_not_get_their_tasks_again_when_an_administrator_subscribes_to_all(
    edge: EdgeCore,
) -> None:
    """`*` makes the edge ask for everything retained, tasks included."""
    task = frames("task:1", 21, {"status": "success"}, username="alice")
    alice = connect(edge)
    edge.arrive(task)
    assert len(alice.take()) == 1
    connect(edge, "*", username="root", role="admin")
    take_retained(edge, task)
    assert alice.take() == []


def test_a_task_whose_status_is_not_text_is_forwarded_like_any_other(edge: EdgeCore) -> None:
    alice = connect(edge)
    edge.arrive(frames("task:1", 21, {"status": ["x"]}, username="alice"))
    assert [message["data"] for message in alice.take()] == [{"status": ["x"]}]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_missing_frames_are_counted_and_dropped(edge: EdgeCore, count: int) -> None:
    edge.inbound.take_event(list(frames("event:a", 11))[:count])
    assert edge.stats.malformed == {"invalid_frame": 1}
    edge.arrive(frames("event:a", 11))
    assert edge.streams.offsets["event"] == 11


def test_events_of_one_reading_reach_each_client_in_the_order_of_their_arrival(
    edge: EdgeCore,
) -> None:
    """Streams, live values, an addressed event and a task, to clients that want different ones."""
    alice = connect(edge, "*")
    bob = connect(edge, "event:a", "resource-monitor:a", username="bob")
    events = [
        frames("event:a", 11),
        frames("resource-monitor:a", 0),
        frames("task:1", 21, username="alice"),
        frames("event:b", 12, username="alice"),
        frames("event:a", 13),
    ]
    edge.arrive(*events)

    def came(connection: RecordingConnection) -> list[str]:
        return [json.loads(frame_payload(frame))["topic"] for _, frame in connection.record]

    assert came(alice) == ["event:a", "resource-monitor:a", "task:1", "event:b", "event:a"]
    assert came(bob) == ["event:a", "resource-monitor:a", "event:a"]


def test_a_position_is_told_behind_the_events_up_to_it(edge: EdgeCore) -> None:
    alice = connect(edge, "event:*")
    edge.inbound.take_event(list(frames("event:a", 11)))
    position = messages.position(EPOCH, edge.snapshots.position_of(alice))
    edge.manager.send_to_client(alice, position)
    event, told = alice.take()
    assert event["offset"] == told["position"]["event"] == 11
    edge.manager.flush()
    assert alice.take() == []


# Holes.


def test_what_follows_a_hole_waits_until_the_relay_has_replayed_it(edge: EdgeCore) -> None:
    alice = connect(edge, "event:*")
    edge.arrive(frames("event:a", 13))
    assert alice.take() == []
    assert edge.inbound.repairs_due() == [Repair("event", 10)]
    take_replay(edge, "event", frames("event:a", 11), frames("event:b", 12), tip=13)
    assert [message["offset"] for message in alice.take()] == [11, 12, 13]
    edge.arrive(frames("event:a", 12))
    assert alice.take() == []
    assert edge.stats.dropped.repeated == {"event": 1}
    assert not edge.inbound.repairs_due(), "there is no need to ask again"


def test_a_heartbeat_that_is_ahead_makes_the_edge_ask(edge: EdgeCore) -> None:
    edge.inbound.take_heartbeat(heartbeat(10))
    assert not edge.inbound.repairs_due()
    edge.inbound.take_heartbeat(heartbeat(12))
    assert edge.inbound.repairs_due() == [Repair("event", 10)]


def test_a_repair_is_due_again_when_it_is_lost_and_not_before(edge: EdgeCore) -> None:
    edge.inbound.take_heartbeat(heartbeat(13))
    assert edge.inbound.repairs_due() == [Repair("event", 10)]
    edge.inbound.take_heartbeat(heartbeat(14))
    assert not edge.inbound.repairs_due()
    assert edge.inbound.is_behind
    edge.inbound.lose_repair("event")
    edge.inbound.lose_repair("unknown")
    assert edge.inbound.repairs_due() == [Repair("event", 10)]


def test_a_repair_that_brings_nothing_is_to_be_repeated(edge: EdgeCore) -> None:
    edge.inbound.take_heartbeat(heartbeat(12))
    assert edge.inbound.repairs_due() == [Repair("event", 10)]
    assert not edge.inbound.take_replay("event", replay(tip=12))
    assert not edge.inbound.take_replay("event", replay(epoch=EPOCH + 1, tip=12))
    assert not edge.inbound.repairs_due()
    items = [frames("event:a", 11), frames("event:a", 12)]
    assert edge.inbound.take_replay("event", replay(*items, tip=12))
    assert not edge.inbound.repairs_due()
    assert edge.stats.events_received == {"event": 2}
    assert not edge.inbound.is_behind


def test_a_long_hole_is_asked_for_piece_by_piece(edge: EdgeCore) -> None:
    edge.inbound.take_heartbeat(heartbeat(13))
    assert edge.inbound.repairs_due() == [Repair("event", 10)]
    take_replay(edge, "event", frames("event:a", 11), frames("event:a", 12), tip=13)
    assert edge.inbound.repairs_due() == [Repair("event", 12)]


def test_what_the_relay_no_longer_has_is_told_to_those_it_concerns(
    edge: EdgeCore,
) -> None:
    alice, bob = (
        connect(edge, "event:a"),
        connect(edge, "other:x", username="bob", role="admin"),
    )
    edge.inbound.take_heartbeat(heartbeat(30))
    take_replay(edge, "event", frames("event:a", 21), low=21)
    gap = {"type": "gap", "stream": "event", "from": 11, "to": 20, "reason": "retention"}
    told, event = alice.take()
    assert (told, event["offset"]) == (gap, 21)
    assert bob.take() == []
    assert edge.stats.retention == {"event": 10}


def test_events_that_the_relay_cannot_read_are_a_gap_and_hold_nothing_up(edge: EdgeCore) -> None:
    alice, bob = connect(edge, "event:*"), connect(edge, username="bob")
    edge.inbound.take_heartbeat(heartbeat(16))
    lost = [(b"", frames("event:x", offset)[1], b"") for offset in (12, 13, 15)]
    items = [
        frames("event:x", 11),
        *lost[:2],
        frames("event:x", 14),
        lost[2],
        frames("event:x", 16),
    ]
    take_replay(edge, "event", *items)
    told = [
        each.get("offset") or (each["from"], each["to"], each["reason"]) for each in alice.take()
    ]
    assert told == [11, (12, 13, "damaged"), 14, (15, 15, "damaged"), 16]
    assert bob.take() == []
    assert edge.stats.malformed == {"damaged": 3}
    assert edge.streams.offsets["event"] == 16


def test_a_gap_in_the_tasks_concerns_every_user(edge: EdgeCore) -> None:
    alice = connect(edge)
    edge.inbound.take_heartbeat(heartbeat(10, task=25))
    take_replay(edge, "task", low=26, tip=25)
    assert [(message["from"], message["to"]) for message in alice.take()] == [(21, 25)]


def test_what_a_replay_says_to_be_gone_is_gone_for_resuming_clients(edge: EdgeCore) -> None:
    edge.inbound.take_heartbeat(heartbeat(12))
    take_replay(edge, "event", frames("event:a", 11), frames("event:a", 12), low=5)
    stream = edge.streams.get("event")
    assert stream is not None
    assert stream.history.is_gone(3)
    assert not stream.history.is_gone(4)


def test_events_of_another_epoch_wait_for_the_heartbeat_that_tells_of_it(edge: EdgeCore) -> None:
    alice = connect(edge, "event:*")
    topic, _, payload = frames("event:a", 11)
    edge.arrive((topic, pack_stamp(Stamp(EPOCH + 1, 11, 1)), payload))
    take_replay(edge, "event", frames("event:a", 11), epoch=EPOCH + 1)
    assert alice.take() == []
    assert edge.streams.offsets["event"] == 10


def test_a_restarted_relay_is_asked_for_what_was_missed(edge: EdgeCore) -> None:
    edge.inbound.synchronize(EPOCH, heartbeat(12))
    assert edge.inbound.repairs_due() == [Repair("event", 10)]
    assert edge.streams.offsets["event"] == 10


def test_an_edge_that_serves_a_part_of_a_stream_follows_it_whole() -> None:
    edge = new_edge(("event:a",))
    alice = connect(edge, "event:*")
    for offset, topic in ((11, "event:b"), (12, "event:ab"), (13, "event:b")):
        edge.arrive(frames(topic, offset))
    assert [message["offset"] for message in alice.take()] == [12]
    assert edge.streams.offsets == {"event": 13, "addressed": 0}
    assert edge.stats.events_filtered == {"event": 2}


def test_topics_that_are_not_served_are_shown_on_no_way() -> None:
    """The relay may bring them: it is subscribed to few prefixes, which cover more."""
    edge = new_edge(("live:a", "task:a"))
    alice = connect(edge, "live:*", "resource-monitor:*", "*", role="admin")
    take_retained(
        edge,
        frames("live:b", 0),
        frames("live:ab", 0),
        frames("task:b", 5, {"n": 1}, username="alice"),
        frames("task:ab", 6, {"n": 1}, username="alice"),
    )
    edge.arrive(frames("resource-monitor:a", 0), frames("live:c", 0), frames("live:ac", 0))
    assert [topic for topic, _ in alice.live] == ["live:ab", "live:ac"]
    assert [message["topic"] for message in alice.take()] == ["task:ab"]
    tasks = edge.snapshots.unfinished_tasks("alice")
    assert [json.loads(frame_payload(each))["topic"] for each in tasks] == ["task:ab"]
    assert edge.stats.events_filtered == {"resource-monitor": 1, "live": 1}


def test_a_retained_task_that_is_ahead_of_the_stream_comes_in_its_place(edge: EdgeCore) -> None:
    alice = connect(edge)
    state = frames("task:1", 21, {"n": 1}, username="alice")
    take_retained(edge, state)
    assert alice.take() == []
    edge.arrive(state)
    assert [message.get("retained") for message in alice.take()] == [None]


def test_a_task_that_becomes_known_late_is_shown_as_retained(edge: EdgeCore) -> None:
    alice = connect(edge)
    take_retained(edge, frames("task:1", 5, {"n": 1}, username="alice"))
    assert [(each["offset"], each["retained"]) for each in alice.take()] == [(5, True)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["event:a", "event:b", "task:1", "live:x"]),
            st.integers(0, 30),
            st.sampled_from([None, "alice", "bob"]),
            st.booleans(),
        )
    )
)
def test_every_event_that_arrives_is_accounted_for(
    arrivals: list[tuple[str, int, str | None, bool]],
) -> None:
    edge = new_edge()
    connections = [connect(edge, "event:a"), connect(edge, "live:*", role="admin")]
    for topic, offset, user, broken in arrivals:
        item = list(frames(topic, offset, username=user or "alice"))
        if broken:
            item[2] = b"broken"
        edge.inbound.take_event(item)
        if offset % 2:
            edge.manager.flush()
    edge.manager.flush()
    stats = edge.stats
    held = sum(stream.follower.held_count for stream in edge.streams)
    accounted = (
        stats.events_forwarded,
        stats.events_filtered,
        stats.dropped.repeated,
        stats.dropped.out_of_order,
        stats.malformed,
    )
    assert stats.events_received.total() == held + sum(each.total() for each in accounted)
    assert stats.events_received.total() == len(arrivals)
    sent = sum(len(each.frames) + len(each.live) for each in connections)
    assert stats.deliveries == sent


event = msgpack.unpackb(frames("event:a", 11, {"status": "success"}, username="alice")[2])


@given(
    st.sampled_from([b"event:a", b"task:1", b"resource-monitor:a"]) | st.binary(max_size=20),
    st.sampled_from([frames("event:a", n)[1] for n in (0, 11, 2**60)]) | st.binary(max_size=30),
    frames_like(event),
)
def test_any_frames_are_forwarded_or_counted_as_malformed(
    topic: bytes, stamp: bytes, payload: bytes
) -> None:
    edge = new_edge()
    alice = connect(edge, "*")
    edge.arrive((topic, stamp, payload))
    take_retained(edge, (topic, stamp, payload))
    assert len(alice.frames) + len(alice.live) <= 2


@given(st.recursive(st.none() | st.text() | st.integers(-5, 5), st.lists, max_leaves=4))
def test_any_status_of_a_task_is_forwarded(status: object) -> None:
    edge = new_edge()
    alice = connect(edge)
    edge.arrive(frames("task:1", 21, {"status": status}, username="alice"))
    assert alice.take()[0]["data"] == {"status": status}
