"""ZeroMQ subscriptions, their hints and the demand show whether a live topic is watched."""

import pytest

from emitters.core.received_subscriptions import (
    MAX_PREFIX_BYTES,
    MAX_SUBSCRIPTIONS,
    RESERVED_FOR_KINDS,
    ReceivedSubscriptions,
)
from relay.wire.demand import FILTERED_PREFIX

TOPIC = "resource-monitor:a"
ENCODED = TOPIC.encode()
HINT = FILTERED_PREFIX


def subscribed(*prefixes: bytes) -> ReceivedSubscriptions:
    subscriptions = ReceivedSubscriptions()
    for prefix in prefixes:
        subscriptions.change(b"\x01" + prefix)
    return subscriptions


@pytest.mark.parametrize(
    ("prefixes", "named", "watched"),
    [
        ([], True, False),
        ([b"resource-monitor:b"], True, False),
        ([HINT + ENCODED], True, False),
        ([ENCODED], False, True),
        ([b"resource-monitor:"], False, True),
        ([b""], False, True),
        ([ENCODED, HINT + ENCODED], True, True),
        ([ENCODED, HINT + ENCODED], False, False),
        ([b"resource-monitor:", HINT + b"resource-monitor:"], True, True),
        ([b"resource-monitor:", HINT + b"resource-monitor:"], False, False),
        ([b"resource-monitor:", HINT + b"resource-monitor:", ENCODED], False, True),
        ([b"", HINT], False, False),
        ([b"", HINT, b"resource-monitor:"], False, True),
        ([ENCODED + b"b", HINT + ENCODED + b"b"], True, False),
    ],
)
def test_subscriptions_and_demand_say_together_whether_a_topic_is_watched(
    prefixes: list[bytes], named: bool, watched: bool
) -> None:
    assert subscribed(*prefixes).is_watched(TOPIC, lambda _: named) is watched


def test_the_demand_is_asked_only_if_it_decides() -> None:
    asked: list[str] = []

    def is_named(topic: str) -> bool:
        asked.append(topic)
        return True

    assert not subscribed(b"event:", b"task:").is_watched(TOPIC, is_named)
    assert subscribed(ENCODED).is_watched(TOPIC, is_named)
    assert asked == []
    assert subscribed(ENCODED, HINT + ENCODED).is_watched(TOPIC, is_named)
    assert asked == [TOPIC]


def test_a_relay_cannot_fill_the_memory_with_subscriptions(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subscriptions = ReceivedSubscriptions()
    for number in range(MAX_SUBSCRIPTIONS + 10):
        subscriptions.change(b"\x01live:%d" % number)
    assert len(subscriptions) == MAX_SUBSCRIPTIONS
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    subscriptions.change(b"\x01event:")
    assert subscriptions.include_kinds(frozenset({"event"})), "the path still opens"
    for number in range(RESERVED_FOR_KINDS + 10):
        subscriptions.change(b"\x01kind-%d:" % number)
    assert len(subscriptions) == MAX_SUBSCRIPTIONS + RESERVED_FOR_KINDS


def test_a_prefix_longer_than_any_topic_is_ignored() -> None:
    subscriptions = subscribed(b"x" * 1024 * 1024, b"y" * (MAX_PREFIX_BYTES + 1))
    assert len(subscriptions) == 0
    assert len(subscribed(b"x" * MAX_PREFIX_BYTES)) == 1
