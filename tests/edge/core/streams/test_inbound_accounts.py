"""Every event that arrives is counted once, and a hole is looked for whenever there may be one."""

import pytest

from edge.core.streams.inbound import Repair
from relay.wire.control import Heartbeat
from relay.wire.header import Stamp, pack_stamp
from tests.edge.core.streams.test_inbound import connect, new_edge
from tests.edge.relay_words import EPOCH, frames, heartbeat, replay
from tests.edge.world import EdgeCore


@pytest.fixture
def edge() -> EdgeCore:
    return new_edge()


def of_epoch(epoch: int, item: tuple[bytes, bytes, bytes], offset: int) -> tuple[bytes, ...]:
    """The event, under another epoch."""
    return item[0], pack_stamp(Stamp(epoch, offset, 1)), item[2]


def test_each_event_is_counted_by_its_kind_and_by_its_end(edge: EdgeCore) -> None:
    for username in ("alice", "carol"):
        connect(edge, "event:a", "live:a", username=username, role="admin")
    edge.arrive(
        frames("event:a", 11),
        frames("event:b", 12),
        frames("event:a", 13, username="bob"),
        frames("event:a", 13),
        of_epoch(EPOCH + 1, frames("event:a", 14), 14),
        (*frames("event:a", 14)[:2], b"broken"),
        frames("event:a", 16),
        frames("task:1", 21, username="carol"),
        frames("task:2", 22, username="nobody"),
        frames("live:a", 0),
        frames("live:a", 0, relayed_at=2),
        frames("live:a", 0, username="bob"),
        frames("live:ab", 0),
        (*frames("live:a", 0)[:2], b"broken"),
        (b"\xff", *frames("live:a", 0)[1:]),
        (b"event:a",),
    )
    stats = edge.stats
    assert stats.events_received == {"event": 7, "task": 2, "live": 5, "unknown": 2}
    assert stats.events_forwarded == {"event": 1, "task": 1, "live": 2}
    assert stats.events_filtered == {"event": 2, "task": 1, "live": 2}
    assert (stats.dropped.repeated, stats.dropped.out_of_order) == ({"event": 1}, {"event": 1})
    assert stats.malformed == {"invalid_envelope": 2, "invalid_topic": 1, "invalid_frame": 1}
    assert stats.deliveries == 2 + 1 + 2 * 2
    assert [stream.follower.held_count for stream in edge.streams] == [1, 0, 0]


def test_a_replayed_event_whose_topic_is_unreadable_is_counted_and_passed_over(
    edge: EdgeCore,
) -> None:
    alice = connect(edge, "event:*")
    items = [(b"\xff", *frames("event:a", 11)[1:]), frames("event:a", 12)]
    assert edge.inbound.take_replay("event", replay(*items, tip=12)) is True
    edge.manager.flush()
    assert [message["offset"] for message in alice.take()] == [12]
    assert edge.stats.malformed == {"invalid_topic": 1}


def test_a_retained_event_that_is_unreadable_is_counted_and_hides_no_other(
    edge: EdgeCore,
) -> None:
    alice = connect(edge, "live:*", role="admin")
    good = frames("live:a", 0)
    edge.inbound.take_retained([(b"\xff", *good[1:]), (*good[:2], b"broken"), good])
    edge.manager.flush()
    assert [topic for topic, _ in alice.live] == ["live:a"]
    assert edge.stats.unreadable == {"invalid_topic": 1, "invalid_envelope": 1}
    assert edge.stats.deliveries == 1


def test_a_task_that_is_retained_up_to_the_place_of_the_stream_is_shown(edge: EdgeCore) -> None:
    """The next one is on its way as an event."""
    alice = connect(edge)
    edge.inbound.take_retained(
        frames(f"task:{offset}", offset, username="alice") for offset in (19, 20, 21)
    )
    assert [message["offset"] for message in alice.take()] == [19, 20]


# Holes.


def test_an_edge_that_follows_nothing_misses_nothing() -> None:
    inbound = EdgeCore().inbound
    assert (inbound.is_behind, list(inbound.repairs_due()), inbound.place) == (False, [], None)


def test_a_hole_is_seen_also_after_a_time_without_any(edge: EdgeCore) -> None:
    behind = [edge.inbound.is_behind]
    assert list(edge.inbound.repairs_due()) == []
    edge.arrive(frames("event:a", 11))
    assert list(edge.inbound.repairs_due()) == []
    edge.arrive(frames("event:a", 13))
    assert [*behind, edge.inbound.is_behind] == [False, True]
    assert edge.inbound.repairs_due() == [Repair("event", 11)]


def test_a_replay_tells_of_newer_events_than_have_arrived(edge: EdgeCore) -> None:
    assert list(edge.inbound.repairs_due()) == []
    edge.inbound.take_replay("event", replay(frames("event:a", 11), tip=12))
    assert edge.inbound.is_behind
    assert edge.inbound.repairs_due() == [Repair("event", 11)]


def test_a_replay_of_another_epoch_or_stream_is_to_be_repeated(edge: EdgeCore) -> None:
    for stream, epoch in (("event", EPOCH + 1), ("audit", EPOCH)):
        reply = replay(frames("event:a", 11), epoch=epoch)
        assert edge.inbound.take_replay(stream, reply) is False
    assert edge.streams.offsets["event"] == 10
    assert edge.stats.events_received == {}


# Epochs.


def test_a_relay_whose_journal_ends_before_our_head_is_rolled_back(edge: EdgeCore) -> None:
    edge.arrive(frames("event:a", 11))
    assert edge.inbound.is_rolled_back(EPOCH, heartbeat(10))
    assert not edge.inbound.is_rolled_back(EPOCH, heartbeat(11))
    assert not edge.inbound.is_rolled_back(EPOCH + 1, heartbeat(10)), "offsets begin anew"
    place = edge.inbound.place
    assert place is not None
    assert (place.epoch, {kind: offset for kind, (offset, _) in place.heads.items()}) == (
        EPOCH,
        {"event": 11, "task": 20, "addressed": 0},
    )


@pytest.mark.parametrize(("has_clients", "begin"), [(True, 5), (False, 8)])
def test_a_new_epoch_is_followed_from_its_begin_for_clients_that_stayed(
    edge: EdgeCore, has_clients: bool, begin: int
) -> None:
    beat = Heartbeat(
        tips={"event": 8},
        low={"event": 1},
        started_at=2,
        journaling=True,
        previous=EPOCH,
        began={"event": 5},
    )
    edge.inbound.synchronize(EPOCH + 1, beat, has_clients=has_clients)
    assert edge.streams.offsets == {"event": begin}


def test_tasks_of_a_new_epoch_replace_those_of_a_greater_one(edge: EdgeCore) -> None:
    """The relay's clock makes epochs, and was set back."""
    connect(edge)
    edge.arrive(frames("task:1", 21, {"n": "old"}, username="alice"))
    edge.inbound.synchronize(EPOCH - 1, heartbeat(1, task=1))
    edge.arrive(of_epoch(EPOCH - 1, frames("task:1", 2, {"n": "new"}, username="alice"), 2))
    [task] = edge.tasks.tasks_of("alice")
    assert b'"new"' in task
