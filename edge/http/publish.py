"""`POST /api/events`: publish one event or many (docs/http.md, "Publish")."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from edge.config import EdgeSettings
from edge.core.idempotency import RequestKeys
from edge.core.identity.access import Identity
from edge.core.protocol.publications import (
    MAX_KEY_CHARS,
    MAX_PUBLICATIONS,
    AcceptedEvent,
    InvalidPublication,
    NotAcknowledged,
    NothingTaken,
    RequestedEvent,
    body_digest,
    parse_publications,
    with_key,
)
from edge.core.rate_limit import UserBuckets
from edge.core.stats import EdgeStats
from edge.http.auth import Identify
from edge.http.permissions import Permissions
from edge.http.problems import (
    EventProblem,
    RefusedEvent,
    UnsureProblem,
    responses,
    retry_after,
    try_later,
)
from edge.worker import worker_of

MAX_AT_A_TIME = 64
"""Requests of which the bodies are read and the events await their acknowledgement."""
MAX_AT_A_TIME_PER_USER = 16
RETRY_S = 1.0
READ_TIMES = 8
"""A body of up to so many times the limit is read to its end before it is refused: some servers
reset a connection with unread bytes, and the client would not see the answer."""
OUTCOMES = {403: "forbidden", 409: "conflict", 422: "invalid", 429: "limited"}


ERRORS = {
    **responses(401, 413, 429),
    **responses(403, 409, 422, model=EventProblem),
    **responses(503, model=UnsureProblem),
}
Key = Annotated[str | None, Header(min_length=1, max_length=MAX_KEY_CHARS)]


class Publishing(Protocol):
    """Hands events to the relay; `edge.host.publisher` does."""

    async def publish(self, publications: Sequence[RequestedEvent]) -> list[AcceptedEvent]:
        """Raises `InvalidPublication`, `NothingTaken` or `NotAcknowledged`."""


class EventToPublish(BaseModel):
    """One event."""

    topic: str
    data: Any
    type: str | None = None
    username: str | None = None
    """The only user who gets it."""


class PublishedEvent(BaseModel):
    """An event that was taken."""

    id: str
    stored: bool
    """Whether it is in the relay's journal; if not, it was a value of a live topic, handed over."""


class PublishReply(BaseModel):
    """The events of the request, in their order."""

    events: list[PublishedEvent]


