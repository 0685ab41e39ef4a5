"""Patterns, and the one place that says which events a peer may publish."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.peers import (
    EDGE_KINDS,
    MAX_NAME_CHARS,
    Patterns,
    PublishRights,
    is_peer_name,
)
from relay.wire.topics import Topic, addressed_topic, decode_topic, parse_topic, reserved_topic
from tests.relay.wire.strategies import topics

EVERYTHING = Patterns(["*"])
NOTHING = Patterns([])
parsed_topics = topics.map(parse_topic)


def topic(text: str) -> Topic:
    """As it comes to the relay."""
    return decode_topic(text.encode())


def rights(
    topics: tuple[str, ...] = ("*",),
    sources: tuple[str, ...] = ("*",),
    users: tuple[str, ...] = ("*",),
    *,
    is_edge: bool = False,
) -> PublishRights:
    return PublishRights(Patterns(topics), Patterns(sources), Patterns(users), is_edge)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("event:a", "event:a", True),
        ("event:a", "event:ab", False),
        ("event:a", "event:", False),
        ("event:a", "Event:a", False),
        ("event:a*", "event:ab", True),
        ("event:a*", "event:a", True),
        ("event:a*", "event:b", False),
        ("manager-1", "manager-10", False),
        ("manager-1*", "manager-10", True),
        ("*", "", True),
        ("*", "anything", True),
        ("a*b", "aXb", False),
        ("**", "x", False),
        (".*", "x", False),
        ("[a-z]", "x", False),
        ("?", "x", False),
    ],
)
def test_a_pattern_is_a_text_or_a_prefix(pattern: str, text: str, matches: bool) -> None:
    assert Patterns([pattern]).match(text) is matches
    assert Patterns(["other", pattern, "other-*"]).match(text) is matches


@given(st.text())
def test_without_patterns_nothing_is_allowed(text: str) -> None:
    assert not NOTHING.match(text)


def test_patterns_are_shown_once_in_their_order() -> None:
    assert Patterns(["b", "a*", "b"]).texts == ("b", "a*")


@given(parsed_topics)
def test_nothing_may_be_published_by_default(topic: Topic) -> None:
    assert rights(topics=()).refuses(topic, "manager-1", None) == "topic"


@given(parsed_topics, parsed_topics)
def test_an_exact_topic_allows_itself_alone(allowed: Topic, other: Topic) -> None:
    exact = rights(topics=(allowed.shown,))
    assert exact.refuses(allowed, "", None) == ""
    if other != allowed:
        assert exact.refuses(other, "", None) == "topic"


@given(parsed_topics, parsed_topics)
def test_a_kind_allows_all_its_topics_and_no_other_kind(allowed: Topic, other: Topic) -> None:
    whole = rights(topics=(f"{allowed.kind}:*",))
    assert whole.refuses(allowed, "", None) == ""
    assert whole.refuses(other, "", None) == ("" if other.kind == allowed.kind else "topic")


@given(parsed_topics.filter(lambda topic: len(topic.text) < 100), st.booleans())
def test_an_event_for_one_user_counts_as_one_on_its_own_topic(topic: Topic, allowed: bool) -> None:
    right = rights(topics=(topic.shown,) if allowed else ("other:x",))
    addressed = addressed_topic(topic)
    assert right.refuses(addressed, "", "alice") == right.refuses(topic, "", "alice")


@pytest.mark.parametrize(
    ("pattern", "text", "refused"),
    [
        ("app_log", "app_log:", ""),
        ("app_log:*", "app_log:", ""),
        ("app_log*", "app_log:", ""),
        ("app_log", "app_log:x", "topic"),
        ("app_log", "app_logs:", "topic"),
        ("app_log:*", "app_logs:", "topic"),
        ("app_log", "addressed:app_log:", ""),
        ("event:a", "event:a:", "topic"),
        ("event:a", "event:a::", "topic"),
        ("event:a:", "event:a", "topic"),
        ("event:a:", "event:a:", ""),
        ("addressed:*", "addressed:event:a", "topic"),
        ("event:a", "addressed:event:ab", "topic"),
        ("task:*", "task:1", ""),
        ("event:*", "task:event:a", "topic"),
    ],
)
def test_topics_that_look_alike(pattern: str, text: str, refused: str) -> None:
    assert rights(topics=(pattern,)).refuses(topic(text), "", None) == refused


@pytest.mark.parametrize("kind", sorted(EDGE_KINDS))
def test_edges_alone_publish_the_kinds_of_edges(kind: str) -> None:
    own = reserved_topic(kind, "room:5")
    for each in (own, Topic(f"addressed:{own.text}", "addressed")):
        assert rights().refuses(each, "", None) == "topic", "even with every right"
        assert rights((), (), (), is_edge=True).refuses(each, "x", "alice") == ""


def test_a_kind_that_begins_like_one_of_edges_is_none() -> None:
    for text in ("edgeful:x", "edge-states:x", "presences:", "event:edge"):
        assert rights().refuses(topic(text), "", None) == ""
        assert rights((), is_edge=True).refuses(topic(text), "", None) == "topic"


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("manager-1", ""),
        ("", ""),
        ("manager-10", "source"),
        ("manager-", "source"),
        ("Manager-1", "source"),
        ("manager-1 ", "source"),
        ("nightly-7", ""),
        ("nightly", "source"),
    ],
)
def test_a_source_is_one_of_the_peers_own_or_none(source: str, refused: str) -> None:
    right = rights(sources=("manager-1", "nightly-*"))
    assert right.refuses(topic("event:a"), source, None) == refused
    assert rights(sources=()).refuses(topic("event:a"), source, None) == (source and "source")


@pytest.mark.parametrize(
    ("user", "refused"),
    [(None, ""), ("alice", ""), ("alice2", "username"), ("", "username"), ("bob", "username")],
)
def test_a_user_is_one_of_those_that_are_listed(user: str | None, refused: str) -> None:
    assert rights(users=("alice",)).refuses(topic("task:1"), "", user) == refused
    assert rights(users=()).refuses(topic("task:1"), "", user) == (
        "" if user is None else "username"
    )


def test_the_first_wrong_field_is_named() -> None:
    nothing = rights((), (), ())
    assert nothing.refuses(topic("event:a"), "x", "alice") == "topic"
    assert rights(("*",), (), ()).refuses(topic("event:a"), "x", "alice") == "source"
    assert rights(("*",), ("*",), ()).refuses(topic("event:a"), "x", "alice") == "username"


@pytest.mark.parametrize(
    "name", ["a", "manager-1", "Edge_1", "10.0.0.7", "_", "x" * MAX_NAME_CHARS]
)
def test_a_name_may_be_that_of_a_file(name: str) -> None:
    assert is_peer_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", ".key", "a b", "a/b", "a*", "*", "a\n", "é", "x" * (MAX_NAME_CHARS + 1)]
)
def test_other_names_are_none(name: str) -> None:
    assert not is_peer_name(name)
