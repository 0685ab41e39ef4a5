"""The subscriptions of an edge at the relay."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.hub.relay_subscriptions import (
    WorkerSubscriptions,
    selector_prefixes,
    stream_prefixes,
)
from relay.wire.topics import Pattern, parse_pattern
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


class RecordingSocket:
    """Counts the subscriptions of each prefix, as ZeroMQ does."""

    def __init__(self) -> None:
        self.prefixes: Counter[bytes] = Counter()

    def subscribe(self, prefix: bytes) -> None:
        """Count."""
        self.prefixes[prefix] += 1

    def unsubscribe(self, prefix: bytes) -> None:
        """Count; there must be one."""
        assert self.prefixes[prefix] > 0
        self.prefixes[prefix] -= 1


class Subscribed:
    """An edge's subscriptions and requests."""

    def __init__(self, served: tuple[str, ...] = ("",)) -> None:
        self.socket = RecordingSocket()
        self.asked: list[str] = []
        self.forgotten: list[str] = []
        self.subscriptions = WorkerSubscriptions(self.socket, self, served)

    def request_last_values(self, selector: Pattern, username: str) -> None:
        """Remember."""
        assert username == "alice"
        self.asked.append(str(selector))

    def forget_last_values(self, selector: Pattern) -> None:
        """Remember."""
        self.forgotten.append(str(selector))

    @property
    def prefixes(self) -> set[bytes]:
        """The present subscriptions."""
        return set(+self.socket.prefixes)


def test_before_the_relay_is_known_the_streams_that_always_exist_are_subscribed_to() -> None:
    assert Subscribed().prefixes == {b"event:", b"task:"}


def test_streams_are_subscribed_to_as_the_relay_names_them() -> None:
    edge = Subscribed()
    assert edge.subscriptions.follow_streams(["event", "task"])
    assert not edge.subscriptions.follow_streams(["event", "audit"])
    assert edge.prefixes == {b"event:", b"audit:"}
    assert edge.subscriptions.follow_streams(["event", "audit"])


def test_the_first_client_of_a_live_topic_makes_the_edge_ask_for_its_last_value() -> None:
    edge = Subscribed()
    for text in ("live:a", "event:a", "event:*", "*", "e*", "events:a"):
        edge.subscriptions.wanted(parse_pattern(text), "alice")
    assert edge.asked == ["live:a", "*", "e*", "events:a"], "a stream has no last values"


def test_a_selector_that_ends_leaves_those_with_the_same_prefix() -> None:
    edge = Subscribed()
    before = edge.prefixes
    exact, prefix = parse_pattern("live:a"), parse_pattern("live:a*")
    edge.subscriptions.wanted(exact, "alice")
    edge.subscriptions.wanted(prefix, "alice")
    edge.subscriptions.unwanted(exact)
    assert edge.prefixes == before | {b"live:a", b"!within:live:a"}
    assert edge.forgotten == ["live:a"], "nobody waits for its last value any more"
    edge.subscriptions.unwanted(prefix)
    assert edge.prefixes == before


def test_an_edge_does_not_subscribe_to_topics_that_it_does_not_serve() -> None:
    edge = Subscribed(("event:",))
    edge.subscriptions.wanted(parse_pattern("live:a"), "alice")
    assert edge.prefixes == {b"event:"}
