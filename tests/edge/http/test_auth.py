"""The dependency that knows the user of a request belongs to the event loop, as `Tokens` does."""

import asyncio
import threading
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI

from edge.config import EdgeSettings
from edge.core.identity.access import Identity
from edge.core.identity.revocations import Revocations
from edge.core.identity.tokens import Tokens
from edge.http.auth import Authentication


class WatchedTokens(Tokens):
    """Remembers the threads in which it is used."""

    def __init__(self, revocations: Revocations) -> None:
        super().__init__("s" * 32, None, revocations)
        self.threads = set[int]()

    def verify(self, token: str, now: float) -> Identity:
        """See `Tokens`."""
        self.threads.add(threading.get_ident())
        return super().verify(token, now)


async def statuses(tokens: Tokens, shown: str, count: int) -> set[tuple[int, str | None]]:
    """Return the answers to `count` requests at once."""
    app = FastAPI()
    identify = Authentication(tokens, EdgeSettings().credential_rules)

    @app.get("/me")
    def me(identity: Annotated[Identity, Depends(identify)]) -> str:
        return identity.username

    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {shown}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        answers = await asyncio.gather(*(client.get("/me", headers=headers) for _ in range(count)))
    return {(each.status_code, each.headers.get("retry-after")) for each in answers}


def test_all_requests_use_the_tokens_in_the_thread_of_the_loop() -> None:
    revocations = Revocations()
    tokens = WatchedTokens(revocations)
    token = tokens.issue("ann", "user", 2**40)
    assert asyncio.run(statuses(tokens, token, 3)) == {(503, "1")}, "nothing is known yet"
    revocations.is_known = True
    assert asyncio.run(statuses(tokens, token, 50)) == {(200, None)}
    assert asyncio.run(statuses(tokens, "x", 3)) == {(401, None)}
    assert tokens.threads == {threading.get_ident()}
