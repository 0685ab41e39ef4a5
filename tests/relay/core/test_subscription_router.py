"""The routes of subscriptions, by their prefix, and the relay's own at the emitters."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import subscription_router
from relay.core.subscription_router import (
    CHANGE_INTERVAL_S,
    LiveSubscriptions,
    SubscriptionRoute,
    SubscriptionRouter,
)
from relay.shared.covering_prefixes import MAX_PREFIXES
from relay.wire.topics import MAX_TOPIC_BYTES
from tests.relay.wire.strategies import topics

ROUTER = SubscriptionRouter(("event", "task"))


@pytest.mark.parametrize(
    ("prefix", "route"),
    [
        (b"resource-monitor:survival", SubscriptionRoute.FORWARD),
        (b"resource-monitor:", SubscriptionRoute.FORWARD),
        (b"!filtered:resource-monitor:survival", SubscriptionRoute.FORWARD),
        (b"!filtered:", SubscriptionRoute.FORWARD),
        (b"", SubscriptionRoute.FORWARD),
        (b"e", SubscriptionRoute.FORWARD),
        (b"events:x", SubscriptionRoute.FORWARD),
        (b"event:", SubscriptionRoute.KEEP),
        (b"event:after_backup", SubscriptionRoute.KEEP),
        (b"task:", SubscriptionRoute.KEEP),
        (b"!filtered:event:after_backup", SubscriptionRoute.KEEP),
        (b"!heartbeat", SubscriptionRoute.KEEP),
        (b"!", SubscriptionRoute.KEEP),
        (b"!sync:5f3a", SubscriptionRoute.ANSWER),
        (b"x" * MAX_TOPIC_BYTES, SubscriptionRoute.FORWARD),
        (b"!filtered:" + b"x" * MAX_TOPIC_BYTES, SubscriptionRoute.FORWARD),
        (b"x" * (MAX_TOPIC_BYTES + 1), SubscriptionRoute.KEEP),
        (b"!filtered:" + b"x" * (MAX_TOPIC_BYTES + 1), SubscriptionRoute.KEEP),
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
    assert ROUTER.route(b"!filtered:" + topic.encode()) is alone
    assert (alone is SubscriptionRoute.KEEP) == topic.startswith(("event:", "task:"))


HINT = b"!filtered:"


class Subscribers:
    """Subscribers of a relay, and its subscriptions at the emitters."""

    def __init__(self) -> None:
        self.live = LiveSubscriptions()
        self.now = 0.0
        self.made: set[bytes] = set()

    def change(self, *prefixes: bytes, is_made: bool = True) -> None:
        for prefix in prefixes:
            self.live.take(prefix, is_made=is_made)
        self.now += CHANGE_INTERVAL_S
        for is_now_made, prefix in self.live.take_changes(self.now):
            assert (prefix in self.made) is not is_now_made
            (self.made.add if is_now_made else self.made.remove)(prefix)


def test_a_filtered_subscription_is_passed_on_with_its_hint() -> None:
    subscribers = Subscribers()
    subscribers.change(HINT + b"live:a", b"live:a")
    assert subscribers.made == {HINT + b"live:a", b"live:a"}
    subscribers.change(b"live:a", HINT + b"live:a", is_made=False)
    assert subscribers.made == set()


def test_a_plain_subscriber_of_a_filtered_prefix_means_every_topic() -> None:
    subscribers = Subscribers()
    subscribers.change(HINT + b"live:", b"live:")
    subscribers.change(b"live:")
    assert subscribers.made == {b"live:"}
    subscribers.change(b"live:", is_made=False)
    assert subscribers.made == {HINT + b"live:", b"live:"}


def test_an_edge_that_is_killed_leaves_the_subscriptions_of_another_one() -> None:
    subscribers = Subscribers()
    for _ in range(2):
        subscribers.change(HINT + b"live:a", b"live:a")
    # libzmq ends them in the order of their bytes.
    subscribers.change(HINT + b"live:a", b"live:a", is_made=False)
    assert subscribers.made == {HINT + b"live:a", b"live:a"}


def test_many_subscribers_make_few_subscriptions_at_the_emitters() -> None:
    subscribers = Subscribers()
    topics = [b"live:%d" % number for number in range(MAX_PREFIXES + 1)]
    for topic in topics:
        subscribers.change(HINT + topic, topic)
    assert subscribers.made == {HINT + b"live:", b"live:"}
    subscribers.change(*topics[:-1], is_made=False)
    assert topics[-1] in subscribers.made


def test_the_first_change_is_made_at_once_and_later_ones_together() -> None:
    live = LiveSubscriptions()
    assert live.due_at() == math.inf
    live.take(b"live:a", is_made=True)
    assert live.due_at() <= 0.0
    assert live.take_changes(5.0) == [(True, b"live:a")]
    for _ in range(76):
        live.take(b"live:a", is_made=False)
        live.take(b"live:a", is_made=True)
        live.take(b"live:b", is_made=True)
        live.take(b"live:b", is_made=False)
    live.take(b"live:c", is_made=True)
    assert live.take_changes(5.0 + CHANGE_INTERVAL_S / 2) == []
    assert live.due_at() == 5.0 + CHANGE_INTERVAL_S
    assert live.take_changes(5.0 + CHANGE_INTERVAL_S) == [(True, b"live:c")]
    assert live.due_at() == math.inf


def test_subscriptions_that_came_and_went_hold_no_other_back() -> None:
    live = LiveSubscriptions()
    live.take(b"live:stays", is_made=True)
    for number in range(20):
        live.take(b"live:%d" % number, is_made=True)
        live.take(b"live:%d" % number, is_made=False)
    assert live.take_changes(0.0) == [(True, b"live:stays")]


def test_of_very_many_changes_each_call_works_out_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_router, "MAX_CHANGED_AT_ONCE", 2)
    live = LiveSubscriptions()
    for number in range(5):
        live.take(b"live:%d" % number, is_made=True)
    assert live.take_changes(0.0) == live.take_changes(0.0) == []
    assert live.due_at() <= 0.0, "the next turn of the loop goes on"
    changes = live.take_changes(0.0)
    assert set(changes) == {(True, b"live:%d" % number) for number in range(5)}
    assert live.due_at() == math.inf


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from([b"", b"live:", b"live:a", b"live:ab", b"x:1"]),
            st.booleans(),
        )
    )
)
def test_a_prefix_is_plain_at_the_emitters_exactly_if_a_subscriber_has_no_hint(
    steps: list[tuple[int, bytes, bool]],
) -> None:
    subscribers = Subscribers()
    held: Counter[tuple[bytes, bool]] = Counter()
    for _, prefix, is_filtered in steps:
        pair = (HINT + prefix, prefix) if is_filtered else (prefix,)
        is_made = not held[prefix, is_filtered]
        subscribers.change(*(pair if is_made else reversed(pair)), is_made=is_made)
        held[prefix, is_filtered] = int(is_made)
        present = {each for (each, _), count in held.items() if count}
        plain = {each for (each, hinted), count in held.items() if count and not hinted}
        assert {each for each in subscribers.made if not each.startswith(HINT)} == present
        assert {each for each in present if HINT + each not in subscribers.made} == plain
