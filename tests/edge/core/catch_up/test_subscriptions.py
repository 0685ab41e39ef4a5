"""Subscribing, resuming and unsubscribing: single cases, each of them a way to go wrong."""

from collections.abc import Mapping
from typing import Any

import pytest

from edge.core.catch_up.connection_catch_up import CatchUpState
from edge.core.identity.access import Identity
from edge.core.protocol.requests import Subscribe, Unsubscribe
from relay.wire.header import Stamp, pack_stamp
from relay.wire.topics import parse_pattern
from tests.edge.journal import Journal
from tests.edge.world import EPOCH, TOPICS, Viewer, World, permitted, viewer_patterns


@pytest.fixture
def world() -> World:
    world = World()
    for number in range(20):
        world.emit(TOPICS[number % 3])
    return world


def ask(viewer: Viewer, topic: str, since: Mapping[str, int] | None = None, **more: Any) -> None:
    request = Subscribe(parse_pattern(topic), since=since, epoch=EPOCH, **({"id": "id"} | more))
    viewer.subscriptions.take(request)
    viewer.subscriptions.end_gathering()


def test_what_is_unsubscribed_meanwhile_is_replayed_no_further(world: World, alice: Viewer) -> None:
    for _ in range(1000):
        world.emit("event:a")
    ask(alice, "event:a", {"event": 0}, id=1)
    alice.step()
    alice.read()
    so_far = len(alice.seen["event"])
    assert 0 < so_far < 1000
    alice.subscriptions.take(Unsubscribe(parse_pattern("event:a"), 2))
    alice.settle()
    world.emit("event:a")
    alice.read()
    assert len(alice.seen["event"]) == so_far
    assert [reply["id"] for reply in alice.replies] == [1, 2]
    assert viewer_patterns(alice) == []


def test_what_a_lower_role_may_not_see_ends_in_the_middle_of_its_replay(world: World) -> None:
    world.journals["secret"] = Journal()
    world.synchronize()
    root = Viewer(world, "root")
    root.seen["secret"] = []
    root.connect("admin")
    for _ in range(1000):
        world.emit("secret:x")
    ask(root, "secret:*", {"secret": 0}, id=1)
    root.step()
    root.read()
    so_far = len(root.seen["secret"])
    assert 0 < so_far < 1000
    assert root.connection is not None
    root.connection.identity = Identity("root", "user", 10**10)
    root.subscriptions.renew()
    for _ in range(20):
        root.step()
    messages = root.connection.take()
    assert messages[-1] == {
        "status": "error",
        "message": "Not allowed to subscribe to topic 'secret:*': add [kinds.secret] with"
        ' subscribe = ["user"] to relay.toml',
        "code": "forbidden",
        "id": 1,
    }
    assert len(messages) == 1


def test_in_a_new_epoch_nothing_of_the_old_one_is_recovered(world: World, alice: Viewer) -> None:
    for _ in range(1000):
        world.emit("event:a")
    ask(alice, "event:a", {"event": 0})
    alice.step()
    world.journals = {"event": Journal(), "task": Journal()}
    world.epoch += 1
    world.synchronize()
    alice.settle()
    assert alice.recovered == [False]
    alice.seen["event"] = []
    world.emit("event:a")
    alice.read()
    assert alice.seen["event"] == [1]
    # What the live subscription has brought in the new epoch does not come again.
    viewer_request = Subscribe(parse_pattern("event:*"), "id", since={"event": 0}, epoch=EPOCH + 1)
    alice.subscriptions.take(viewer_request)
    alice.subscriptions.end_gathering()
    alice.settle()
    assert alice.seen["event"] == [1]


def test_a_client_that_is_ahead_waits_for_the_stream(world: World, alice: Viewer) -> None:
    ask(alice, "event:*", {"event": 22})
    (catching_up,) = alice.pending
    assert catching_up.step().state is CatchUpState.AWAITING_STREAMS
    for _ in range(4):
        world.emit("event:a")
    result = catching_up.step()
    assert (result.state, result.deliveries) == (CatchUpState.COMPLETE, 2)
    alice.read()
    assert (alice.seen["event"], alice.recovered) == ([23, 24], [True])


