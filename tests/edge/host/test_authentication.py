"""`AppAuthentication`: the application is asked as its server would, and for each client apart."""

import asyncio
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.core.identity.request_head import RequestHead
from edge.host.authentication import ASKED, AppAuthentication, Handshake
from edge.host.functions import AppIdentity
from edge.websocket.identification import HandshakeRefused
from edge.websocket.reception import Reception

STATE = {"users": {"a": "ann", "b": "bob"}}
"""The state that the lifespan of the application has yielded."""


class Application:
    """Middleware notes the user in the state of the request, and the route answers with it."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        self.scopes.append(scope)
        state, cookie = scope["state"], dict(scope["headers"]).get(b"cookie", b"").decode()
        if cookie:
            state["user"] = state["users"][cookie]
        user = state.get("user")
        scope[ASKED].answer(None if user is None else AppIdentity(user, "user", 0))


def handshake(app: ASGIApp, cookie: str | None = None, **reception: Any) -> Handshake:
    head = RequestHead()
    head.url = b"/live/ws?a=1"
    if cookie is not None:
        head.on_header(b"cookie", cookie.encode())
    return Handshake(head, "10.0.0.7", Reception(app, STATE, **{"scheme": "ws", **reception}))


def test_what_middleware_notes_of_one_client_is_for_no_other_one() -> None:
    app, authentication = Application(), AppAuthentication("/live/ws", 5.0)

    async def scenario() -> None:
        found = [
            await authentication.identify(handshake(app, cookie)) for cookie in ("a", None, "b")
        ]
        assert [each and each.username for each in found] == ["ann", None, "bob"]

    asyncio.run(scenario())
    assert STATE.keys() == {"users"}


def test_the_application_sees_how_the_server_was_reached() -> None:
    app = Application()
    asked = handshake(app, scheme="wss", root_path="/shop")
    asyncio.run(AppAuthentication("/live/ws", 5.0).identify(asked))
    (scope,) = app.scopes
    assert (scope["scheme"], scope["client"]) == ("wss", ("10.0.0.7", 0))
    assert (scope["root_path"], scope["path"]) == ("/shop", "/shop/live/ws")
    assert scope["query_string"] == b"a=1"


def test_an_application_that_answers_nothing_has_refused() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})

    with pytest.raises(HandshakeRefused):
        asyncio.run(AppAuthentication("/ws", 5.0).identify(handshake(silent)))


async def is_cancelled(scope: Scope, receive: Receive, send: Send) -> None:
    raise asyncio.CancelledError


async def waits(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


def test_an_application_that_was_cancelled_refuses(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        asyncio.run(AppAuthentication("/ws", 5.0).identify(handshake(is_cancelled)))
    assert refused.value.status == 500
    assert "authenticate has failed" in caplog.text


def test_whoever_waits_for_the_answer_can_be_cancelled() -> None:
    async def scenario() -> None:
        asking = AppAuthentication("/ws", 5.0).identify(handshake(waits))
        task = asyncio.create_task(asking)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
