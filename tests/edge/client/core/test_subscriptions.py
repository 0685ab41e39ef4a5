"""Subscriptions by pattern: matching, backlogs, and sinks that share one."""

import pytest

from edge.client.core.errors import RequestRefused
from edge.client.core.messages import Event
from edge.client.core.subscriptions import RequestState, SubscriptionTable, topic_matches
from tests.edge.client.scripted import Recorder
from tests.relay.wire.vectors import vectors

PATTERNS = vectors("topics")["patterns"]["valid"]


def event(offset: int | None, topic: str = "event:a") -> Event:
    return Event(topic, {}, "event", topic.partition(":")[0], offset=offset)


@pytest.mark.parametrize("vector", PATTERNS, ids=lambda vector: vector["pattern"])
def test_a_pattern_of_the_vectors(vector: dict[str, str]) -> None:
    for topic in vector["matches"]:
        assert topic_matches(vector["pattern"], topic), topic
    for topic in vector["does_not_match"]:
        assert not topic_matches(vector["pattern"], topic), topic


def test_events_come_only_after_the_confirmation_and_live_values_at_once() -> None:
    table, sink = SubscriptionTable(), Recorder()
    subscription = table.add("event:*", sink, None)
    table.dispatch(event(1), is_repeat=False)
    table.dispatch(event(None), is_repeat=False)
    subscription.grant(has_streams=True)
    table.dispatch(event(2), is_repeat=False)
    table.dispatch(event(2), is_repeat=True)
    table.dispatch(event(3, "task:a"), is_repeat=False)
    assert sink.offsets == [None, 2]
    assert sink.confirmations == 1


def test_a_backlog_comes_with_the_confirmation_in_stream_order_and_each_once() -> None:
    table, sink = SubscriptionTable(), Recorder()
    subscription = table.add("*", sink, 5)
    subscription.requested(5)
    for offset, topic in [(3, "event:a"), (1, "event:a"), (2, "task:a"), (3, "event:a")]:
        table.dispatch(event(offset, topic), is_repeat=offset == 1)
    assert sink.events == []
    subscription.grant(has_streams=True)
    assert [(each.stream, each.offset) for each in sink.events] == [
        ("event", 1),
        ("event", 3),
        ("task", 2),
    ]
    assert subscription.last is None


@pytest.mark.parametrize("end", ["lost", "refused"])
def test_a_backlog_without_a_confirmation_is_given_up(end: str) -> None:
    table, sink = SubscriptionTable(), Recorder()
    subscription = table.add("*", sink, 5)
    subscription.requested(5)
    table.dispatch(event(1), is_repeat=False)
    if end == "lost":
        table.connection_lost()
        assert (subscription.state, subscription.last) == (RequestState.IDLE, 5)
    else:
        subscription.refuse(RequestRefused("forbidden", "no"))
        assert (subscription.state, subscription.is_confirmed) == (RequestState.REFUSED, False)
    subscription.grant(has_streams=True)
    assert sink.events == []


def test_sinks_of_one_pattern_share_a_subscription() -> None:
    table, first, second = SubscriptionTable(), Recorder(), Recorder()
    subscription = table.add("event:*", first, None)
    assert table.add("event:*", second, 9) is subscription
    assert subscription.last is None
    subscription.grant(has_streams=True)
    table.dispatch(event(1), is_repeat=False)
    assert (first.offsets, second.offsets) == ([1], [1])
    assert not table.remove(subscription, first)
    assert not table.remove(subscription, first)
    assert table.remove(subscription, second)
    assert list(table) == []


def test_an_ended_subscription_is_requested_again_after_a_new_token() -> None:
    table, sink = SubscriptionTable(), Recorder()
    subscription = table.add("event:*", sink, None)
    subscription.requested(None)
    error = RequestRefused("forbidden", "no", "event:*")
    assert table.ended("event:*", error)
    assert not table.ended("event:other", error)
    assert sink.errors == [error]
    table.retry_refused()
    assert subscription.state is RequestState.IDLE


def test_sinks_that_a_loss_concerns() -> None:
    table = SubscriptionTable()
    table.add("event:new", Recorder(), None)
    assert table.sinks_of(None) == []
    table = SubscriptionTable()
    events, values, wide = Recorder(), Recorder(), Recorder()
    table.add("event:a", events, None).grant(has_streams=True)
    table.add("resource-monitor:a", values, None).grant(has_streams=False)
    table.add("*", wide, None).grant(has_streams=True)
    assert table.sinks_of("event") == [events, wide]
    assert table.sinks_of("task") == [wide]
    assert table.sinks_of(None) == [events, wide]
