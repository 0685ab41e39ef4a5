"""An addressed live value reaches its user and nobody else, by whatever road it comes and goes."""

import json
from collections.abc import Callable

import pytest

from edge.core.protocol.requests import Subscribe, Unsubscribe
from edge.core.websocket.frames import frame_payload
from relay.wire.topics import parse_pattern
from tests.edge.relay_words import frames
from tests.edge.world import EPOCH, Viewer, World

TOPIC = "resource-monitor:secret"
EXACT, PREFIX, EVERYTHING = TOPIC, "resource-monitor:*", "*"

Road = Callable[[World], None]


def arrives(world: World) -> None:
    """The relay forwards the value."""
    world.edge.arrive(frames(TOPIC, 0, {"n": 1}, relayed_at=2, username="bob"))


def is_retained(world: World) -> None:
    """The relay answers the request for last values."""
    value = frames(TOPIC, 0, {"n": 1}, relayed_at=2, username="bob")
    world.edge.inbound.take_retained([value])
    world.edge.manager.flush()


def subscribe(viewer: Viewer, pattern: str, **past: object) -> None:
    viewer.subscriptions.take(Subscribe(parse_pattern(pattern), **past))  # type: ignore[arg-type]
    viewer.subscriptions.end_gathering()
    viewer.settle()


def live_only(viewer: Viewer, pattern: str) -> None:
    subscribe(viewer, pattern)


def since(viewer: Viewer, pattern: str) -> None:
    subscribe(viewer, pattern, since={"event": 0}, epoch=EPOCH)


def of_another_epoch(viewer: Viewer, pattern: str) -> None:
    subscribe(viewer, pattern, since={"event": 0}, epoch=EPOCH - 1)


def newest(viewer: Viewer, pattern: str) -> None:
    subscribe(viewer, pattern, last=10)


def a_second_time(viewer: Viewer, pattern: str) -> None:
    subscribe(viewer, pattern)
    viewer.subscriptions.take(Unsubscribe(parse_pattern(pattern)))
    subscribe(viewer, pattern)


def with_a_renewed_token(viewer: Viewer, pattern: str) -> None:
    subscribe(viewer, pattern)
    viewer.subscriptions.renew()


def viewer_of(world: World, username: str, role: str) -> Viewer:
    viewer = Viewer(world, username)
    viewer.connect(role)
    return viewer


def values(viewer: Viewer) -> list[str]:
    """The topics of the live values that the client was sent, by either kind of frame."""
    assert viewer.connection is not None
    messages = [json.loads(frame_payload(frame)) for _, frame in viewer.connection.record]
    return [each["topic"] for each in messages if each.get("type") == "any"]


@pytest.mark.parametrize("road", [arrives, is_retained])
@pytest.mark.parametrize("pattern", [EXACT, PREFIX, EVERYTHING])
@pytest.mark.parametrize(
    "subscribing",
    [live_only, since, of_another_epoch, newest, a_second_time, with_a_renewed_token],
)
@pytest.mark.parametrize("role", ["user", "admin"])
def test_a_new_subscriber_is_shown_the_value_only_if_it_is_his(
    road: Road, pattern: str, subscribing: Callable[[Viewer, str], None], role: str
) -> None:
    world = World()
    # Without a subscriber the edge would not keep the value.
    subscribe(viewer_of(world, "root", "admin"), EVERYTHING)
    road(world)
    other, owner = viewer_of(world, "alice", role), viewer_of(world, "bob", "user")
    subscribing(owner, pattern)
    subscribing(other, pattern)
    assert TOPIC in values(owner)
    assert values(other) == []


@pytest.mark.parametrize("road", [arrives, is_retained])
@pytest.mark.parametrize("pattern", [EXACT, PREFIX, EVERYTHING])
@pytest.mark.parametrize("role", ["user", "admin"])
def test_a_client_that_is_subscribed_is_sent_the_value_only_if_it_is_his(
    road: Road, pattern: str, role: str
) -> None:
    world = World()
    other, owner = viewer_of(world, "alice", role), viewer_of(world, "bob", "user")
    for viewer in (other, owner):
        subscribe(viewer, pattern)
    road(world)
    assert values(owner) == [TOPIC]
    assert values(other) == []