def test_the_newest_events_are_found_however_far_back_within_reach(
    world: World, alice: Viewer
) -> None:
    for number in range(3000):
        world.emit("event:bb" if number % 500 == 0 else "event:a")
    ask(alice, "event:bb", last=3)
    alice.settle()
    rare = permitted(world.journals["event"], "alice", [parse_pattern("event:bb")])
    assert alice.seen["event"] == rare[-3:]
    ask(alice, "event:nothing", last=3)
    alice.settle()
    assert alice.seen["event"] == rare[-3:]
    assert alice.recovered == [True, True]


@pytest.mark.parametrize("role", ["user", "admin"])
def test_the_newest_events_are_counted_without_those_for_other_users(role: str) -> None:
    """Nor may a client infer from what is left out that somebody else was sent an event."""
    world = World()
    for username in (None, "alice", None, "bob", "bob", "alice", "bob", "bob"):
        world.emit("event:x", username)
    alice = Viewer(world, "alice")
    alice.connect(role)
    ask(alice, "event:x", last=3)
    alice.settle()
    assert alice.seen["event"] == [2, 3, 6]


def test_the_newest_events_end_where_the_journal_begins_and_no_gap_is_named(
    world: World,
) -> None:
    for _ in range(600):
        world.emit("event:b")
    world.retire(500)
    world.new_edge()
    alice = Viewer(world, "alice")
    alice.connect()
    ask(alice, "event:*", last=400)
    alice.settle()
    assert alice.seen["event"] == list(range(500, 621))
    assert (alice.gaps, alice.recovered) == ([], [True])


def test_requests_behind_a_catch_up_are_performed_in_their_order(
    world: World, alice: Viewer
) -> None:
    """Each of them starts and ends a catch-up of its own, none within another."""
    ask(alice, "event:*", {"event": 22}, id=0)
    for number in range(1, 1500):
        ask(alice, "event:a", {"event": 20}, id=number)
    for _ in range(2):
        world.emit("event:b")
    alice.settle()
    assert [reply["id"] for reply in alice.replies] == list(range(1500))


def test_an_event_that_cannot_be_read_is_skipped_and_counted_once(world: World) -> None:
    stream = world.edge.streams.get("event")
    assert stream is not None
    broken = world.journals["event"].append("event:a")
    broken.payload = b"\xc1"
    world.edge.inbound.take_event(
        [b"event:a", pack_stamp(Stamp(EPOCH, broken.offset, 0)), broken.payload]
    )
    world.emit("event:a")
    for _ in range(2):
        viewer = Viewer(world, "alice")
        viewer.connect()
        ask(viewer, "event:*", {"event": 20})
        viewer.settle()
        assert viewer.seen["event"] == [22]
    assert world.edge.stats.unreadable == {"invalid_envelope": 1}


@pytest.mark.parametrize("live", ["*", "e*"])
def test_a_live_subscription_that_changes_with_the_role_covers_what_it_brings_and_no_more(
    world: World, live: str
) -> None:
    """As a user `*` goes on with fewer topics, and `e*` ends.

    Events that come during the catch-up are sent live by the one, and left to the replay
    by the other.
    """
    root = Viewer(world, "root")
    root.connect("admin")
    ask(root, live)
    for _ in range(1000):
        world.emit("event:a")
    ask(root, "event:a", {"event": 0})
    root.step()
    assert root.connection is not None
    root.connection.identity = Identity("root", "user", 10**10)
    root.subscriptions.renew()
    for _ in range(5):
        world.emit("event:a")
    for _ in range(20):
        root.step()
    seen = [message["offset"] for message in root.connection.take() if "offset" in message]
    expected = permitted(world.journals["event"], "root", [parse_pattern("event:a")])
    assert sorted(seen) == expected


def test_what_was_brought_live_in_this_epoch_is_not_replayed_in_it(
    world: World, alice: Viewer
) -> None:
    ask(alice, "event:a")
    world.journals = {"event": Journal(), "task": Journal()}
    world.epoch += 1
    world.synchronize()
    world.emit("event:a")
    world.emit("event:b")
    alice.subscriptions.take(
        Subscribe(parse_pattern("event:*"), "id", since={"event": 0}, epoch=world.epoch)
    )
    alice.subscriptions.end_gathering()
    alice.settle()
    assert alice.seen["event"] == [1, 2]


