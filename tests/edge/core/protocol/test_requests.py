"""The requests of a client, parsed from its messages and its handshake."""

from typing import Any

import pytest
from hypothesis import given

from edge.core.protocol.requests import (
    InvalidRequest,
    PersonalPosition,
    Subscribe,
    parse_personal_position,
    parse_subscribe,
)
from relay.wire.topics import parse_pattern
from tests.relay.wire.strategies import json_values

PATTERN = parse_pattern("event:*")
MAX = 2**64 - 1


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        ({}, Subscribe(PATTERN)),
        ({"id": 5, "epoch": "ignored"}, Subscribe(PATTERN, 5)),
        ({"since": None, "last": None}, Subscribe(PATTERN)),
        ({"since": {}, "epoch": 0}, Subscribe(PATTERN, since={}, epoch=0)),
        (
            {"since": {"event": 0, "task": MAX}, "epoch": MAX},
            Subscribe(PATTERN, since={"event": 0, "task": MAX}, epoch=MAX),
        ),
        ({"last": 1}, Subscribe(PATTERN, last=1)),
        ({"last": 1000}, Subscribe(PATTERN, last=1000)),
    ],
)
def test_requests_that_make_sense(message: dict[str, Any], request_: Subscribe) -> None:
    assert parse_subscribe(message, PATTERN) == request_


SINCE = "since must map streams to offsets."
EPOCH = "since needs the epoch."
LAST = "last must be a number from 1 to 1000."
BOTH = "since and last exclude each other."


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"since": 5, "epoch": 1}, SINCE),
        ({"since": [], "epoch": 1}, SINCE),
        ({"since": {"event": "5"}, "epoch": 1}, SINCE),
        ({"since": {"event": True}, "epoch": 1}, SINCE),
        ({"since": {"event": 1.0}, "epoch": 1}, SINCE),
        ({"since": {"event": -1}, "epoch": 1}, SINCE),
        ({"since": {"event": MAX + 1}, "epoch": 1}, SINCE),
        ({"since": {"event": 1}}, EPOCH),
        ({"since": {"event": 1}, "epoch": None}, EPOCH),
        ({"since": {"event": 1}, "epoch": "1"}, EPOCH),
        ({"last": 0}, LAST),
        ({"last": 1001}, LAST),
        ({"last": "5"}, LAST),
        ({"last": True}, LAST),
        ({"last": 5.0}, LAST),
        ({"last": 5, "since": {"event": 1}, "epoch": 1}, BOTH),
    ],
)
def test_requests_that_make_none(message: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_subscribe(message, PATTERN)
    assert str(refused.value) == text


@given(json_values, json_values, json_values)
def test_anything_is_read_or_refused(since: Any, epoch: Any, last: Any) -> None:
    text = ""
    try:
        parse_subscribe({"since": since, "epoch": epoch, "last": last}, PATTERN)
    except InvalidRequest as error:
        text = str(error)
    assert text in ("", SINCE, EPOCH, LAST, BOTH)


@pytest.mark.parametrize(
    ("query", "position"),
    [
        ({}, None),
        ({"epoch": "5"}, None),
        ({"epoch": "5", "task": "77"}, PersonalPosition(5, {"task": 77})),
        ({"epoch": str(MAX), "task": "0"}, PersonalPosition(MAX, {"task": 0})),
    ],
)
def test_a_task_position_in_the_query(
    query: dict[str, str], position: PersonalPosition | None
) -> None:
    assert parse_personal_position(query) == position


@pytest.mark.parametrize(
    "query",
    [
        {"task": "1"},
        {"epoch": "", "task": "1"},
        {"epoch": "1", "task": ""},
        {"epoch": "1", "task": "-1"},
        {"epoch": "1", "task": "1.5"},
        {"epoch": "x"},
        {"epoch": "1", "task": str(MAX + 1)},
        {"epoch": "1", "task": "١"},
        {"epoch": "1", "task": "9" * 5000},
        {"epoch": "1", "task": "1".zfill(21)},
    ],
)
def test_a_task_position_that_makes_no_sense(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        parse_personal_position(query)
