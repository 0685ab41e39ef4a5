"""`QuietEnd`: requests that end before their time are no errors."""

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from edge.http.requests import QuietEnd


@pytest.mark.parametrize("end", [ClientDisconnect, asyncio.CancelledError])
def test_a_request_that_cannot_be_answered_raises_nothing(end: type[BaseException]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise end

    nobody: Any = None
    asyncio.run(QuietEnd(app)({"type": "http"}, nobody, nobody))


def test_a_fault_is_raised() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    nobody: Any = None
    with pytest.raises(RuntimeError):
        asyncio.run(QuietEnd(app)({"type": "http"}, nobody, nobody))
