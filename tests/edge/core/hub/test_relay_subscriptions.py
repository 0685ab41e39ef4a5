"""The subscriptions of an edge at the relay."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.hub.relay_subscriptions import (
    WorkerSubscriptions,
    served_parts,
    stream_prefixes,
)
from relay.shared.covering_prefixes import MAX_PREFIXES
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
        ("live:a", ("",), ["live:a"]),
        ("live:a*", ("",), ["live:a*"]),
        ("*", ("",), ["*"]),
        ("live:a", ("event:",), []),
        ("live:*", ("live:a",), ["live:a*"]),
        ("live:a", ("live:ab",), []),
        ("*", ("live:", "event:"), ["live:*", "event:*"]),
    ],
)
def test_the_served_parts_of_a_selector(
    pattern: str, served: tuple[str, ...], expected: list[str]
) -> None:
    assert list(map(str, served_parts(parse_pattern(pattern), served))) == expected


@given(topics, st.integers(0, 20), st.booleans(), prefix_sets)
def test_a_selected_topic_is_subscribed_exactly_if_it_is_served(
    topic: str, length: int, exact: bool, served: tuple[str, ...]
) -> None:
    pattern = parse_pattern(topic if exact else f"{topic[:length]}*")
    parts = served_parts(pattern, served)
    assert any(part.matches(topic) for part in parts) == topic.startswith(served)


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


class RecordingDemand:
    """Holds the topics that the relay is told."""

    def __init__(self) -> None:
        self.is_complete = True
        self.topics: set[str] = set()

    def watch(self, topic: str) -> None:
        """Note."""
        self.topics.add(topic)

    def unwatch(self, topic: str) -> None:
        """Forget."""
        self.topics.discard(topic)


class Subscribed:
    """An edge's subscriptions and requests."""

    def __init__(self, served: tuple[str, ...] = ("",)) -> None:
        self.socket = RecordingSocket()
        self.demand = RecordingDemand()
        self.asked: list[str] = []
        """The selectors whose last values are requested."""
        self.subscriptions = WorkerSubscriptions(self.socket, self.demand, self, served)

    def request_last_values(self, selector: Pattern, username: str) -> None:
        """Note."""
        assert username == "alice"
        self.asked.append(str(selector))

    def forget_last_values(self, selector: Pattern) -> None:
        """Forget."""
        self.asked.remove(str(selector))

    @property
    def prefixes(self) -> set[bytes]:
        """The present subscriptions."""
        return set(+self.socket.prefixes)


def test_before_the_relay_is_known_the_streams_that_always_exist_are_subscribed_to() -> None:
    assert Subscribed().prefixes == {b"event:", b"task:", b"addressed:", b"revocation:"}


def test_streams_are_subscribed_to_as_the_relay_names_them() -> None:
    edge = Subscribed()
    assert edge.subscriptions.follow_streams(["event", "task", "addressed", "revocation"]) is True
    assert edge.subscriptions.follow_streams(["event", "audit"]) is False
    assert edge.prefixes == {b"event:", b"audit:"}
    assert edge.subscriptions.follow_streams(["event", "audit"]) is True


def test_the_first_client_of_a_live_topic_makes_the_edge_ask_for_its_last_value() -> None:
    edge = Subscribed()
    for text in ("live:a", "event:a", "event:*", "*", "e*", "events:a"):
        edge.subscriptions.wanted(parse_pattern(text), "alice")
    assert edge.asked == ["live:a", "*", "e*", "events:a"], "a stream has no last values"


def test_a_request_for_last_values_ends_with_the_last_client() -> None:
    edge = Subscribed()
    for text in ("live:a", "event:a", "*"):
        edge.subscriptions.wanted(parse_pattern(text), "alice")
    for text in ("event:a", "live:a"):
        edge.subscriptions.unwanted(parse_pattern(text))
    assert edge.asked == ["*"]


def test_a_topic_is_subscribed_to_with_its_hint_and_a_prefix_plainly() -> None:
    edge = Subscribed()
    before = edge.prefixes
    exact, prefix = parse_pattern("live:ü"), parse_pattern("live:a*")
    edge.subscriptions.wanted(exact, "alice")
    edge.subscriptions.wanted(prefix, "alice")
    assert edge.prefixes - before == {"!filtered:live:ü".encode(), "live:ü".encode(), b"live:a"}
    assert edge.demand.topics == {"live:ü"}
    edge.subscriptions.unwanted(exact)
    assert edge.prefixes - before == {b"live:a"}
    assert edge.demand.topics == set()
    edge.subscriptions.unwanted(prefix)
    assert edge.prefixes == before


