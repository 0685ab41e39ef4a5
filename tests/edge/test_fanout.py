"""The way of an event from the relay's frames to the clients' frames, with a recorded relay."""

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.identity.access import selectors
from edge.core.protocol import messages
from edge.core.stats import EdgeStats
from edge.core.websocket.frames import frame_payload
from edge.fanout import Fanout
from relay.wire.header import Stamp, pack_stamp
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.recorders import RecordingConnection
from tests.edge.relay_words import EPOCH, frames, heartbeat, replay
from tests.relay.wire.strategies import frames_like


class RecordingUpstream:
    """Remembers what the relay was asked for."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.retained: list[str] = []
        self.replays: list[tuple[str, int]] = []

    def want(self, selector: Pattern) -> None:
        """Remember."""
        self.wanted.append(str(selector))

    def unwant(self, selector: Pattern) -> None:
        """Forget."""
        self.wanted.remove(str(selector))

    def request_retained(self, selector: Pattern) -> None:
        """Remember."""
        self.retained.append(str(selector))

    def request_replay(self, stream: str, after: int, limit: int) -> None:
        """Remember."""
        self.replays.append((stream, after))


@pytest.fixture
def upstream() -> RecordingUpstream:
    return RecordingUpstream()


@pytest.fixture
def fanout(upstream: RecordingUpstream) -> Fanout:
    return new_fanout(upstream)


def new_fanout(upstream: RecordingUpstream, served_prefixes: tuple[str, ...] = ("",)) -> Fanout:
    fanout = Fanout(EdgeStats(), served_prefixes)
    fanout.attach(upstream)
    fanout.synchronize(EPOCH, heartbeat(10))
    return fanout


def arrive(fanout: Fanout, *events: tuple[bytes, bytes, bytes]) -> None:
    """The link has read `events` at once."""
    for each in events:
        fanout.take_event(list(each))
    fanout.tell_progress()


def connect(
    fanout: Fanout, *patterns: str, username: str = "alice", role: str = "user"
) -> RecordingConnection:
    connection = RecordingConnection(username, role)
    fanout.manager.connect(connection)
    fanout.manager.receive_tasks(connection)
    for text in patterns:
        pattern = parse_pattern(text)
        fanout.manager.subscribe(connection, pattern, selectors(role, pattern))
    return connection


def test_an_event_goes_to_whoever_subscribed_and_moves_the_position(fanout: Fanout) -> None:
    alice, bob = connect(fanout, "event:*"), connect(fanout, "event:b", username="bob")
    arrive(fanout, frames("event:a", 11, {"n": 1}))
    (message,) = alice.take()
    assert (message["topic"], message["offset"], message["data"]) == ("event:a", 11, {"n": 1})
    assert bob.take() == []
    assert fanout.streams.offsets["event"] == 11


def test_an_event_that_nobody_wants_is_not_decoded_but_counts_for_the_position(
    fanout: Fanout,
) -> None:
    topic, stamp, _ = frames("event:a", 11)
    fanout.take_event([topic, stamp, b"not even msgpack"])
    assert fanout.stats.malformed == {}
    assert fanout.stats.events_filtered == {"event": 1}
    assert fanout.streams.offsets["event"] == 11


def test_a_task_goes_to_its_user_alone_without_subscription(fanout: Fanout) -> None:
    alice = connect(fanout)
    admin = connect(fanout, "*", "task:*", username="root", role="admin")
    arrive(fanout, frames("task:1", 21, {"status": "in_progress"}, username="alice"))
    assert [message["topic"] for message in alice.take()] == ["task:1"]
    assert admin.take() == []
    assert len(list(fanout.snapshots.unfinished_tasks("alice"))) == 1


def test_a_late_subscriber_of_a_live_topic_makes_the_edge_ask_for_its_last_value(
    fanout: Fanout, upstream: RecordingUpstream
) -> None:
    upstream.retained.clear()
    alice = connect(fanout, "resource-monitor:a", "event:a")
    assert upstream.wanted == ["resource-monitor:a", "event:a"]
    assert upstream.retained == ["resource-monitor:a"], "streams are not retained"
    fanout.take_retained([frames("resource-monitor:a", 0, {"cpu": 1})])
    assert [topic for topic, _ in alice.live] == ["resource-monitor:a"]


def test_a_retained_value_does_not_replace_one_that_arrived_meanwhile(fanout: Fanout) -> None:
    alice = connect(fanout, "resource-monitor:a")
    arrive(fanout, frames("resource-monitor:a", 0, {"cpu": 2}, relayed_at=5))
    fanout.take_retained([frames("resource-monitor:a", 0, {"cpu": 1}, relayed_at=4)])
    assert len(alice.live) == 1


def test_a_remembered_live_value_is_sent_only_if_it_is_newer(fanout: Fanout) -> None:
    alice = connect(fanout, "resource-monitor:a")
    arrive(fanout, frames("resource-monitor:a", 0, relayed_at=5))
    fanout.take_retained([frames("resource-monitor:a", 0, relayed_at=4)])
    assert len(alice.live) == 1
    arrive(fanout, frames("resource-monitor:a", 0, relayed_at=4))
    assert len(alice.live) == 2, "what has just arrived is new whatever the clock says"


def test_a_remembered_value_that_nobody_wants_is_not_kept(fanout: Fanout) -> None:
    """ZeroMQ's prefixes bring `ab` where `a` is watched; `ab` may change unseen meanwhile."""
    connect(fanout, "resource-monitor:a")
    fanout.take_retained([frames("resource-monitor:ab", 0, {"n": 1})])
    late = connect(fanout, "resource-monitor:ab", username="bob")
    fanout.take_retained([frames("resource-monitor:ab", 0, {"n": 2})])
    assert len(late.live) == 1


