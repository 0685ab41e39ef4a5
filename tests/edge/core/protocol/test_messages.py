"""The JSON that browsers get."""

import json
from typing import Any

import pytest

from edge.core.protocol.messages import event, frame, gap, position, retained
from edge.core.websocket.frames import frame_payload
from relay.wire.envelope import Envelope
from relay.wire.topics import decode_topic, parse_topic
from tests.relay.wire.vectors import case_name, vectors

VECTORS = vectors("messages")


def read(sent: bytes) -> Any:
    return json.loads(frame_payload(sent))


@pytest.mark.parametrize("case", VECTORS["events"], ids=case_name)
def test_vector_event_becomes_this_message(case: dict[str, Any]) -> None:
    envelope = Envelope(**{"username": None, **case["envelope"]})
    message = read(event(decode_topic(case["topic"].encode()), case["stamp"]["offset"], envelope))
    assert message == case["message"]
    assert list(message) == list(case["message"]), "the order of the fields is pinned too"


def test_vector_position() -> None:
    case = VECTORS["position"]
    assert read(position(case["epoch"], case["position"])) == case["message"]


def test_vector_gap() -> None:
    case = VECTORS["gap"]
    assert read(gap(case["stream"], case["from"], case["to"])) == case["message"]


def test_a_state_that_is_shown_says_so_and_is_otherwise_the_same_event() -> None:
    state = frame({"type": "task_update", "data": {"a": "x" * 200}})
    assert read(retained(state)) == {**read(state), "retained": True}


def test_the_username_an_event_is_addressed_to_is_not_sent() -> None:
    envelope = Envelope("event", {}, "alice", "m", 0, "id")
    assert b"alice" not in event(parse_topic("event:a"), 1, envelope)
