"""The events in a request to publish."""

import json
from typing import Any

import pytest

from edge.core.protocol.publications import (
    InvalidPublication,
    RequestedEvent,
    body_digest,
    parse_publications,
    with_key,
)
from relay.wire.topics import parse_topic

EVENT = {"topic": "event:a", "data": {"n": 1}}


def body(content: object) -> bytes:
    return json.dumps(content).encode()


def refused(content: object, most: int = 1000) -> tuple[int | None, str, str]:
    raw = content if isinstance(content, bytes) else body(content)
    with pytest.raises(InvalidPublication) as error:
        parse_publications(raw, most)
    return error.value.index, error.value.field, error.value.problem


def test_one_event_and_a_list_of_them() -> None:
    first = RequestedEvent(parse_topic("event:a"), {"n": 1})
    assert parse_publications(body(EVENT)) == [first]
    other = {"topic": "app_log", "data": None, "type": "mine", "username": "alice"}
    second = RequestedEvent(parse_topic("app_log"), None, "mine", "alice")
    assert parse_publications(body([EVENT, other])) == [first, second]
    assert parse_publications(body(EVENT | {"type": None, "username": None})) == [first]


@pytest.mark.parametrize(
    ("event", "field", "problem"),
    [
        ({"data": 1}, "topic", "is missing"),
        ({"topic": "event:a"}, "data", "is missing"),
        (EVENT | {"topic": None}, "topic", "must be text"),
        (EVENT | {"topic": 5}, "topic", "must be text"),
        (EVENT | {"type": 5}, "type", "must be text"),
        (EVENT | {"username": ["alice"]}, "username", "must be text"),
        (EVENT | {"topic": "Event:a"}, "topic", "is not a topic"),
        (EVENT | {"topic": "event:*"}, "topic", "'*' is allowed only"),
        (EVENT | {"topic": "addressed:a"}, "topic", "Event Relay itself uses"),
        (EVENT | {"user": "alice"}, "user", "is none of topic, data, type, username"),
        ("event:a", "", "an event is a JSON object"),
    ],
)
def test_a_wrong_event_is_named(event: Any, field: str, problem: str) -> None:
    found = refused([EVENT, event])
    assert found[:2] == (1, field)
    assert problem in found[2]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", [], [EVENT] * 4])
def test_a_wrong_body_is_refused_as_a_whole(content: object) -> None:
    assert refused(content, most=3)[:2] == (None, "")


def test_a_long_name_is_not_repeated_whole() -> None:
    assert len(refused(EVENT | {"x" * 10_000: 1})[1]) < 300


def test_a_key_makes_each_event_one_of_its_own() -> None:
    events = parse_publications(body([EVENT, EVENT]))
    keyed = with_key(events, ("alice", "key", "digest"))
    assert len({each.once for each in keyed}) == 2
    assert with_key(events, ("alice", "key", "digest")) == keyed
    others = [("bob", "key", "digest"), ("alice", "other", "digest"), ("alice", "key", "x")]
    others += [("alice3", "key", "digest"), ("alice", "3:key", "digest")]
    for other in others:
        assert not {each.once for each in with_key(events, other)} & {e.once for e in keyed}


def test_another_body_has_another_digest() -> None:
    assert body_digest(b"1") == body_digest(b"1") != body_digest(b"2")