def test_many_topics_take_few_subscriptions() -> None:
    edge = Subscribed()
    before = edge.prefixes
    selectors = [parse_pattern(f"live:{number}") for number in range(10 * MAX_PREFIXES)]
    for selector in selectors:
        edge.subscriptions.wanted(selector, "alice")
    assert edge.prefixes - before == {b"!filtered:live:", b"live:"}
    assert len(edge.demand.topics) == 10 * MAX_PREFIXES
    for selector in selectors:
        edge.subscriptions.unwanted(selector)
    assert edge.prefixes == before
    assert not edge.demand.topics


def test_selectors_within_a_stream_need_neither_subscription_nor_demand() -> None:
    edge = Subscribed()
    before = edge.prefixes
    for text in ("event:a", "event:*", "task:1"):
        edge.subscriptions.wanted(parse_pattern(text), "alice")
    assert (edge.prefixes, edge.demand.topics) == (before, set())


def test_a_kind_that_turns_out_to_be_live_or_a_stream_is_subscribed_to_as_such() -> None:
    edge = Subscribed()
    edge.subscriptions.wanted(parse_pattern("task:1"), "alice")
    edge.subscriptions.wanted(parse_pattern("audit:a"), "alice")
    assert edge.demand.topics == {"audit:a"}
    edge.subscriptions.follow_streams(["event", "audit"])
    assert edge.prefixes == {b"event:", b"audit:", b"!filtered:task:1", b"task:1"}
    assert edge.demand.topics == {"task:1"}


def test_a_topic_that_nobody_watches_any_more_stays_forgotten_with_other_streams() -> None:
    edge = Subscribed()
    edge.subscriptions.wanted(parse_pattern("live:a"), "alice")
    edge.subscriptions.unwanted(parse_pattern("live:a"))
    edge.subscriptions.follow_streams(["event", "audit"])
    assert edge.prefixes == {b"event:", b"audit:"}
    assert edge.demand.topics == set()


def test_the_live_selectors_are_those_of_the_clients_or_few_that_cover_them() -> None:
    edge = Subscribed()
    for text in ("live:ü", "live:a*", "event:a", "task:*"):
        edge.subscriptions.wanted(parse_pattern(text), "alice")
    assert set(map(str, edge.subscriptions.live_selectors)) == {"live:ü", "live:a*"}
    for number in range(10 * MAX_PREFIXES):
        edge.subscriptions.wanted(parse_pattern(f"live:{number}"), "alice")
    assert set(map(str, edge.subscriptions.live_selectors)) == {"live:a*", "live:*"}


def test_without_a_demand_topics_are_subscribed_to_plainly() -> None:
    edge = Subscribed()
    edge.subscriptions.wanted(parse_pattern("live:a"), "alice")
    edge.demand.is_complete = False
    edge.subscriptions.refresh()
    assert edge.prefixes == {b"event:", b"task:", b"addressed:", b"revocation:", b"live:a"}
    edge.demand.is_complete = True
    edge.subscriptions.refresh()
    assert b"!filtered:live:a" in edge.prefixes


def test_an_edge_does_not_subscribe_to_topics_that_it_does_not_serve() -> None:
    edge = Subscribed(("event:",))
    edge.subscriptions.wanted(parse_pattern("live:a"), "alice")
    assert edge.prefixes == {b"event:", b"addressed:", b"revocation:"}, "those two concern all"
    assert edge.demand.topics == set()


def test_no_last_values_are_requested_of_topics_that_are_not_served() -> None:
    edge = Subscribed(("event:", "live:a"))
    for text in ("live:b", "live:b*", "mine:x", "event:a"):
        edge.subscriptions.wanted(parse_pattern(text), "alice")
        assert edge.asked == []
        edge.subscriptions.unwanted(parse_pattern(text))
    edge.subscriptions.wanted(parse_pattern("live:*"), "alice")
    assert edge.asked == ["live:*"]
