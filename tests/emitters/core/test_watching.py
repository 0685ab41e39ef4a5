"""Who is watching a live topic, told from ZeroMQ subscriptions and the hints beside them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emitters.core.watching import is_watched
from relay.shared.prefix_index import PrefixIndex
from relay.wire.topics import Pattern, parse_pattern

TOPIC = b"resource-monitor:a"


def subscribed(*prefixes: bytes) -> PrefixIndex[bytes, None]:
    subscriptions = PrefixIndex[bytes, None]()
    for prefix in prefixes:
        subscriptions.set(prefix, None)
    return subscriptions


@pytest.mark.parametrize(
    ("prefixes", "watched"),
    [
        ([], False),
        ([b"resource-monitor:b"], False),
        ([b"!exact:" + TOPIC], False),
        ([TOPIC, b"!exact:" + TOPIC], True),
        ([b"resource-monitor:", b"!within:resource-monitor:"], True),
        ([b"", b"!within:"], True),
        ([b"resource-monitor:", b"!exact:resource-monitor:"], False),
        ([b"", b"!exact:"], False),
        ([b"resource-monitor:"], True),
        ([b""], True),
        ([b"r", b"!exact:r", b"!within:r"], True),
        ([TOPIC + b"b", b"!exact:" + TOPIC + b"b"], False),
    ],
)
def test_subscriptions_say_whether_a_topic_is_watched(prefixes: list[bytes], watched: bool) -> None:
    assert is_watched(TOPIC, subscribed(*prefixes)) is watched


def test_an_exact_subscription_to_a_shorter_name_is_not_for_the_longer() -> None:
    subscriptions = subscribed(TOPIC, b"!exact:" + TOPIC)
    assert is_watched(TOPIC, subscriptions)
    assert not is_watched(TOPIC + b"b", subscriptions)


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
    assert is_watched(topic.encode(), subscriptions) == any(p.matches(topic) for p in patterns)
