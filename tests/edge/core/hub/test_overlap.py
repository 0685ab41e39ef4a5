"""A selector concerns a kind if, and only if, some topic of that kind matches it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.hub.overlap import concerns, may_overlap
from relay.wire.topics import Pattern, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "kinds"),
    [
        ("event:a", ["event"]),
        ("event:a*", ["event"]),
        ("e*", ["event"]),
        ("event*", ["event"]),
        ("*", ["event", "task"]),
        ("events:a", []),
        ("events*", []),
    ],
)
def test_the_kinds_that_a_pattern_concerns(pattern: str, kinds: list[str]) -> None:
    assert [kind for kind in ("event", "task") if concerns(parse_pattern(pattern), kind)] == kinds


letters = st.text("ab:", max_size=4)


@given(letters, st.booleans(), st.text("ab", min_size=1, max_size=2), letters)
def test_a_matching_topic_is_always_concerned(
    prefix: str, exact: bool, kind: str, rest: str
) -> None:
    selector = Pattern(prefix, exact)
    if selector.matches(f"{kind}:{rest}"):
        assert concerns(selector, kind)


@given(letters, letters)
def test_two_prefixes_overlap_if_a_topic_starts_with_both(prefix: str, other: str) -> None:
    longer = max(prefix, other, key=len)
    assert may_overlap(prefix, other) == (longer.startswith(prefix) and longer.startswith(other))
    assert may_overlap(prefix, other) == may_overlap(other, prefix)
