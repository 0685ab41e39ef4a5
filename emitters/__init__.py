"""Emit events from any process.

from emitters import Emitter

with Emitter(name="manager-1") as emitter:
    emitter.emit("event:after_backup", {"server_name": "survival"})
"""

import emitters.own_relay  # noqa: F401
from emitters.answers import Answers, Call, CallFailed
from emitters.emitter import Emitter, NewEvent
from emitters.errors import (
    EmitterClosed,
    EmitterError,
    InvalidEvent,
    NotPermitted,
    OutboxFull,
    RelayUnavailable,
    SpoolInUse,
    SpoolRefused,
    SpoolUnavailable,
)
from relay.wire.contracts import event
from relay.wire.errors import InvalidEnvelope, InvalidTopic, WireError

PROJECT = "event-relay"
"""By it `edge` knows that Python has found this package and no other of its name."""

__all__ = [
    "Answers",
    "Call",
    "CallFailed",
    "Emitter",
    "EmitterClosed",
    "EmitterError",
    "InvalidEnvelope",
    "InvalidEvent",
    "InvalidTopic",
    "NewEvent",
    "NotPermitted",
    "OutboxFull",
    "RelayUnavailable",
    "SpoolInUse",
    "SpoolRefused",
    "SpoolUnavailable",
    "WireError",
    "event",
]