def test_users_do_not_get_their_tasks_again_when_an_administrator_subscribes_to_all(
    fanout: Fanout, upstream: RecordingUpstream
) -> None:
    """`*` makes the edge ask for everything retained, tasks included."""
    task = frames("task:1", 21, {"status": "success"}, username="alice")
    alice = connect(fanout)
    arrive(fanout, task)
    assert len(alice.take()) == 1
    connect(fanout, "*", username="root", role="admin")
    fanout.take_retained([task])
    assert alice.take() == []


def test_a_task_whose_status_is_not_text_is_forwarded_like_any_other(fanout: Fanout) -> None:
    alice = connect(fanout)
    arrive(fanout, frames("task:1", 21, {"status": ["x"]}, username="alice"))
    assert [message["data"] for message in alice.take()] == [{"status": ["x"]}]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_missing_frames_are_counted_and_dropped(fanout: Fanout, count: int) -> None:
    fanout.take_event(list(frames("event:a", 11))[:count])
    assert fanout.stats.malformed == {"invalid_frame": 1}
    arrive(fanout, frames("event:a", 11))
    assert fanout.streams.offsets["event"] == 11


def test_events_of_one_reading_reach_each_client_in_the_order_of_their_arrival(
    fanout: Fanout,
) -> None:
    """Streams, live values, an addressed event and a task, to clients that want different ones."""
    alice = connect(fanout, "*")
    bob = connect(fanout, "event:a", "resource-monitor:a", username="bob")
    events = [
        frames("event:a", 11),
        frames("resource-monitor:a", 0),
        frames("task:1", 21, username="alice"),
        frames("event:b", 12, username="alice"),
        frames("event:a", 13),
    ]
    arrive(fanout, *events)

    def came(connection: RecordingConnection) -> list[str]:
        return [json.loads(frame_payload(frame))["topic"] for _, frame in connection.record]

    assert came(alice) == ["event:a", "resource-monitor:a", "task:1", "event:b", "event:a"]
    assert came(bob) == ["event:a", "resource-monitor:a", "event:a"]


def test_a_position_is_told_behind_the_events_up_to_it(fanout: Fanout) -> None:
    alice = connect(fanout, "event:*")
    fanout.take_event(list(frames("event:a", 11)))
    position = messages.position(EPOCH, fanout.snapshots.position_of(alice))
    fanout.manager.send_to_client(alice, position)
    event, told = alice.take()
    assert event["offset"] == told["position"]["event"] == 11
    fanout.tell_progress()
    assert alice.take() == []


# Holes.


def test_what_follows_a_hole_waits_until_the_relay_has_replayed_it(
    fanout: Fanout, upstream: RecordingUpstream
) -> None:
    alice = connect(fanout, "event:*")
    arrive(fanout, frames("event:a", 13))
    assert (alice.take(), upstream.replays) == ([], [("event", 10)])
    fanout.take_replay("event", replay(frames("event:a", 11), frames("event:b", 12), tip=13))
    assert [message["offset"] for message in alice.take()] == [11, 12, 13]
    arrive(fanout, frames("event:a", 12))
    assert alice.take() == []
    assert fanout.stats.dropped.repeated == {"event": 1}
    assert upstream.replays == [("event", 10)], "there was no need to ask again"


def test_a_heartbeat_that_is_ahead_makes_the_edge_ask(
    fanout: Fanout, upstream: RecordingUpstream
) -> None:
    fanout.hear(heartbeat(10))
    assert upstream.replays == []
    fanout.hear(heartbeat(12))
    assert upstream.replays == [("event", 10)]


