"""`AppAuthentication`: what an application that fails means for the one who comes."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from edge.core.identity.request_head import RequestHead
from edge.host.authentication import AppAuthentication
from edge.websocket.identification import HandshakeRefused


def head() -> RequestHead:
    head = RequestHead()
    head.url = b"/ws"
    return head


async def is_cancelled(scope: Scope, receive: Receive, send: Send) -> None:
    raise asyncio.CancelledError


async def waits(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


def test_an_application_that_was_cancelled_refuses(caplog: pytest.LogCaptureFixture) -> None:
    authentication = AppAuthentication(is_cancelled, "/ws", 60.0, dict)
    with pytest.raises(HandshakeRefused) as refused:
        asyncio.run(authentication.identify(head(), None))
    assert refused.value.status == 500
    assert "authenticate has failed" in caplog.text


def test_whoever_waits_for_it_can_be_cancelled() -> None:
    async def test() -> None:
        authentication = AppAuthentication(waits, "/ws", 60.0, dict)
        task = asyncio.create_task(authentication.identify(head(), None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(test())
