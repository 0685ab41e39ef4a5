"""The event that every server carries: JSON of one size, with a number and the time of sending."""

import time
from typing import NamedTuple

import orjson

TOPIC = "event:bench"


class Event(NamedTuple):
    """The fields that a client checks and measures with."""

    number: int
    """Number over all topics, contiguous from 0."""
    sent_ns: int
    """Time by the monotonic clock, which all processes of a machine share."""


class Unreadable(Exception):  # noqa: N818
    """The text is not the JSON of an event."""


def event_data(number: int) -> dict[str, str]:
    """Return the `data` of an event that our emitter sends now."""
    return {"n": f"{number:08}", "sent": f"{time.monotonic_ns():017}"}


def event_text(number: int) -> bytes:
    """Return the event that a peer's publisher sends now, as the JSON that our edge makes."""
    return (
        b'{"type":"event","topic":"event:bench","data":{"n":"%08d","sent":"%017d"},'
        b'"source":"bench","emitted_at":%d,"offset":%d}'
        % (number, time.monotonic_ns(), time.time_ns() // 1_000_000, number + 1)
    )


def read_event(text: bytes) -> Event:
    """Return the event in `text`, or raise `Unreadable`."""
    try:
        data = orjson.loads(text)["data"]
        return Event(int(data["n"]), int(data["sent"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{text[:200]!r}: {error!r}") from None
