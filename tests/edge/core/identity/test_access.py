"""Permissions: role × pattern."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.identity.access import ROLES, Identity, may_receive, selectors
from relay.wire.topics import parse_pattern
from tests.relay.wire.strategies import topics

USER_PREFIXES = ("event:", "resource-monitor:")


def selected(role: str, pattern: str) -> list[str]:
    return [str(selector) for selector in selectors(role, parse_pattern(pattern))]


@pytest.mark.parametrize(
    ("pattern", "for_user"),
    [
        ("*", ["event:*", "resource-monitor:*"]),
        ("event:a", ["event:a"]),
        ("event:*", ["event:*"]),
        ("event:a*", ["event:a*"]),
        ("resource-monitor:a", ["resource-monitor:a"]),
        ("resource-monitor:*", ["resource-monitor:*"]),
        ("task:1", []),
        ("task:*", []),
        ("event*", []),
        ("e*", []),
        ("events:x", []),
        ("secret:x", []),
    ],
)
def test_what_a_pattern_selects_for_each_role(pattern: str, for_user: list[str]) -> None:
    assert selected("user", pattern) == for_user
    assert selected("admin", pattern) == [pattern]
    assert selected("unknown", pattern) == []
    assert selected("", pattern) == []


def test_the_roles() -> None:
    assert ROLES == ("user", "admin")


@given(topics, st.sampled_from(["*", "exact", "prefix"]), st.integers(0, 300))
def test_a_user_never_selects_a_topic_that_is_not_granted(
    topic: str, form: str, length: int
) -> None:
    pattern = {"*": "*", "exact": topic, "prefix": f"{topic[:length]}*"}[form]
    for selector in selectors("user", parse_pattern(pattern)):
        assert selector.prefix.startswith(USER_PREFIXES)
        if selector.matches(topic):
            assert topic.startswith(USER_PREFIXES)


@pytest.mark.parametrize("role", ["user", "admin", "unknown"])
def test_an_addressed_event_is_for_that_user_alone(role: str) -> None:
    alice = Identity("alice", role, 0)
    assert may_receive(alice, None)
    assert may_receive(alice, "alice")
    assert not may_receive(alice, "bob")
    assert not may_receive(alice, "")
