"""What an edge subscribes to at the relay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.hub.relay_subscriptions import selector_prefixes, stream_prefixes
from relay.wire.topics import parse_pattern
from tests.relay.wire.strategies import topics

prefix_sets = st.lists(
    st.sampled_from(["", "event:", "event:a", "e", "task:", "resource-monitor:", "mine:x"]),
    min_size=1,
    max_size=3,
    unique=True,
).map(tuple)


@pytest.mark.parametrize(
    ("pattern", "served", "expected"),
    [
        ("live:a", ("",), [b"!exact:live:a", b"live:a"]),
        ("live:a*", ("",), [b"!within:live:a", b"live:a"]),
        ("*", ("",), [b"!within:", b""]),
        ("live:a", ("event:",), []),
        ("live:*", ("live:a",), [b"!within:live:a", b"live:a"]),
        ("live:a", ("live:ab",), []),
        ("*", ("live:", "event:"), [b"!within:live:", b"live:", b"!within:event:", b"event:"]),
        ("live:ü", ("",), ["!exact:live:ü".encode(), "live:ü".encode()]),
    ],
)
def test_the_subscriptions_for_a_selector(
    pattern: str, served: tuple[str, ...], expected: list[bytes]
) -> None:
    assert list(selector_prefixes(parse_pattern(pattern), served)) == expected


@given(topics, st.integers(0, 20), st.booleans(), prefix_sets)
def test_a_selected_topic_is_subscribed_exactly_if_it_is_served(
    topic: str, length: int, exact: bool, served: tuple[str, ...]
) -> None:
    pattern = parse_pattern(topic if exact else f"{topic[:length]}*")
    wanted = selector_prefixes(pattern, served)
    is_served = topic.startswith(served)
    assert any(topic.encode().startswith(item) for item in wanted) == is_served


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (("",), {b"event:", b"task:"}),
        (("event:",), {b"event:"}),
        (("ev",), {b"event:"}),
        (("event:a", "event:b"), {b"event:"}),
        (("event:a", "task:1"), {b"event:", b"task:"}),
        (("resource-monitor:",), set()),
        (("events:",), set()),
    ],
)
def test_the_subscriptions_for_the_streams(served: tuple[str, ...], expected: set[bytes]) -> None:
    assert stream_prefixes(("event", "task"), served) == expected


@given(topics, prefix_sets)
def test_a_stream_is_subscribed_whole_exactly_if_a_part_of_it_may_be_served(
    topic: str, served: tuple[str, ...]
) -> None:
    kind = f"{topic.partition(':')[0]}:"
    wanted = stream_prefixes((kind[:-1],), served)
    assert wanted <= {kind.encode()}
    if topic.startswith(served):
        assert wanted == {kind.encode()}
    if not any(prefix.startswith(kind) or kind.startswith(prefix) for prefix in served):
        assert wanted == frozenset()
