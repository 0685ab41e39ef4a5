"""Messages that can be read, and the answers to the others."""

import json

import pytest

from edge.core.protocol.reading import Unreadable, is_request_id, read_message
from edge.core.websocket.frames import frame_payload


@pytest.mark.parametrize("text", ["{}", '{"a":[[1]]}'])
def test_an_object_is_a_message(text: str) -> None:
    assert read_message(text, 3) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "reason", "reply"),
    [
        ("", "invalid_json", {"message": "Invalid JSON."}),
        ("[]", "no_object", {"message": "A JSON object is required."}),
        ("[[[]]]", "too_deep", {"message": "JSON may be nested at most 2 levels deep."}),
        (
            '{"id":"x","a":[[]]}',
            "too_deep",
            {
                "message": "JSON may be nested at most 2 levels deep.",
                "code": "bad_request",
                "id": "x",
            },
        ),
        (
            '{"id":[[]]}',
            "too_deep",
            {"message": "JSON may be nested at most 2 levels deep."},
        ),
    ],
)
def test_other_messages_are_answered(text: str, reason: str, reply: dict[str, object]) -> None:
    found = read_message(text, 2)
    assert isinstance(found, Unreadable)
    assert found.reason == reason
    told = json.loads(frame_payload(found.reply))
    assert told["status"] == "error"
    assert {name: told.get(name) for name in reply} == reply
    assert ("id" in told) is ("id" in reply)


def test_what_an_id_may_be() -> None:
    assert all(map(is_request_id, (None, "", "a" * 255, 7, 1.5)))
    assert not any(map(is_request_id, ("a" * 256, True, [], {})))
