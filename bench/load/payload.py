"""The event that every server carries: JSON of one size, numbered, with the time it was sent."""

import time
from typing import NamedTuple

import orjson

TOPIC = "event:bench"


class Event(NamedTuple):
    """What a client checks, and measures by."""

    number: int
    """From 0 on, without a hole, over all topics."""
    sent_ns: int
    """By the monotonic clock, which all processes of a machine share."""


class Unreadable(Exception):  # noqa: N818
    """Not the JSON of an event."""


def event_data(number: int) -> dict[str, str]:
    """Return what our emitter is given as the `data` of an event that is sent now."""
    return {"n": f"{number:08}", "sent": f"{time.monotonic_ns():017}"}


def event_text(number: int) -> bytes:
    """Return what the peers' publishers send now: the JSON that our edge makes of it."""
    return (
        b'{"type":"event","topic":"event:bench","data":{"n":"%08d","sent":"%017d"},'
        b'"source":"bench","emitted_at":%d,"offset":%d}'
        % (number, time.monotonic_ns(), time.time_ns() // 1_000_000, number + 1)
    )


def read_event(text: bytes) -> Event:
    """Return what `text` says, or raise `Unreadable`."""
    try:
        data = orjson.loads(text)["data"]
        return Event(int(data["n"]), int(data["sent"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{text[:200]!r}: {error!r}") from None
