"""The newest value of each live topic."""

import pytest

from edge.core.streams.last_values import MAX_BYTES, MAX_TOPICS, LastValue, LastValues
from relay.wire.topics import parse_pattern


def value(relayed_at: int, frame: bytes = b"") -> LastValue:
    return LastValue(relayed_at, None, frame)


def found(values: LastValues, *patterns: str) -> list[str]:
    parsed = tuple(parse_pattern(pattern) for pattern in patterns)
    return [topic for topic, _ in values.matching(parsed)]


def test_what_arrives_replaces_what_is_known_whatever_the_clock_says() -> None:
    values = LastValues()
    values.keep("live:a", value(9, b"first"))
    values.keep("live:a", value(1, b"second"))
    assert list(values.matching((parse_pattern("live:a"),))) == [("live:a", value(1, b"second"))]


@pytest.mark.parametrize(("relayed_at", "is_news"), [(1, False), (5, False), (6, True)])
def test_what_the_relay_remembered_counts_only_if_it_is_newer(
    relayed_at: int, is_news: bool
) -> None:
    values = LastValues()
    assert values.keep_retained("live:a", value(5))
    assert values.keep_retained("live:a", value(relayed_at)) == is_news


def test_values_are_found_by_patterns_each_once() -> None:
    values = LastValues()
    for topic in ("live:a", "live:b", "other:a"):
        values.keep(topic, value(1))
    assert found(values, "live:*", "live:a") == ["live:a", "live:b"]
    assert found(values, "live:a", "live:a") == ["live:a"]
    assert found(values, "live:nothing") == []
    assert found(values, "*") == ["live:a", "live:b", "other:a"]


def test_values_that_nobody_wants_are_forgotten() -> None:
    values = LastValues()
    values.keep("live:a", value(9))
    values.keep("live:b", value(9))
    values.keep_only(lambda topic: topic == "live:b")
    assert found(values, "*") == ["live:b"]
    assert values.keep_retained("live:a", value(1)), "an older value is news again"


def test_values_are_bounded_by_count_and_bytes() -> None:
    values = LastValues()
    for number in range(MAX_TOPICS + 1):
        values.keep(f"live:{number}", value(1))
    assert len(values) == MAX_TOPICS
    assert found(values, "live:0") == []
    values.keep("live:big", value(1, bytes(MAX_BYTES)))
    assert found(values, "*")[-1:] == ["live:big"]
    values.keep("live:too-big", value(1, bytes(MAX_BYTES + 1)))
    assert found(values, "live:too-big") == []
