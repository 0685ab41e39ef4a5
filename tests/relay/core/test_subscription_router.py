"""The routes of subscriptions, by their prefix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.subscription_router import SubscriptionRoute, SubscriptionRouter
from relay.wire.topics import MAX_TOPIC_BYTES
from tests.relay.wire.strategies import topics

ROUTER = SubscriptionRouter(("event", "task"))


@pytest.mark.parametrize(
    ("prefix", "route"),
    [
        (b"resource-monitor:survival", SubscriptionRoute.FORWARD),
        (b"resource-monitor:", SubscriptionRoute.FORWARD),
        (b"!exact:resource-monitor:survival", SubscriptionRoute.FORWARD),
        (b"!within:resource-monitor:", SubscriptionRoute.FORWARD),
        (b"!within:", SubscriptionRoute.FORWARD),
        (b"", SubscriptionRoute.FORWARD),
        (b"e", SubscriptionRoute.FORWARD),
        (b"events:x", SubscriptionRoute.FORWARD),
        (b"event:", SubscriptionRoute.KEEP),
        (b"event:after_backup", SubscriptionRoute.KEEP),
        (b"task:", SubscriptionRoute.KEEP),
        (b"!exact:event:after_backup", SubscriptionRoute.KEEP),
        (b"!within:event:", SubscriptionRoute.KEEP),
        (b"!heartbeat", SubscriptionRoute.KEEP),
        (b"!", SubscriptionRoute.KEEP),
        (b"!sync:5f3a", SubscriptionRoute.ANSWER),
        (b"x" * MAX_TOPIC_BYTES, SubscriptionRoute.FORWARD),
        (b"!within:" + b"x" * MAX_TOPIC_BYTES, SubscriptionRoute.FORWARD),
        (b"x" * (MAX_TOPIC_BYTES + 1), SubscriptionRoute.KEEP),
        (b"!exact:" + b"x" * (MAX_TOPIC_BYTES + 1), SubscriptionRoute.KEEP),
        (b"!sync:" + b"x" * MAX_TOPIC_BYTES, SubscriptionRoute.KEEP),
    ],
)
def test_the_route_of_a_subscription(prefix: bytes, route: SubscriptionRoute) -> None:
    assert ROUTER.route(prefix) is route


def test_journaled_kinds_are_always_subscribed() -> None:
    assert ROUTER.always == (b"event:", b"task:")


@given(st.binary(max_size=40))
def test_any_bytes_have_a_route(prefix: bytes) -> None:
    assert ROUTER.route(prefix) in SubscriptionRoute


@given(topics)
def test_a_hint_takes_the_route_of_its_subscription(topic: str) -> None:
    alone = ROUTER.route(topic.encode())
    assert ROUTER.route(b"!exact:" + topic.encode()) is alone
    assert ROUTER.route(b"!within:" + topic.encode()) is alone
    assert (alone is SubscriptionRoute.KEEP) == topic.startswith(("event:", "task:"))