class PublishDesk:
    """Takes requests to publish, within bounds, and counts their outcomes."""

    def __init__(
        self, settings: EdgeSettings, permissions: Permissions, publishing: Publishing
    ) -> None:
        self._permissions = permissions
        self._publishing = publishing
        self._most = min(MAX_PUBLICATIONS, settings.publish_burst)
        self._buckets = UserBuckets(settings.publish_per_s, settings.publish_burst)
        self._keys = RequestKeys()
        self._in_progress: Counter[str] = Counter()
        """Requests by user."""

    @contextlib.contextmanager
    def place(self, username: str) -> Iterator[None]:
        """Hold one of the places during the body. Raises 429 or 503."""
        if self._in_progress[username] >= MAX_AT_A_TIME_PER_USER:
            raise try_later(429, "Too many requests of yours are in progress", RETRY_S)
        if self._in_progress.total() >= MAX_AT_A_TIME:
            raise try_later(503, "Too many requests are in progress", RETRY_S)
        self._in_progress[username] += 1
        try:
            yield
        finally:
            self._in_progress[username] -= 1
            self._in_progress += Counter()  # Without the users that have none.

    async def publish(
        self, identity: Identity, body: bytes, key: str | None, stats: EdgeStats
    ) -> list[AcceptedEvent]:
        """Publish the events in `body`; count the outcome.

        Raises `RefusedEvent`, 429, `NothingTaken` or `NotAcknowledged`.
        """
        outcome = "failed"
        try:
            published = await self._publish(identity, body, key)
            stats.http.published += len(published)
            outcome = "published"
            return published
        except (RefusedEvent, HTTPException) as error:
            outcome = OUTCOMES[error.status_code]
            raise
        except NothingTaken:
            outcome = "not_taken"
            raise
        except NotAcknowledged:
            outcome = "not_acknowledged"
            raise
        finally:
            stats.http.publish_requests[outcome] += 1

    async def _publish(
        self, identity: Identity, body: bytes, key: str | None
    ) -> list[AcceptedEvent]:
        try:
            publications = parse_publications(body, self._most)
            now = time.monotonic()
            if wait_s := self._buckets.wait_s(identity.username, len(publications), now):
                raise try_later(429, f"Too many events; try again in {wait_s:.1f} s", wait_s)
            await self._refuse_forbidden(identity, publications)
            if key is not None:
                digest = body_digest(body)
                if self._keys.is_of_another(identity.username, key, digest, now):
                    raise RefusedEvent(409, "This Idempotency-Key came with another body before")
                publications = with_key(publications, (identity.username, key, digest))
            return await self._hand_over(identity, publications, key)
        except InvalidPublication as error:
            field = f"{error.field}: " if error.field else ""
            which = "" if error.index is None else f"event {error.index}: "
            detail = f"{which}{field}{error.problem}"
            raise RefusedEvent(422, detail, error.index, error.field) from None

    async def _hand_over(
        self, identity: Identity, publications: Sequence[RequestedEvent], key: str | None
    ) -> list[AcceptedEvent]:
        try:
            return await self._publishing.publish(publications)
        except InvalidPublication:
            if key is not None:
                # Nothing was taken, and the corrected request is still the one of this key.
                self._keys.forget(identity.username, key)
            raise

    async def _refuse_forbidden(
        self, identity: Identity, publications: Sequence[RequestedEvent]
    ) -> None:
        topics = [each.topic for each in publications]
        refused = await self._permissions.first_refused(identity, topics)
        if refused is not None:
            index = topics.index(refused)
            text = f"event {index}: not allowed to publish on topic '{refused.shown}'"
            raise RefusedEvent(403, text, index, "topic")


def publish_router(
    identify: Identify, settings: EdgeSettings, permissions: Permissions, publishing: Publishing
) -> APIRouter:
    """Return the route."""
    desk, bound = PublishDesk(settings, permissions, publishing), settings.max_publish_bytes
    router = APIRouter(prefix="/api", tags=["events"])

    @router.post(
        "/events",
        response_model=PublishReply,
        max_body_size=READ_TIMES * bound,
        dependencies=[Depends(permissions.refuse_foreign_page)],
        openapi_extra={"requestBody": _request_body()},
        responses=ERRORS,
    )
    async def publish(
        request: Request,
        identity: Annotated[Identity, Depends(identify)],
        idempotency_key: Key = None,
    ) -> JSONResponse:
        """Publish one event, or a list of them: all, or none.

        The answer comes when the relay has the events in its journal; of a live topic, when the
        value was handed over. With `Idempotency-Key`, a request that is repeated within a day,
        through whatever worker or edge, publishes nothing twice and gets the same ids.
        """
        try:
            with desk.place(identity.username):
                # Read here and not by FastAPI: bodies of strangers do not take memory.
                body, stats = await _body(request, bound), worker_of(request).stats
                published = await desk.publish(identity, body, idempotency_key, stats)
        except RefusedEvent as refused:
            return JSONResponse(refused.problem.model_dump(), refused.status_code)
        except NothingTaken as error:
            return _unavailable(f"Nothing was taken: {error}", ())
        except NotAcknowledged as error:
            return _unavailable(f"The events may still arrive: {error}", error.ids)
        return JSONResponse({"events": [{"id": id, "stored": kept} for id, kept in published]})

    return router


async def _body(request: Request, max_bytes: int) -> bytes:
    """Return the body. Raises 413; what is too large is read and takes no memory."""
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= max_bytes:
            body += chunk
    if size > max_bytes:
        raise HTTPException(413, f"The body has more than {max_bytes} bytes")
    return bytes(body)


def _unavailable(detail: str, ids: Sequence[str]) -> JSONResponse:
    return JSONResponse({"detail": detail, "ids": list(ids)}, 503, retry_after(RETRY_S))


def _request_body() -> dict[str, Any]:
    one = EventToPublish.model_json_schema()
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_PUBLICATIONS}
    schema = {"oneOf": [one, many]}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
