"""Opening with a position in the tasks, and what a catch-up has brought by its end."""

from typing import Any

import pytest

from edge.core.catch_up.subscriptions import Subscriptions
from edge.core.identity.access import Identity
from edge.core.protocol.requests import PersonalPosition, Subscribe, Unsubscribe
from relay.wire.topics import parse_pattern
from tests.edge.journal import Journal
from tests.edge.recorders import RecordingConnection
from tests.edge.world import EPOCH, EdgeCore, Viewer, World

A, B, ALL = (parse_pattern(text) for text in ("event:a", "event:b", "event:*"))


@pytest.fixture
def world() -> World:
    """Ten updates of a task of alice, and 20 events."""
    world = World()
    for _ in range(10):
        world.emit("task:1", "alice")
    for number in range(20):
        world.emit(("event:a", "event:b")[number % 2])
    return world


def opened(edge: EdgeCore, since: PersonalPosition | None) -> list[dict[str, Any]]:
    """The messages that a client gets that opens with this position."""
    connection = RecordingConnection("alice")
    catch_ups: list[Any] = []
    subscriptions = Subscriptions(connection, edge, catch_ups.append, 100)
    subscriptions.open(since)
    for catch_up in catch_ups:
        while not catch_up.step().state.is_final:
            pass
    assert not subscriptions.is_catching_up
    assert subscriptions.waiting == (0, 0)
    return connection.take()


def told(messages: list[dict[str, Any]]) -> list[object]:
    """Offsets of updates, `state` for a task that is shown, and positions."""
    return [
        "state" if "retained" in each else each.get("position", each.get("offset"))
        for each in messages
    ]


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (None, ["state", {"task": 10}]),
        (PersonalPosition(EPOCH, {"task": 7}), [{}, 8, 9, 10, {"task": 10}]),
        (PersonalPosition(EPOCH, {"task": 10}), [{}, {"task": 10}]),
        (PersonalPosition(EPOCH - 1, {"task": 7}), [{}, "state", {"task": 10}]),
    ],
    ids=["new", "behind", "up to date", "of another epoch"],
)
def test_a_client_is_shown_its_tasks_or_the_updates_that_it_missed(
    world: World, since: PersonalPosition | None, expected: list[object]
) -> None:
    assert told(opened(world.edge, since)) == expected


def test_an_edge_without_tasks_tells_its_epoch_alone() -> None:
    edge = EdgeCore(("event:",))
    edge.inbound.synchronize(EPOCH, World().heartbeat())
    assert told(opened(edge, PersonalPosition(EPOCH, {"task": 7}))) == [{}]


def test_a_client_whose_epoch_ends_before_it_has_its_updates_is_shown_its_tasks(
    world: World,
) -> None:
    alice = Viewer(world, "alice")
    alice.positions["task"] = 3
    alice.connect()
    world.journals = {"event": Journal(), "task": Journal()}
    world.epoch += 1
    world.synchronize()
    while alice.step():
        pass
    assert alice.connection is not None
    assert told(alice.connection.take()) == [{}, "state", {"task": 0}]


def test_requests_that_come_before_the_updates_are_there_are_answered_behind_them(
    world: World,
) -> None:
    alice = Viewer(world, "alice")
    alice.positions["task"] = 3
    alice.connect()
    alice.subscriptions.take(Subscribe(A, 1))
    alice.subscriptions.end_gathering()
    assert alice.subscriptions.waiting[0] == 2
    while alice.step():
        pass
    assert alice.connection is not None
    *_, position, reply = alice.connection.take()
    assert position["position"] == {"task": 10}
    assert (reply["action"], reply["id"]) == ("subscribe", 1)


# Catch-ups of subscriptions.


def resume(viewer: Viewer, since: int, *patterns: Any, epoch: int = EPOCH) -> None:
    for pattern in patterns:
        viewer.subscriptions.take(Subscribe(pattern, "id", since={"event": since}, epoch=epoch))
    viewer.subscriptions.end_gathering()


def test_a_catch_up_counts_as_brought_for_the_next_one(alice: Viewer) -> None:
    resume(alice, 10, A)
    alice.settle()
    resume(alice, 5, ALL)
    alice.settle()
    assert alice.seen["event"] == [11, 13, 15, 17, 19, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20]


def test_a_catch_up_that_a_new_epoch_ends_has_brought_nothing_of_it(
    world: World, alice: Viewer
) -> None:
    for _ in range(1_000):
        world.emit("event:a")
    resume(alice, 0, A)
    alice.step()
    alice.read()
    world.journals = {"event": Journal(), "task": Journal()}
    world.epoch += 1
    world.synchronize()
    for _ in range(3):
        world.emit("event:a")
    alice.settle()
    alice.seen["event"].clear()
    resume(alice, 0, ALL, epoch=EPOCH + 1)
    alice.settle()
    assert (alice.seen["event"], alice.recovered) == ([1, 2, 3], [False, True])


def test_events_behind_an_unsubscribe_are_left_to_the_catch_up_that_wants_them(
    world: World, alice: Viewer
) -> None:
    alice.subscriptions.take(Subscribe(A))
    for _ in range(1_500):
        world.emit("event:b")
    resume(alice, 20, ALL)
    alice.step()
    alice.subscriptions.take(Unsubscribe(A))
    world.emit("event:a")
    alice.settle()
    assert alice.seen["event"] == list(range(21, 1_522))


def test_a_role_that_is_lost_while_requests_are_gathered_refuses_them(world: World) -> None:
    root = Viewer(world, "root")
    root.connect("admin")
    assert root.connection is not None
    tasks = parse_pattern("task:*")
    root.subscriptions.take(Subscribe(tasks, "x", since={"event": 10}, epoch=EPOCH))
    for role in ("user", "admin"):
        root.connection.identity = Identity("root", role, 10**10)
        root.subscriptions.renew()
    root.connection.take()
    root.subscriptions.end_gathering()
    while root.step():
        pass
    [refused] = root.connection.take()
    assert (refused["code"], refused["id"]) == ("forbidden", "x")


def test_gathered_requests_count_as_the_subscriptions_that_they_become(alice: Viewer) -> None:
    """A viewer may have 100."""
    patterns = [parse_pattern(f"event:{number}") for number in range(100)]
    for pattern in (*patterns, patterns[0], A):
        alice.subscriptions.take(Subscribe(pattern, "id", since={"event": 20}, epoch=EPOCH))
    alice.subscriptions.end_gathering()
    while alice.step():
        pass
    assert alice.connection is not None
    statuses = [reply["status"] for reply in alice.connection.take()]
    assert statuses == ["success"] * 101 + ["error"]
