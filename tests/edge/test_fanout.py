"""The way of an event from the relay's frames to the clients' frames, with a recorded relay."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.access import selectors
from edge.fanout import Fanout
from edge.stats import EdgeStats
from relay.wire.header import Stamp, pack_stamp
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.recorders import RecordingConnection
from tests.relay.wire.strategies import frames_like

EPOCH = 7


class RecordingUpstream:
    """Remembers what the relay was asked for."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.retained: list[str] = []

    def want(self, selector: Pattern) -> None:
        """Remember."""
        self.wanted.append(str(selector))

    def unwant(self, selector: Pattern) -> None:
        """Forget."""
        self.wanted.remove(str(selector))

    def request_retained(self, selector: Pattern) -> None:
        """Remember."""
        self.retained.append(str(selector))


@pytest.fixture
def upstream() -> RecordingUpstream:
    return RecordingUpstream()


@pytest.fixture
def fanout(upstream: RecordingUpstream) -> Fanout:
    return new_fanout(upstream)


def new_fanout(upstream: RecordingUpstream) -> Fanout:
    fanout = Fanout(EdgeStats())
    fanout.attach(upstream)
    fanout.synchronize(EPOCH, {"event": 10, "task": 20})
    return fanout


def frames(
    topic: str, offset: int, data: object = None, relayed_at: int = 1, username: str | None = None
) -> tuple[bytes, bytes, bytes]:
    fields = {"type": "any", "data": data or {}, "source": "m", "emitted_at": 1, "id": "x"}
    if username is not None:
        fields["username"] = username
    stamp = pack_stamp(Stamp(EPOCH, offset, relayed_at))
    return topic.encode(), stamp, msgpack.packb(fields)


def connect(
    fanout: Fanout, *patterns: str, username: str = "alice", role: str = "user"
) -> RecordingConnection:
    connection = RecordingConnection(username, role)
    fanout.manager.connect(connection)
    for text in patterns:
        pattern = parse_pattern(text)
        fanout.manager.subscribe(connection, pattern, selectors(role, pattern))
    return connection


def test_an_event_goes_to_whoever_subscribed_and_moves_the_position(fanout: Fanout) -> None:
    alice, bob = connect(fanout, "event:*"), connect(fanout, "event:b", username="bob")
    fanout.take_event(list(frames("event:a", 11, {"n": 1})))
    (message,) = alice.take()
    assert (message["topic"], message["offset"], message["data"]) == ("event:a", 11, {"n": 1})
    assert bob.take() == []
    assert fanout.positions.offsets["event"] == 11


def test_an_event_that_nobody_wants_is_not_decoded_but_counts_for_the_position(
    fanout: Fanout,
) -> None:
    topic, stamp, _ = frames("event:a", 11)
    fanout.take_event([topic, stamp, b"not even msgpack"])
    assert fanout.stats.malformed == {}
    assert fanout.stats.events_filtered == {"event": 1}
    assert fanout.positions.offsets["event"] == 11


def test_a_task_goes_to_its_user_alone_without_subscription(fanout: Fanout) -> None:
    alice = connect(fanout)
    admin = connect(fanout, "*", "task:*", username="root", role="admin")
    fanout.take_event(list(frames("task:1", 21, {"status": "in_progress"}, username="alice")))
    assert [message["topic"] for message in alice.take()] == ["task:1"]
    assert admin.take() == []
    assert len(list(fanout.unfinished_tasks("alice"))) == 1


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
    fanout.take_event(list(frames("resource-monitor:a", 0, {"cpu": 2}, relayed_at=5)))
    fanout.take_retained([frames("resource-monitor:a", 0, {"cpu": 1}, relayed_at=4)])
    assert len(alice.live) == 1


def test_a_remembered_live_value_is_sent_only_if_it_is_newer(fanout: Fanout) -> None:
    alice = connect(fanout, "resource-monitor:a")
    fanout.take_event(list(frames("resource-monitor:a", 0, relayed_at=5)))
    fanout.take_retained([frames("resource-monitor:a", 0, relayed_at=4)])
    assert len(alice.live) == 1
    fanout.take_event(list(frames("resource-monitor:a", 0, relayed_at=4)))
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
    fanout.take_event(list(task))
    assert len(alice.take()) == 1
    connect(fanout, "*", username="root", role="admin")
    fanout.take_retained([task])
    assert alice.take() == []


def test_a_task_whose_status_is_not_text_is_forwarded_like_any_other(fanout: Fanout) -> None:
    alice = connect(fanout)
    fanout.take_event(list(frames("task:1", 21, {"status": ["x"]}, username="alice")))
    assert [message["data"] for message in alice.take()] == [{"status": ["x"]}]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_missing_frames_are_counted_and_dropped(fanout: Fanout, count: int) -> None:
    fanout.take_event(list(frames("event:a", 11))[:count])
    assert sum(fanout.stats.malformed.values()) in (0, 1)
    fanout.take_event(list(frames("event:a", 12)))
    assert fanout.positions.offsets["event"] == 12


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
    fanout.take_event([topic, stamp, payload])
    fanout.take_retained([(topic, stamp, payload)])
    assert len(alice.frames) + len(alice.live) <= 2


@given(st.recursive(st.none() | st.text() | st.integers(-5, 5), st.lists, max_leaves=4))
def test_any_status_of_a_task_is_forwarded(status: object) -> None:
    fanout = new_fanout(RecordingUpstream())
    alice = connect(fanout)
    fanout.take_event(list(frames("task:1", 21, {"status": status}, username="alice")))
    assert alice.take()[0]["data"] == {"status": status}
