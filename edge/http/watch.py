"""`GET /api/events`: events as Server-Sent Events (docs/http.md, "Watch")."""

import time
from collections.abc import Iterable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from fastapi.exception_handlers import http_exception_handler

from edge.core.identity.access import Identity
from edge.core.protocol.positions import FollowedPosition, Position, parse_position
from edge.core.protocol.requests import MAX_LAST, InvalidRequest, PersonalPosition
from edge.core.session import Session, Visitor
from edge.core.websocket.close_codes import Close, try_again
from edge.http.auth import RETRY_S, Identify, NotYet
from edge.http.forwarded import peer_of
from edge.http.permissions import Permissions
from edge.http.problems import responses
from edge.http.requests import is_head
from edge.websocket.arrivals import Arrival
from edge.websocket.endpoint import ClientEndpoint
from edge.websocket.event_stream import EventStreamResponse, SseStream
from edge.worker import worker_of
from relay.wire.errors import InvalidTopic
from relay.wire.topics import Pattern, parse_pattern

PATH = "/api/events"
MAX_TOPICS = 100
"""Topics of one event stream."""
MEDIA_TYPE = "text/event-stream"
_STREAM = {
    "description": "Each event has a message of `/ws` as its data; `close` is the last one.",
    "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
}

Topics = Annotated[
    list[str], Query(description="A topic, or a prefix that ends in `*`; may be repeated")
]
Last = Annotated[
    int | None, Query(ge=1, le=MAX_LAST, description="Begin with so many newest events")
]
HeaderId = Annotated[str | None, Header(alias="Last-Event-ID")]
QueryId = Annotated[
    str | None, Query(description="As `Last-Event-ID`, for a client that cannot send headers")
]


def watch_router(identify: Identify, permissions: Permissions) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/api", tags=["events"])

    @router.get(
        "/events",
        response_class=Response,
        dependencies=[Depends(permissions.refuse_foreign_page)],
        responses={200: _STREAM, **responses(401, 403, 422)},
    )
    async def watch(
        request: Request,
        identity: Annotated[Identity, Depends(identify)],
        topic: Topics = [],  # noqa: B006 - FastAPI copies it
        last: Last = None,
        header_id: HeaderId = None,
        last_event_id: QueryId = None,
    ) -> Response:
        """The events of the topics, and those for the caller alone, as Server-Sent Events.

        A client that sends the `Last-Event-ID` of the stream before gets what it has missed, with
        the same guarantees as on `/ws`.
        """
        patterns = _patterns(topic)
        since = _since(last_event_id if header_id is None else header_id)
        user = await permissions.subscriber(identity, patterns)
        if is_head(request.scope):
            return Response(media_type=MEDIA_TYPE)
        return _begin(request, user, _requests(patterns, since, last), since)

    return router


def _begin(
    request: Request, user: Identity, requests: list[dict[str, Any]], since: Position | None
) -> Response:
    worker = worker_of(request)
    endpoint = worker.endpoint
    wait_s = endpoint.overload_s()
    if wait_s is not None:
        return _turned_away(request, try_again("overloaded", wait_s))
    stream = _stream(request, FollowedPosition(since, len(requests)))
    personal = None if since is None else since.personal
    known = PersonalPosition(since.epoch, personal) if since and personal else None
    session = endpoint.open(stream.client, Visitor(user, (), known), _arrival(request, endpoint))
    if session is not None:
        _subscribe(session, requests)
    return EventStreamResponse(stream, worker.event_streams)


async def answer_not_yet(request: Request, error: Exception) -> Response:
    """Answer a request whose token cannot be judged yet: 503, or the end of an event stream."""
    assert isinstance(error, NotYet)
    route = request.scope.get("route")
    if getattr(route, "path", None) == PATH and request.method == "GET":
        return _turned_away(request, try_again(error.detail, RETRY_S))
    return await http_exception_handler(request, error)


def _turned_away(request: Request, close: Close) -> Response:
    """Begin a stream only to end it: a browser that gets an error instead does not come back."""
    worker = worker_of(request)
    stream = _stream(request, FollowedPosition(None, 0))
    worker.endpoint.turned_away(close)
    stream.client.close(close)
    return EventStreamResponse(stream, worker.event_streams)


def _stream(request: Request, position: FollowedPosition) -> SseStream:
    worker = worker_of(request)
    worker.stats.http.event_streams += 1
    services = worker.endpoint.client_services
    return SseStream(services, position, worker.cutter, request.scope)


def _arrival(request: Request, endpoint: ClientEndpoint) -> Arrival | None:
    """Return the arrival of a client whose address a proxy has told; others are counted already."""
    address = None if request.client is None else request.client.host
    return None if address == peer_of(request.scope) else endpoint.arrivals.of_address(address)


def _subscribe(session: Session, requests: Iterable[dict[str, Any]]) -> None:
    """Say for the client what it would say on `/ws`."""
    for each in requests:
        session.act_on(orjson.dumps(each).decode(), time.monotonic(), time.time())


def _requests(
    patterns: list[Pattern], since: Position | None, last: int | None
) -> list[dict[str, Any]]:
    """Return the messages; `last` is for a first stream, which has no position."""
    past: dict[str, Any] = {} if last is None else {"last": last}
    if since is not None:
        past = {"since": dict(since.offsets), "epoch": since.epoch}
    end = len(patterns) - 1
    return [
        # With an id, so that the reply has all its fields.
        {"action": "subscribe", "topic": str(each), "id": number, "more": number < end, **past}
        for number, each in enumerate(patterns)
    ]


def _patterns(topics: list[str]) -> list[Pattern]:
    if len(topics) > MAX_TOPICS:
        raise HTTPException(422, f"topic: at most {MAX_TOPICS} topics are allowed")
    try:
        return list(dict.fromkeys(map(parse_pattern, topics)))
    except InvalidTopic as error:
        raise HTTPException(422, f"topic: {error}") from None


def _since(text: str | None) -> Position | None:
    if not text:
        return None
    try:
        return parse_position(text, "Last-Event-ID")
    except InvalidRequest as error:
        raise HTTPException(422, str(error)) from None
