"""`HostActions`: which function gets what, and what it may return."""

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge.client_actions import ActionRefused
from edge.core.protocol.requests import MethodCall, Publish
from edge.host.connection import ClientConnection
from edge.host.own_actions import HostActions
from relay.wire.errors import InvalidTopic
from relay.wire.topics import parse_topic

CLIENT = cast(ClientConnection, SimpleNamespace(username="ann"))
CONNECTION: Any = object()


def actions(client: ClientConnection | None = CLIENT) -> HostActions:
    return HostActions(lambda _: client)


def publish(own: HostActions, topic: str, data: Any = None) -> Any:
    request = Publish(parse_topic(topic), data, None, None)
    return asyncio.run(own.publish(CONNECTION, request))


def ask(own: HostActions, method: str, params: Any = None) -> Any:
    return asyncio.run(own.call(CONNECTION, MethodCall(method, params, 1.0, 1)))


def test_the_first_pattern_that_matches_counts() -> None:
    own = actions()
    own.add_taker("room:1", lambda client, topic, data: ["one", topic, data])
    own.add_taker("room:*", lambda client, topic, data: ["all", topic, data])
    own.add_taker("app_log", lambda client, topic, data: "log")
    assert publish(own, "room:1", 5) == ["one", "room:1", 5]
    assert publish(own, "room:2") == ["all", "room:2", None]
    assert publish(own, "app_log") == "log"
    assert not own.takes(parse_topic("app_log:x"))
    assert not own.takes(parse_topic("event:x"))


def test_an_event_for_one_user_does_not_become_one_for_everybody() -> None:
    own = actions()
    own.add_taker("room:*", lambda *_: pytest.fail("called"))
    request = Publish(parse_topic("room:1"), "a secret", None, "bob")
    with pytest.raises(ActionRefused, match="for one user"):
        asyncio.run(own.publish(CONNECTION, request))


def test_results_take_the_form_that_json_has() -> None:
    own = actions()
    own.add_method("id", lambda client: {"id": uuid.UUID(int=1), "raw": b"\xff"})
    assert ask(own, "id") == {"id": str(uuid.UUID(int=1)), "raw": "_w=="}


def test_params_that_do_not_fit_are_told() -> None:
    own = actions()
    own.add_method("greet", lambda client, name: name)
    with pytest.raises(ActionRefused, match="greet: missing a required argument: 'name'"):
        ask(own, "greet")


def test_nothing_is_called_for_a_client_that_is_gone() -> None:
    own = actions(None)
    own.add_method("greet", lambda client: pytest.fail("called"))
    own.add_taker("*", lambda *_: pytest.fail("called"))
    with pytest.raises(ActionRefused):
        ask(own, "greet")
    with pytest.raises(ActionRefused):
        publish(own, "event:x")


def test_wrong_names_are_refused_when_they_are_registered() -> None:
    own = actions()
    with pytest.raises(ValueError, match="'Greet' is not a method"):
        own.add_method("Greet", print)
    own.add_method("greet", print)
    with pytest.raises(ValueError, match="has a function already"):
        own.add_method("greet", print)
    with pytest.raises(InvalidTopic):
        own.add_taker("room:*:x", print)