def test_a_long_hole_is_asked_for_piece_by_piece(
    fanout: Fanout, upstream: RecordingUpstream
) -> None:
    fanout.hear(heartbeat(13))
    fanout.take_replay("event", replay(frames("event:a", 11), frames("event:a", 12), tip=13))
    assert upstream.replays == [("event", 10), ("event", 12)]


def test_what_the_relay_no_longer_has_is_told_to_those_it_concerns(
    fanout: Fanout,
) -> None:
    alice, bob = (
        connect(fanout, "event:a"),
        connect(fanout, "other:x", username="bob", role="admin"),
    )
    fanout.hear(heartbeat(30))
    fanout.take_replay("event", replay(frames("event:a", 21), low=21))
    gap = {"type": "gap", "stream": "event", "from": 11, "to": 20, "reason": "retention"}
    told, event = alice.take()
    assert (told, event["offset"]) == (gap, 21)
    assert bob.take() == []
    assert fanout.stats.retention == {"event": 10}


def test_a_gap_in_the_tasks_concerns_every_user(fanout: Fanout) -> None:
    alice = connect(fanout)
    fanout.hear(heartbeat(10, task=25))
    fanout.take_replay("task", replay(low=26, tip=25))
    assert [(message["from"], message["to"]) for message in alice.take()] == [(21, 25)]


def test_what_a_replay_says_to_be_gone_is_gone_for_resuming_clients(fanout: Fanout) -> None:
    fanout.hear(heartbeat(12))
    fanout.take_replay("event", replay(frames("event:a", 11), frames("event:a", 12), low=5))
    stream = fanout.streams.get("event")
    assert stream is not None
    assert stream.history.is_gone(3)
    assert not stream.history.is_gone(4)


def test_events_of_another_epoch_wait_for_the_heartbeat_that_tells_of_it(fanout: Fanout) -> None:
    alice = connect(fanout, "event:*")
    topic, _, payload = frames("event:a", 11)
    arrive(fanout, (topic, pack_stamp(Stamp(EPOCH + 1, 11, 1)), payload))
    fanout.take_replay("event", replay(frames("event:a", 11), epoch=EPOCH + 1))
    assert alice.take() == []
    assert fanout.streams.offsets["event"] == 10


def test_a_restarted_relay_is_asked_for_what_was_missed(
    fanout: Fanout, upstream: RecordingUpstream
) -> None:
    fanout.synchronize(EPOCH, heartbeat(12))
    assert upstream.replays == [("event", 10)]
    assert fanout.streams.offsets["event"] == 10


def test_an_edge_that_serves_a_part_of_a_stream_follows_it_whole() -> None:
    fanout = new_fanout(RecordingUpstream(), ("event:a",))
    alice = connect(fanout, "event:*")
    for offset, topic in ((11, "event:b"), (12, "event:ab"), (13, "event:b")):
        arrive(fanout, frames(topic, offset))
    assert [message["offset"] for message in alice.take()] == [12]
    assert fanout.streams.offsets == {"event": 13}
    assert fanout.stats.events_filtered == {"event": 2}


def test_a_retained_task_that_is_ahead_of_the_stream_comes_in_its_place(fanout: Fanout) -> None:
    alice = connect(fanout)
    state = frames("task:1", 21, {"n": 1}, username="alice")
    fanout.take_retained([state])
    assert alice.take() == []
    arrive(fanout, state)
    assert [message.get("retained") for message in alice.take()] == [None]


def test_a_task_that_becomes_known_late_is_shown_as_retained(fanout: Fanout) -> None:
    alice = connect(fanout)
    fanout.take_retained([frames("task:1", 5, {"n": 1}, username="alice")])
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
    fanout = new_fanout(RecordingUpstream())
    connections = [connect(fanout, "event:a"), connect(fanout, "live:*", role="admin")]
    for topic, offset, user, broken in arrivals:
        item = list(frames(topic, offset, username=user or "alice"))
        if broken:
            item[2] = b"broken"
        fanout.take_event(item)
        if offset % 2:
            fanout.tell_progress()
    fanout.tell_progress()
    stats = fanout.stats
    held = sum(stream.follower.held_count for stream in fanout.streams)
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
    fanout = new_fanout(RecordingUpstream())
    alice = connect(fanout, "*")
    arrive(fanout, (topic, stamp, payload))
    fanout.take_retained([(topic, stamp, payload)])
    assert len(alice.frames) + len(alice.live) <= 2


@given(st.recursive(st.none() | st.text() | st.integers(-5, 5), st.lists, max_leaves=4))
def test_any_status_of_a_task_is_forwarded(status: object) -> None:
    fanout = new_fanout(RecordingUpstream())
    alice = connect(fanout)
    arrive(fanout, frames("task:1", 21, {"status": status}, username="alice"))
    assert alice.take()[0]["data"] == {"status": status}
