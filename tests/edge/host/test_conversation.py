"""`HostConversation`: one thing after another, and a bounded memory of answers."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest

from edge.core.identity.tokens import NotKnownYet
from edge.core.protocol.reading import read_message
from edge.host.conversation import MAX_SPARE_ANSWERS, HostConversation
from edge.host.functions import AppIdentity
from edge.host.hooks import Hooks
from relay.wire.topics import Pattern, parse_pattern


class Stage:
    """A client, its session, and an application that allows everything after a turn."""

    def __init__(self) -> None:
        self.identity: AppIdentity | None = AppIdentity("ann", "user", 0)
        self.by_cookie: AppIdentity | None = None
        self.closed = False
        self.pauses = 0
        self.done: list[str] = []
        self.patterns: list[Pattern] = []
        self.tokens = self
        self.hooks = Hooks()
        conversation: Any = HostConversation(
            cast(Any, self), cast(Any, self), cast(Any, None), None, cast(Any, self), self.hooks
        )
        self.conversation: HostConversation = conversation

    # As the client.

    def pause_reading(self) -> None:
        self.pauses += 1

    def resume_reading(self) -> None:
        self.pauses -= 1

    def close(self, close: object) -> None:
        self.closed = True

    # As the session.

    def read(self, text: str) -> Any:
        """As a session with a low limit."""
        return read_message(text, 3)

    def act_on(self, text: str, now: float, unix_now: float) -> None:
        self.done.append(text)

    def admit_by_cookie(self, now: float, unix_now: float) -> None:
        if self.by_cookie is not None:
            self.identity = self.by_cookie
            self.conversation.tell(self.hook)

    async def hook(self) -> None:
        self.done.append("hook")

    # As the decisions.

    async def ask_subscribe(self, identity: AppIdentity, topic: str) -> None:
        await asyncio.sleep(0)
        identity.allowed[parse_pattern(topic)] = True

    async def verify(self, handshake: object, token: str) -> tuple[str, AppIdentity]:
        await asyncio.sleep(0)
        return token, AppIdentity(token, "user", 0)

    @contextlib.contextmanager
    def prepared(self, identities: dict[str, AppIdentity]) -> Iterator[None]:
        for identity in identities.values():
            self.done.append(f"{identity.username} {sorted(map(str, identity.allowed))}")
        yield


def say(stage: Stage, **message: Any) -> str:
    text = json.dumps(message)
    stage.conversation.take(text)
    return text


def test_messages_and_hooks_take_their_turns() -> None:
    async def scenario() -> None:
        stage = Stage()
        first = say(stage, action="subscribe", topic="event:a")
        second = say(stage, action="unsubscribe", topic="event:a")
        stage.conversation.tell(stage.hook)
        assert stage.pauses == 1
        assert stage.done == []
        await stage.conversation.wait_end()
        assert stage.done == ["hook", first, second]
        assert stage.pauses == 0
        assert stage.conversation.is_idle

    asyncio.run(scenario())


def test_a_hook_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        stage = Stage()

        async def hook() -> None:
            raise RuntimeError("broken")

        stage.conversation.tell(hook)
        text = say(stage, action="unsubscribe", topic="event:a")
        await stage.conversation.wait_end()
        assert stage.done == [text]

    asyncio.run(scenario())
    assert "broken" in caplog.text


def test_a_hook_that_ends_a_task_of_its_own_stops_nothing() -> None:
    async def scenario() -> None:
        stage = Stage()

        async def hook(_connection: object, _message: object) -> None:
            feed = asyncio.ensure_future(asyncio.Event().wait())
            feed.cancel()
            await feed

        stage.hooks.message.append(hook)
        say(stage, action="stop the feed")
        text = say(stage, action="unsubscribe", topic="event:a")
        await stage.conversation.wait_end()
        assert stage.done == [text]

    asyncio.run(scenario())


def test_a_hook_knows_what_a_message_has_done_before_the_next_message() -> None:
    """Also if both came in one piece: `on_connect` is before the first `on_message`."""

    async def scenario() -> None:
        stage = Stage()
        stage.identity, identity = None, stage.identity

        def act_on(text: str, now: float, unix_now: float) -> None:
            stage.identity = identity
            stage.conversation.tell(stage.hook)

        stage.act_on = act_on  # type: ignore[method-assign]
        stage.hooks.message.append(lambda connection, message: stage.done.append(message["action"]))
        say(stage, action="authenticate", token="ann")
        say(stage, action="dance")
        await stage.conversation.wait_end()
        assert stage.done == ["ann []", "hook", "dance"]

    asyncio.run(scenario())


def test_the_application_decides_about_the_first_message_of_a_cookies_user() -> None:
    async def scenario() -> None:
        stage = Stage()
        user = AppIdentity("ann", "user", 0)
        stage.identity, stage.by_cookie = None, user
        first = say(stage, action="subscribe", topic="event:a")
        await stage.conversation.wait_end()
        assert stage.done == ["hook", first]
        assert user.allowed == {parse_pattern("event:a"): True}

    asyncio.run(scenario())


def test_without_any_credential_the_core_has_the_last_word() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.identity = None
        first = say(stage, action="subscribe", topic="event:a")
        await stage.conversation.wait_end()
        assert stage.done == [first]

    asyncio.run(scenario())


def test_a_closed_client_is_not_acted_for() -> None:
    async def scenario() -> None:
        stage = Stage()
        say(stage, action="subscribe", topic="event:a")
        stage.closed = True
        await stage.conversation.wait_end()
        assert stage.done == []

    asyncio.run(scenario())


def test_a_new_token_is_asked_about_all_that_goes_on() -> None:
    async def scenario() -> None:
        stage = Stage()
        say(stage, action="subscribe", topic="event:a")
        say(stage, action="subscribe", topic="event:b")
        token = say(stage, action="authenticate", token="bea")
        await stage.conversation.wait_end()
        assert stage.done[2:] == ["bea ['event:a', 'event:b']", token]

    asyncio.run(scenario())


def test_answers_about_topics_without_a_subscription_are_bounded() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.patterns = [parse_pattern("event:0")]
        for number in range(10 * MAX_SPARE_ANSWERS):
            say(stage, action="subscribe", topic=f"event:{number}")
        await stage.conversation.wait_end()
        assert stage.identity is not None
        allowed = stage.identity.allowed
        assert parse_pattern("event:0") in allowed
        assert len(allowed) <= MAX_SPARE_ANSWERS + 2 * len(stage.patterns)

    asyncio.run(scenario())


def test_own_actions_go_to_the_hooks() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.hooks.message.append(lambda connection, message: stage.done.append(message["action"]))
        say(stage, action="dance")
        say(stage, action="sing")
        other = say(stage, action=5)
        deep = say(stage, action="dance", floor=[[[]]])
        await stage.conversation.wait_end()
        assert stage.done == ["dance", "sing", other, deep], "the session answers the others"

    asyncio.run(scenario())


def test_a_token_that_cannot_be_judged_yet_is_to_come_again() -> None:
    async def scenario() -> None:
        stage, closes = Stage(), list[object]()

        async def verify(_handshake: object, _token: str) -> tuple[str, AppIdentity]:
            raise NotKnownYet("the keys are not known yet")

        setattr(stage, "verify", verify)  # noqa: B010
        setattr(stage, "close", closes.append)  # noqa: B010
        say(stage, action="authenticate", token="x")
        await stage.conversation.wait_end()
        assert closes == [(4013, "the keys are not known yet, retry in 1 s")]
        assert stage.done == []

    asyncio.run(scenario())
