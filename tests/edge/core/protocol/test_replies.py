"""The replies that clients get, to the letter; which one is sent is tested with the session."""

import json
from typing import Any

from edge.core.protocol import replies
from edge.core.protocol.replies import MAX_SHOWN_CHARS, error, success
from edge.core.websocket.frames import frame_payload
from relay.wire.topics import parse_pattern

TOPIC = parse_pattern("event:*")


def read(sent: bytes) -> Any:
    return json.loads(frame_payload(sent))


def test_a_reply_echoes_an_id_only_if_there_is_one() -> None:
    assert read(success("subscribe", "Done", 0)) == {
        "status": "success",
        "message": "Done",
        "action": "subscribe",
        "id": 0,
    }
    assert "id" not in read(success("subscribe", "Done"))
    assert read(error("forbidden", "No", "x")) == {
        "status": "error",
        "message": "No",
        "code": "forbidden",
        "id": "x",
    }
    assert "id" not in read(error("forbidden", "No"))


def test_the_fields_of_a_subscribed_reply_come_in_the_documented_order() -> None:
    reply = read(replies.subscribed(TOPIC, 5, 7, {"event": 3}, True))
    assert list(reply.items()) == [
        ("status", "success"),
        ("message", "Subscribed to topic 'event:*'"),
        ("action", "subscribe"),
        ("topic", "event:*"),
        ("epoch", 7),
        ("position", {"event": 3}),
        ("recovered", True),
        ("id", 5),
    ]
    assert "recovered" not in read(replies.subscribed(TOPIC, 5, 7, {}, None))


def test_a_refusal_names_the_topic_only_if_no_request_is_answered() -> None:
    asked = read(replies.forbidden(TOPIC, "", 1))
    unasked = read(replies.no_longer_allowed(TOPIC, ""))
    assert asked["message"] == unasked["message"] == "Not allowed to subscribe to topic 'event:*'"
    assert ("topic" in asked, unasked["topic"]) == (False, "event:*")


def test_a_refusal_ends_with_its_reason() -> None:
    text = "Not allowed to subscribe to topic 'event:*': why"
    assert read(replies.forbidden(TOPIC, "why", 1))["message"] == text
    assert read(replies.no_longer_allowed(TOPIC, "why"))["message"] == text


def test_long_words_of_a_client_are_shown_at_a_bounded_length() -> None:
    at_most, long = "x" * MAX_SHOWN_CHARS, "x" * (MAX_SHOWN_CHARS + 1)
    assert read(replies.invalid_topic(at_most, None))["message"] == f"Invalid topic: '{at_most}'"
    assert read(replies.invalid_topic(long, None))["message"] == f"Invalid topic: '{at_most}…'"
    assert read(replies.unknown_action(long, None))["message"] == f"Unknown action: '{at_most}…'"
