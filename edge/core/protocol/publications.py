"""The events in a request to publish, read from its body (docs/http.md, "Publish")."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from relay.wire.errors import InvalidTopic
from relay.wire.topics import Topic, parse_topic

MAX_PUBLICATIONS = 1_000
"""Events in one request."""
MAX_KEY_CHARS = 255
FIELDS = ("topic", "data", "type", "username")


class InvalidPublication(Exception):  # noqa: N818
    """The request is not understood, so that none of its events was taken.

    `index` is that of the event, None if the body as a whole is wrong; `field` is "" then.
    """

    def __init__(self, problem: str, index: int | None = None, field: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.index = index
        self.field = field


class NothingTaken(Exception):  # noqa: N818
    """No event was taken, for now; the text says why."""


class NotAcknowledged(Exception):  # noqa: N818
    """The events were taken, and nobody knows whether the relay has them: they may still arrive."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__("the relay has not acknowledged the events in time")
        self.ids = ids


class RequestedEvent(NamedTuple):
    """One event to publish."""

    topic: Topic
    data: Any
    type: str | None = None
    username: str | None = None
    """The only user who gets it."""
    once: str | None = None
    """Of all publications with the same text, one is taken."""


class AcceptedEvent(NamedTuple):
    """An event that was taken."""

    id: str
    is_stored: bool
    """Whether it is in the relay's journal; a live value was handed over to the emitter."""


def parse_publications(body: bytes, most: int = MAX_PUBLICATIONS) -> list[RequestedEvent]:
    """Return the events in `body`, one or a list of at most `most`.

    Raises `InvalidPublication` for the first that is wrong. The data is not looked at.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidPublication(f"the body is not JSON: {error}") from None
    events = found if isinstance(found, list) else [found]
    if not 1 <= len(events) <= most:
        raise InvalidPublication(f"a request has 1 to {most} events, this one {len(events)}")
    return [_publication(index, event) for index, event in enumerate(events)]


def with_key(publications: Sequence[RequestedEvent], scope: Sequence[str]) -> list[RequestedEvent]:
    """Return the same events, each of which is taken once for the texts of `scope`."""
    # Lengths first: no text can end in the begin of the next one.
    begin = "".join(f"{len(text)}:{text}," for text in scope)
    return [each._replace(once=f"{begin}{index}") for index, each in enumerate(publications)]


def body_digest(body: bytes) -> str:
    """Return the digest by which a repeated request is recognised."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _publication(index: int, event: Any) -> RequestedEvent:
    if not isinstance(event, dict):
        raise InvalidPublication("an event is a JSON object", index)
    for name in event:
        if name not in FIELDS:
            known = ", ".join(FIELDS)
            raise InvalidPublication(f"is none of {known}", index, name[:MAX_KEY_CHARS])
    for name in ("topic", "data"):
        if name not in event:
            raise InvalidPublication("is missing", index, name)
    for name in ("topic", "type", "username"):
        value = event.get(name)
        if not isinstance(value, str) and (value is not None or name == "topic"):
            raise InvalidPublication("must be text", index, name)
    try:
        topic = parse_topic(event["topic"])
    except InvalidTopic as error:
        raise InvalidPublication(str(error), index, "topic") from None
    return RequestedEvent(topic, event["data"], event.get("type"), event.get("username"))
