"""`EmitterState`: whether an emitter's events reach the relay, for health checks."""

from enum import StrEnum
from typing import NamedTuple


class EmitterStatus(StrEnum):
    """Whether events reach the relay."""

    CONNECTING = "connecting"
    """The relay is not there, or not yet: events wait in the outbox."""
    CONNECTED = "connected"
    """The relay takes events."""
    REFUSED = "refused"
    """The relay is there and does not admit this emitter: events wait in the outbox."""
    CLOSED = "closed"
    """No events are taken any more: `emit` raises `EmitterClosed`."""


class EmitterState(NamedTuple):
    """The status of an emitter, and since when it has had it."""

    status: EmitterStatus
    reason: str
    """The obstacle to the events, and what to do about it; empty while there is none."""
    since: float
    """Unix time in seconds."""
