"""`emit` refuses what the relay would refuse, as far as the relay has said what it allows."""

import logging

import pytest

from emitters.core.permission import Permission
from emitters.errors import EmitterError, NotPermitted
from relay.wire.control import HelloReply
from relay.wire.notices import ForbiddenNotice
from relay.wire.topics import Topic, parse_topic, reserved_topic

EVENT = parse_topic("event:a")


def reply(
    publish: tuple[str, ...] | None = None,
    sources: tuple[str, ...] | None = None,
    users: tuple[str, ...] | None = None,
) -> HelloReply:
    return HelloReply(
        id=1,
        epoch=1,
        journaled_kinds=("event",),
        tips={},
        heartbeat_s=1.0,
        publish=publish,
        sources=sources,
        users=users,
    )


def permission(*rights: tuple[str, ...] | None) -> Permission:
    learned = Permission()
    learned.learn(reply(*rights))
    return learned


def refusal(asked: Permission, topic: Topic, source: str, username: str | None) -> NotPermitted:
    with pytest.raises(NotPermitted) as refused:
        asked.check(topic, source, username)
    assert isinstance(refused.value, EmitterError)
    assert isinstance(refused.value, PermissionError)
    return refused.value


def test_before_the_first_reply_everything_is_taken() -> None:
    Permission().check(EVENT, "anybody", "alice")


def test_a_relay_without_a_list_allows_everything() -> None:
    permission().check(EVENT, "anybody", "alice")


@pytest.mark.parametrize(
    ("rights", "event", "field", "text"),
    [
        (((), ("m",), ()), (EVENT, "m", None), "topic", "'event:a'; it allows none"),
        (
            (("event:b*", "task:*"), ("m",), ()),
            (EVENT, "m", None),
            "topic",
            "'event:a'; it allows event:b*, task:*",
        ),
        (
            (("app_logs",), ("m",), ()),
            (parse_topic("app_log"), "m", None),
            "topic",
            "'app_log'; it allows app_logs",
        ),
        (
            (("*",), ("manager-1",), ()),
            (EVENT, "manager-10", None),
            "source",
            "'manager-10'; it allows manager-1",
        ),
        ((("*",), (), ()), (EVENT, "m", None), "source", "'m'; it allows none"),
        ((("*",), None, None), (EVENT, "m", None), "source", "'m'; it allows none"),
        (
            (("*",), ("m",), ("bob",)),
            (EVENT, "m", "alice"),
            "username",
            "'alice'; it allows bob",
        ),
        ((("*",), ("m",), None), (EVENT, "m", "alice"), "username", "'alice'; it allows none"),
    ],
)
def test_a_field_that_is_not_allowed_is_named_with_those_that_are(
    rights: tuple[tuple[str, ...] | None, ...],
    event: tuple[Topic, str, str | None],
    field: str,
    text: str,
) -> None:
    refused = refusal(permission(*rights), *event)
    assert refused.field == field
    assert str(refused) == f"{field}: the relay does not allow {text}"


def test_what_is_allowed_passes() -> None:
    allowed = permission(("event:a", "app_log"), ("manager-1",), ("alice",))
    allowed.check(EVENT, "manager-1", None)
    allowed.check(EVENT, "manager-1", "alice")
    allowed.check(EVENT, "", None)
    allowed.check(parse_topic("app_log"), "manager-1", None)


def test_few_of_many_allowed_texts_are_shown() -> None:
    many = tuple(f"event:{number}" for number in range(6))
    text = str(refusal(permission(many, ("m",), ()), EVENT, "m", None))
    assert text.endswith("it allows event:0, event:1, event:2, event:3, event:4, …")


def test_the_newest_reply_counts() -> None:
    learned = permission((), (), ())
    refusal(learned, EVENT, "m", None)
    learned.learn(reply(("event:*",), ("m",), ()))
    learned.check(EVENT, "m", None)
    learned.learn(reply())
    learned.check(EVENT, "anybody", "alice")


def test_the_kinds_of_edges_are_left_to_the_relay() -> None:
    permission((), (), ()).check(reserved_topic("edge-state", "x"), "edge", None)


def test_what_the_relay_refuses_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    permission = Permission()
    with caplog.at_level(logging.ERROR):
        permission.refused(ForbiddenNotice(5, 7, "event:a", "source"))
        permission.refused(ForbiddenNotice(5, 8, "app_log", "topic"))
    assert permission.forbidden == 2
    assert caplog.messages == [
        "the relay refused event 7, on event:a: its source is not allowed",
        "the relay refused event 8, on app_log: its topic is not allowed",
    ]
