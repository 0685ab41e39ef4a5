"""`/api/presence`: who is subscribed to a topic, and how many to each."""

from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel

from edge.core.identity.access import Identity
from edge.http.api import WorkerOf
from edge.http.auth import Identify
from relay.wire.errors import InvalidTopic
from relay.wire.topics import Pattern, parse_pattern, parse_topic

MAX_PAGE = 10_000
NO_PRESENCE = "[kinds.{}] in relay.toml lacks presence = true"

T = TypeVar("T")
Selectors = Callable[[Identity, Pattern], Awaitable[tuple[Pattern, ...]]]
"""Returns the selectors that a pattern stands for; none if the user may not subscribe to it."""
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="entries in the reply")]
After = Annotated[str, Query(description="`next` of the reply before")]


class PresentUserReply(BaseModel):
    """A user who is subscribed to a topic."""

    username: str
    since: int
    """Unix time in milliseconds."""
    connections: int


class PresenceReply(BaseModel):
    """The users at one topic, in the order of their names."""

    topic: str
    present: list[PresentUserReply]
    users: int
    connections: int
    next: str | None
    """The `after` of the next page, null if this is the last one."""


class CountReply(BaseModel):
    """How many are at a topic."""

    users: int
    connections: int


class CountsReply(BaseModel):
    """The topics with a user, in their order."""

    topics: dict[str, CountReply]
    next: str | None


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The topic is not valid"},
    401: {"description": "Not authenticated"},
    403: {"description": "The caller may not subscribe to the topic"},
    404: {"description": "The kind has no presence: the detail says how to have it"},
    503: {"description": "Nobody can say yet whether the token is valid: come back"},
}


def presence_router(identify: Identify, selectors: Selectors) -> APIRouter:
    """Return the routes; who may subscribe to a topic by `selectors` may see its presence."""
    router = APIRouter(prefix="/api/presence", tags=["presence"], responses=ERRORS)
    _add_counts(router, identify, selectors)

    @router.get("/{topic:path}")
    async def present(
        worker: WorkerOf,
        identity: Annotated[Identity, Depends(identify)],
        topic: str,
        limit: Limit = 1000,
        after: After = "",
    ) -> PresenceReply:
        """The users who are subscribed to this very topic, on all workers of all edges."""
        parsed = _checked(parse_topic, topic)
        if not await selectors(identity, Pattern(parsed.text, exact=True)):
            raise HTTPException(403, f"Not allowed to subscribe to topic {topic!r}")
        presence = worker.others.presence
        if presence is None or not presence.has(topic):
            raise HTTPException(404, NO_PRESENCE.format(parsed.kind))
        users = presence.users(topic)
        rest = (each for each in users if each.username > after)
        page = [PresentUserReply(**each._asdict()) for each in islice(rest, limit)]
        return PresenceReply(
            topic=topic,
            present=page,
            users=len(users),
            connections=sum(each.connections for each in users),
            next=_next([each.username for each in page], list(rest)),
        )

    return router


def _add_counts(router: APIRouter, identify: Identify, selectors: Selectors) -> None:
    @router.get("")
    async def counts(
        worker: WorkerOf,
        identity: Annotated[Identity, Depends(identify)],
        prefix: Annotated[str, Query(description="the begin of topics, such as room:")] = "",
        limit: Limit = 1000,
        after: After = "",
    ) -> CountsReply:
        """How many users and connections are at each topic with this prefix.

        Of the topics that the caller may subscribe to.
        """
        allowed = await selectors(identity, _checked(parse_pattern, f"{prefix}*"))
        if not allowed:
            raise HTTPException(403, f"Not allowed to subscribe to topic '{prefix}*'")
        presence = worker.others.presence
        found = {} if presence is None else presence.counts(allowed)
        rest = ((topic, each) for topic, each in found.items() if topic > after)
        page = {topic: CountReply(**each._asdict()) for topic, each in islice(rest, limit)}
        return CountsReply(topics=page, next=_next(list(page), list(rest)))


def _checked(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except InvalidTopic as error:
        raise HTTPException(400, f"Invalid topic: {error}") from None


def _next(page: list[str], rest: list[Any]) -> str | None:
    return page[-1] if page and rest else None
