"""`Permissions`: what the user of a request may do, and from which pages."""

from collections.abc import Awaitable, Callable, Iterable

from fastapi import HTTPException, Request

from edge.core.identity.access import Access, Identity
from edge.core.identity.credentials import CredentialRules
from edge.core.identity.request_head import RequestHead
from edge.http.forwarded import peer_of
from relay.wire.topics import Pattern, Topic

Ask = Callable[[Identity, str, Iterable[str]], Awaitable[Identity]]
"""Has the application answer whether a user may `"subscribe"` or `"publish"`; returns the user with
the answers, which `Access` finds."""


class Permissions:
    """Joins the rules with the answers of the application, if that decides."""

    def __init__(self, access: Access, rules: CredentialRules, ask: Ask | None = None) -> None:
        self._access = access
        self._rules = rules
        self._ask = ask

    async def first_refused(self, identity: Identity, topics: Iterable[Topic]) -> Topic | None:
        """Return the first topic on which the user may not publish, None if there is none."""
        asked = dict.fromkeys(topics)
        user = await self._answered(identity, "publish", (each.shown for each in asked))
        return next((each for each in asked if not self._access.may_publish(user, each)), None)

    async def subscriber(self, identity: Identity, patterns: Iterable[Pattern]) -> Identity:
        """Return the user, who may subscribe to all `patterns`. Raises 403."""
        asked = tuple(patterns)
        user = await self._answered(identity, "subscribe", map(str, asked))
        for pattern in asked:
            if not self.selectors(user, pattern):
                reason = self._access.refusal(user, pattern)
                text = f"Not allowed to subscribe to topic '{pattern}'"
                raise HTTPException(403, f"{text}: {reason}" if reason else text)
        return user

    async def allowed(self, identity: Identity, patterns: Iterable[Pattern]) -> set[Pattern]:
        """Return those of `patterns` to which the user may subscribe."""
        asked = tuple(patterns)
        user = await self._answered(identity, "subscribe", map(str, asked))
        return {each for each in asked if self.selectors(user, each)}

    @property
    def asks(self) -> bool:
        """Whether the application decides about each topic."""
        return self._ask is not None

    def selectors(self, subscriber: Identity, pattern: Pattern) -> tuple[Pattern, ...]:
        """Return the selectors that `pattern` stands for; none if it is not allowed."""
        return self._access.selectors(subscriber, pattern)

    async def refuse_foreign_page(self, request: Request) -> None:
        """Raise 403 for a page of another site that uses cookies; a FastAPI dependency.

        A browser sends cookies with requests of any page, so otherwise every site could act for its
        visitors.
        """
        head = RequestHead.of_scope(request.scope)
        if "cookie" in head.headers and self._rules.is_foreign(head, peer_of(request.scope)):
            raise HTTPException(403, "This origin is not allowed to use cookies")

    async def _answered(self, identity: Identity, action: str, topics: Iterable[str]) -> Identity:
        return identity if self._ask is None else await self._ask(identity, action, topics)
