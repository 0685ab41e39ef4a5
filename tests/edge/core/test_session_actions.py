"""`publish` and `request`: what the session lets pass, and what it refuses."""

import json
from typing import Any

import pytest

from tests.edge.core.test_session import Table, admitted


def ask(table: Table, **message: Any) -> dict[str, Any] | None:
    """The reply at once, None if the request is under way."""
    replies = table.say(json.dumps({"id": 1, **message}))
    return replies[0] if replies else None


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"action": "publish", "topic": "event:x"}, "publish needs data."),
        ({"action": "publish", "topic": "event:x", "data": 1, "type": 5}, "type must be text."),
        (
            {"action": "publish", "topic": "event:x", "data": 1, "username": ""},
            "username must be text.",
        ),
        ({"action": "request"}, "request needs a method."),
        ({"action": "request", "method": "A"}, "request needs a method."),
        ({"action": "request", "method": "m", "id": None}, "request needs an id."),
        (
            {"action": "request", "method": "m", "timeout": 0},
            "timeout must be a number of seconds up to 3600.",
        ),
        (
            {"action": "request", "method": "m", "timeout": True},
            "timeout must be a number of seconds up to 3600.",
        ),
    ],
)
def test_wrong_requests_are_named(message: dict[str, Any], text: str) -> None:
    table = admitted("admin")
    reply = ask(table, **message)
    assert reply is not None
    assert (reply["status"], reply["message"]) == ("error", text)
    assert not table.actions.published
    assert not table.actions.called


@pytest.mark.parametrize("topic", ["event:*", "*", "Ä:x", "addressed:x"])
def test_only_a_topic_can_be_published_on(topic: str) -> None:
    reply = ask(admitted("admin"), action="publish", topic=topic, data=1)
    assert reply is not None
    assert reply["code"] == "invalid_topic"


def test_a_role_that_may_not_publish_is_refused() -> None:
    table = admitted("user")
    reply = ask(table, action="publish", topic="event:x", data=1)
    assert reply == {
        "status": "error",
        "message": "Not allowed to publish on topic 'event:x'",
        "code": "forbidden",
        "id": 1,
    }
    reply = ask(table, action="request", method="restart")
    assert reply is not None
    assert (reply["code"], reply["message"]) == ("forbidden", "Not allowed to call 'restart'")
    assert not table.actions.published
    assert not table.actions.called


def test_an_administrator_may_publish_and_call() -> None:
    table = admitted("admin")
    assert ask(table, action="publish", topic="event:x", data=[1], type="t", username="b") is None
    assert ask(table, action="request", method="restart", params={"a": 1}, timeout=2) is None
    [published], [called] = table.actions.published, table.actions.called
    assert (published.topic.text, published.data) == ("event:x", [1])
    assert (published.type, published.username, published.id) == ("t", "b", 1)
    assert (called.method, called.params, called.timeout_s) == ("restart", {"a": 1}, 2.0)


def test_everybody_may_ask_the_application() -> None:
    table = admitted("user")
    table.actions.topics.add("chat:1")
    table.actions.methods.add("rename")
    assert ask(table, action="publish", topic="chat:1", data=None) is None
    assert ask(table, action="request", method="rename") is None
    assert len(table.actions.published) == len(table.actions.called) == 1
    assert ask(table, action="publish", topic="chat:2", data=None) is not None
