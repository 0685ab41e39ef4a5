"""ZeroMQ subscriptions and the hints beside them show whether a live topic is watched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emitters.core.received_subscriptions import (
    MAX_PREFIX_BYTES,
    MAX_SUBSCRIPTIONS,
    RESERVED_FOR_KINDS,
    ReceivedSubscriptions,
)
from relay.wire.topics import Pattern, parse_pattern

TOPIC = "resource-monitor:a"
ENCODED = TOPIC.encode()


def subscribed(*prefixes: bytes) -> ReceivedSubscriptions:
    subscriptions = ReceivedSubscriptions()
    for prefix in prefixes:
        subscriptions.change(b"\x01" + prefix)
    return subscriptions


@pytest.mark.parametrize(
    ("prefixes", "watched"),
    [
        ([], False),
        ([b"resource-monitor:b"], False),
        ([b"!exact:" + ENCODED], False),
        ([ENCODED, b"!exact:" + ENCODED], True),
        ([b"resource-monitor:", b"!within:resource-monitor:"], True),
        ([b"", b"!within:"], True),
        ([b"resource-monitor:", b"!exact:resource-monitor:"], False),
        ([b"", b"!exact:"], False),
        ([b"resource-monitor:"], True),
        ([b""], True),
        ([b"r", b"!exact:r", b"!within:r"], True),
        ([ENCODED + b"b", b"!exact:" + ENCODED + b"b"], False),
    ],
)
def test_subscriptions_say_whether_a_topic_is_watched(prefixes: list[bytes], watched: bool) -> None:
    assert subscribed(*prefixes).is_watched(TOPIC) is watched


def test_an_exact_subscription_to_a_shorter_name_is_not_for_the_longer() -> None:
    subscriptions = subscribed(ENCODED, b"!exact:" + ENCODED)
    assert subscriptions.is_watched(TOPIC)
    assert not subscriptions.is_watched(TOPIC + "b")


def subscriptions_of(pattern: Pattern) -> tuple[bytes, bytes]:
    prefix = pattern.prefix.encode()
    return prefix, (b"!exact:" if pattern.exact else b"!within:") + prefix


@given(
    st.lists(st.text("ab", max_size=3).map("live:{}".format), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.text("ab", min_size=1, max_size=4).map("live:{}".format),
)
def test_a_topic_is_watched_exactly_if_a_selector_of_an_edge_matches(
    names: list[str], exact: list[bool], topic: str
) -> None:
    patterns = [
        parse_pattern(name if is_exact and name != "live:" else f"{name}*")
        for name, is_exact in zip(names, exact, strict=False)
    ]
    subscriptions = subscribed(*(item for p in patterns for item in subscriptions_of(p)))
    assert subscriptions.is_watched(topic) == any(p.matches(topic) for p in patterns)


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