def test_a_gap_ends_where_the_edge_remembers_more_than_the_relay(world: World) -> None:
    world.new_edge()
    for _ in range(100):
        world.emit("event:b")
    world.retire(100)
    alice = Viewer(world, "alice")
    alice.connect()
    ask(alice, "event:*", {"event": 5})
    alice.settle()
    assert alice.gaps == [(6, 20)]
    assert alice.seen["event"] == list(range(21, 121))


def test_only_those_subscriptions_are_not_recovered_that_the_gap_concerns(world: World) -> None:
    world.retire(15)
    world.new_edge()
    alice = Viewer(world, "alice")
    alice.connect()
    for topic, since in (("event:a", 5), ("event:b", 14), ("event:bb", 13)):
        alice.subscriptions.take(
            Subscribe(parse_pattern(topic), "id", since={"event": since}, epoch=EPOCH)
        )
    alice.subscriptions.end_gathering()
    alice.settle()
    assert alice.gaps == [(6, 14)]
    assert alice.recovered == [False, True, False]


def test_a_gap_in_one_of_several_streams_leaves_nothing_recovered(world: World) -> None:
    root = of_two_streams(world, "admin")
    root.disconnect()
    world.retire(100)
    world.new_edge()
    root.connect("admin")
    everything = parse_pattern("*")
    for since in ({"event": 50, "audit": 1400}, {"event": 1400, "audit": 1400}):
        root.subscriptions.take(Subscribe(everything, "id", since=since, epoch=EPOCH))
        root.subscriptions.end_gathering()
        root.settle()
    assert root.gaps == [(51, 99)]
    assert root.recovered == [False, True]


def test_the_newest_events_come_though_another_subscription_has_brought_them(
    world: World, alice: Viewer
) -> None:
    ask(alice, "event:*")
    for _ in range(4):
        world.emit("event:a")
        world.emit("event:b")
    alice.settle()
    alice.seen["event"] = []
    ask(alice, "event:b", last=3)
    world.emit("event:b")
    alice.settle()
    assert alice.seen["event"] == [29, 24, 26, 28], "29 came live, and once"


def test_a_client_that_stays_ahead_gets_neither_a_reply_nor_an_event_twice(
    world: World, alice: Viewer
) -> None:
    """Until it is sent away: what the edge receives meanwhile, the client has."""
    ask(alice, "event:*", {"event": 30})
    for _ in range(5):
        world.emit("event:a")
        alice.step()
    alice.read()
    assert (alice.seen["event"], alice.recovered) == ([], [])


@pytest.mark.parametrize("more", [True, False])
def test_a_new_epoch_between_gathered_requests_spoils_only_those_before_it(
    world: World, alice: Viewer, more: bool
) -> None:
    before = Subscribe(parse_pattern("event:a"), "id", since={"event": 20}, epoch=EPOCH)
    alice.subscriptions.take(before)
    world.journals = {"event": Journal(), "task": Journal()}
    world.epoch += 1
    world.synchronize()
    for _ in range(3):
        world.emit("event:b")
    after = Subscribe(parse_pattern("event:b"), "id", since={"event": 1}, epoch=EPOCH + 1)
    newest = Subscribe(parse_pattern("event:b"), "id", last=1)
    for request in (after, newest) if more else (after,):
        alice.subscriptions.take(request)
    alice.subscriptions.end_gathering()
    alice.settle()
    assert alice.seen["event"] == [2, 3]
    assert alice.recovered == [False, True, True][: len(alice.recovered)]
    assert len(alice.recovered) == 2 + more


def of_two_streams(world: World, role: str) -> Viewer:
    """A viewer who has seen nothing of 1,500 events in each of two streams."""
    world.journals["audit"] = Journal()
    world.synchronize()
    for _ in range(1500):
        world.emit("event:a")
        world.emit("audit:a")
    viewer = Viewer(world, "alice")
    viewer.seen["audit"] = []
    viewer.connect(role)
    viewer.read()
    return viewer


def change_role(viewer: Viewer, role: str) -> None:
    assert viewer.connection is not None
    viewer.connection.identity = Identity(viewer.username, role, 10**10)
    viewer.subscriptions.renew()


