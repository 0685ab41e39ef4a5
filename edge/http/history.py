"""`GET /api/streams/{stream}/events`: past events, page by page (docs/http.md, "History")."""

import asyncio
from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import BaseModel

from edge.catch_up_runner import RETRY_S, SharedReads
from edge.core.catch_up.connection_catch_up import ReplayFailed
from edge.core.catch_up.history_page import MAX_PAGE_EVENTS, HistoryPage, HistoryQuery
from edge.core.identity.access import Identity
from edge.core.protocol.positions import Position, parse_position
from edge.core.protocol.requests import InvalidRequest
from edge.core.streams.streams import Stream, Streams
from edge.http.auth import Identify
from edge.http.permissions import Permissions
from edge.http.problems import responses, try_later
from edge.worker import Worker, worker_of
from relay.shared.request_table import TooManyRequests
from relay.wire.errors import InvalidTopic
from relay.wire.topics import PERSONAL_KINDS, Pattern, parse_pattern

DEFAULT_LIMIT = 100
TIMEOUT_S = 15.0
"""Seconds for the relay to replay the events of a page."""


class MissingEvents(BaseModel):
    """Events that are lost; `retention` has removed them, or the relay cannot read them."""

    first: int
    last: int
    reason: str
    """`retention`, `damaged`, or `epoch`: `after` is of another epoch, and nothing is known."""


class HistoryReply(BaseModel):
    """A page of a stream."""

    epoch: int
    events: list[dict[str, Any]]
    """Messages as on `/ws`, in the order of their offsets."""
    gaps: list[MissingEvents]
    next: str
    """The `after` of the next page."""
    has_more: bool
    """Whether the stream goes on after this page; not all events need be for the caller."""


def history_router(identify: Identify, permissions: Permissions) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/api", tags=["events"])

    @router.get(
        "/streams/{stream}/events",
        response_model=HistoryReply,
        responses=responses(401, 403, 404, 422, 503),
    )
    async def history(
        request: Request,
        stream: str,
        identity: Annotated[Identity, Depends(identify)],
        after: Annotated[str | None, Query(description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE_EVENTS)] = DEFAULT_LIMIT,
        topic: Annotated[
            str | None, Query(description="A topic of the stream, or a prefix that ends in `*`")
        ] = None,
    ) -> Response:
        """Past events of a stream, page by page; without `after` from the oldest one on.

        Of the streams `task` and `addressed`, the caller's own.
        """
        asked = HistoryRequest(stream, after, limit, topic)
        return await _answer(worker_of(request), permissions, identity, asked)

    return router


class HistoryRequest(NamedTuple):
    """The parameters of a request."""

    stream: str
    after: str | None
    limit: int
    topic: str | None


async def _answer(
    worker: Worker, permissions: Permissions, identity: Identity, asked: HistoryRequest
) -> Response:
    stream = _stream(worker, asked.stream)
    since = None if asked.after is None else _position(asked.after)
    selectors: tuple[Pattern, ...] = ()
    if asked.stream not in PERSONAL_KINDS:
        pattern = _pattern(asked.stream, asked.topic)
        identity = await permissions.subscriber(identity, [pattern])
        selectors = permissions.selectors(identity, pattern)
    elif asked.topic is not None:
        raise HTTPException(422, f"topic: the stream {asked.stream} has no choice of topics")
    if since is not None and since.epoch != worker.streams.epoch:
        return _of_another_epoch(worker.streams, stream)
    offset = None if since is None else since.offsets.get(asked.stream)
    query = HistoryQuery(identity, selectors, offset, asked.limit)
    page = HistoryPage(worker.streams, stream, query)
    await _fill(page, worker.reads, identity.username)
    return _reply(page.position, page.events, _gaps(page), has_more=page.has_more)


async def _fill(page: HistoryPage, reads: SharedReads, username: str) -> None:
    """Read what the page needs. Raises 503."""
    missing = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not page.is_complete:
                async with reads.records(missing, username) as records:
                    before = page.looked_at
                    missing = page.step(records)
                    reads.spend(username, page.looked_at - before, 0)
                if page.is_outdated:
                    raise try_later(503, "Another epoch has just begun", RETRY_S)
                # A page may take many steps: others have their turn in between.
                await asyncio.sleep(0)
    except (TimeoutError, ReplayFailed, TooManyRequests):
        raise try_later(503, "The relay does not replay events", RETRY_S) from None


def _stream(worker: Worker, name: str) -> Stream:
    trouble = worker.readiness.trouble
    if trouble is not None:
        raise try_later(503, f"Not now: {trouble}", RETRY_S)
    stream = worker.streams.get(name)
    if stream is None:
        raise HTTPException(404, "There is no such stream: of live topics no events are kept")
    return stream


def _pattern(stream: str, topic: str | None) -> Pattern:
    try:
        pattern = parse_pattern(f"{stream}:*" if topic is None else topic)
    except InvalidTopic as error:
        raise HTTPException(422, f"topic: {error}") from None
    if not pattern.prefix.startswith(f"{stream}:"):
        raise HTTPException(422, f"topic: must be within the stream {stream}")
    return pattern


def _position(text: str) -> Position:
    try:
        return parse_position(text, "after")
    except InvalidRequest as error:
        raise HTTPException(422, str(error)) from None


def _gaps(page: HistoryPage) -> list[dict[str, Any]]:
    return [each._asdict() for each in page.gaps]


def _of_another_epoch(streams: Streams, stream: Stream) -> Response:
    """As on `/ws`, nothing is replayed, and the client goes on at the head."""
    head = stream.history.head
    gap = {"first": stream.history.journal_first, "last": head, "reason": "epoch"}
    return _reply(Position(streams.epoch, {stream.kind: head}), [], [gap], has_more=False)


def _reply(
    position: Position, events: list[bytes], gaps: list[dict[str, Any]], *, has_more: bool
) -> Response:
    content = {
        "epoch": position.epoch,
        # They are JSON already.
        "events": [orjson.Fragment(each) for each in events],
        "gaps": gaps,
        "next": str(position),
        "has_more": has_more,
    }
    return Response(orjson.dumps(content), media_type="application/json")
