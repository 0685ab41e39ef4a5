"""Events, losses and states, as the application gets them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Epoch: TypeAlias = int | str

PERSONAL_STREAMS = ("task", "addressed")
"""Streams whose events come without a subscription, and so without `since`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a topic (protocol section 7)."""

    topic: str
    data: Any
    """The payload of the emitter: any JSON value."""
    type: str
    stream: str
    """The topic's kind, or `addressed` of an event for this user alone."""
    source: str = ""
    emitted_at: int = 0
    """Unix time in milliseconds, by the emitter's clock; 0 if the message does not tell it."""
    offset: int | None = None
    """The number in its stream; None of live topics."""
    retained: bool = False
    """True for a state from before this connection; it is not a new event."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Lost events of a stream: the offsets from `first` to `last`, both included.

    `reason` is `retention` if the journal has removed them, `damaged` if it cannot read them.
    """

    stream: str
    first: int
    last: int
    reason: str

    def __str__(self) -> str:
        return f"events {self.first} to {self.last} of the stream {self.stream!r}: {self.reason}"


@dataclass(frozen=True, slots=True)
class NewEpoch:
    """The relay has another epoch: events between the two may be missing, and nobody can tell.

    It is reported as soon as every subscription is live under it. At that moment an application
    should load again all data that it keeps up to date by events.
    """

    epoch: Epoch
    previous: Epoch

    def __str__(self) -> str:
        return f"the relay has a new epoch {self.epoch} after {self.previous}"


@dataclass(frozen=True, slots=True)
class Unrecovered:
    """The edge says that a resumed subscription did not get everything (`recovered` is false).

    The role of the user changed during the catch-up.
    """

    pattern: str

    def __str__(self) -> str:
        return f"some events of {self.pattern!r}"


Loss: TypeAlias = Gap | NewEpoch | Unrecovered


@dataclass(frozen=True, slots=True)
class PublishResult:
    """An event that was taken: `event_id` is its id, if the edge has emitted it.

    If the application in which the edge is has taken it, `result` is its answer, any JSON value.
    """

    event_id: str | None
    result: Any = None


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """The state of a client.

    - `connecting`: opening, authenticating, subscribing, or catching up
    - `live`: authenticated, and the edge has answered every subscription
    - `waiting`: the connection is lost; the next try is after `retry_in_s` seconds
    - `unauthenticated`: the edge refused the token, and the next one too
    - `closed`: by the application, or by the edge, which found a fault in this client

    `code` and `reason` tell why the last connection ended.
    """

    name: Literal["connecting", "live", "waiting", "unauthenticated", "closed"]
    code: int | None = None
    reason: str = ""
    retry_in_s: float = 0.0
    username: str = ""


def parse_event(message: Mapping[str, Any]) -> Event:
    """Return the event of a message that has `topic` and `type`."""
    topic: str = message["topic"]
    offset = message.get("offset")
    return Event(
        topic=topic,
        data=message.get("data"),
        type=message["type"],
        stream=str(message.get("stream") or topic.partition(":")[0]),
        source=str(message.get("source", "")),
        emitted_at=message.get("emitted_at", 0),
        offset=offset if isinstance(offset, int) else None,
        retained=message.get("retained") is True,
    )


def parse_gap(message: Mapping[str, Any]) -> Gap | None:
    """Return the lost events that a `gap` message names; None if it names none."""
    match message:
        case {"stream": str(stream), "from": int(first), "to": int(last)}:
            return Gap(stream, first, last, str(message.get("reason", "")))
        case _:
            return None