def test_a_permission_that_is_lost_during_the_catch_up_does_not_come_back(world: World) -> None:
    viewer = of_two_streams(world, "admin")
    viewer.subscriptions.take(
        Subscribe(parse_pattern("event:*"), "id", since={"event": 20}, epoch=EPOCH)
    )
    viewer.subscriptions.take(
        Subscribe(parse_pattern("audit:*"), "x", since={"audit": 0}, epoch=EPOCH)
    )
    viewer.subscriptions.end_gathering()
    viewer.step()
    change_role(viewer, "user")
    viewer.step()
    change_role(viewer, "admin")
    while viewer.step():
        pass
    assert viewer.connection is not None
    [granted, refused] = [each for each in viewer.connection.take() if "status" in each]
    assert granted["recovered"] is True
    assert (refused["code"], refused["id"]) == ("forbidden", "x")


@pytest.mark.parametrize("roles", [("user", "admin"), ("admin", "user", "admin")])
def test_who_may_see_more_or_less_during_the_catch_up_is_not_told_to_have_everything(
    world: World, roles: tuple[str, ...]
) -> None:
    viewer = of_two_streams(world, roles[0])
    ask(viewer, "*", {"event": 20, "audit": 0})
    for role in roles[1:]:
        viewer.step()
        change_role(viewer, role)
    viewer.settle()
    assert viewer.recovered == [False]


def test_a_stream_that_begins_while_everything_is_live_is_not_replayed(world: World) -> None:
    viewer = Viewer(world, "alice")
    viewer.seen["audit"] = []
    viewer.connect("admin")
    viewer.read()
    ask(viewer, "*")
    world.journals["audit"] = Journal()
    world.synchronize()
    for _ in range(5):
        world.emit("audit:a")
    viewer.read()
    ask(viewer, "audit:*", {"audit": 2})
    viewer.settle()
    assert viewer.seen["audit"] == [1, 2, 3, 4, 5]


def test_beyond_the_limit_of_subscriptions_nothing_is_replayed(alice: Viewer) -> None:
    for number in range(100):
        alice.subscriptions.take(
            Subscribe(parse_pattern(f"event:{number}"), number, since={"event": 0}, epoch=EPOCH)
        )
    alice.subscriptions.take(
        Subscribe(parse_pattern("event:*"), "over", since={"event": 0}, epoch=EPOCH)
    )
    alice.subscriptions.end_gathering()
    while alice.step():
        pass
    assert alice.connection is not None
    messages = alice.connection.take()
    [refusal] = [each for each in messages if each.get("status") != "success"]
    assert (refusal["id"], refusal["message"]) == ("over", "At most 100 subscriptions are allowed.")


def test_what_comes_after_unsubscribing_is_not_covered(world: World, alice: Viewer) -> None:
    ask(alice, "event:a")
    alice.subscriptions.take(Unsubscribe(parse_pattern("event:a")))
    world.emit("event:a")
    ask(alice, "event:a", {"event": 20})
    alice.settle()
    assert alice.seen["event"] == [21]


def test_unsubscribing_acts_at_once_though_its_answer_waits(world: World, alice: Viewer) -> None:
    for _ in range(1500):
        world.emit("event:b")
    ask(alice, "event:a", id=1)
    ask(alice, "event:b", {"event": 20}, id=2)
    alice.step()
    alice.subscriptions.take(Unsubscribe(parse_pattern("event:a"), 3))
    world.emit("event:a")
    alice.settle()
    assert 1521 not in alice.seen["event"]
    assert [reply["id"] for reply in alice.replies] == [1, 2, 3]


def test_what_was_withdrawn_before_it_was_sent_is_not_recovered(
    world: World, alice: Viewer
) -> None:
    """Also if the same pattern was resumed once more, from further on."""
    everything = parse_pattern("event:*")
    alice.subscriptions.take(Subscribe(everything, "id", since={"event": 5}, epoch=EPOCH))
    alice.subscriptions.take(Unsubscribe(everything))
    alice.subscriptions.take(Subscribe(everything, "id", since={"event": 15}, epoch=EPOCH))
    alice.subscriptions.end_gathering()
    alice.settle()
    assert alice.seen["event"] == list(range(16, 21))
    assert alice.recovered == [False, True]
