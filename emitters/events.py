"""The event names an emitter can count on, for `from emitters.events import EventName`.

The catalogue itself lives in `relay.wire.catalogue`, where the edges read it too.
"""

from relay.wire.catalogue import (
    CATALOGUE,
    AfterEvent,
    EventData,
    EventName,
    EventSpec,
    Outcome,
    ServerEvent,
    ServerStatus,
    ServerStatuses,
    check_catalogue,
)

__all__ = [
    "CATALOGUE",
    "AfterEvent",
    "EventData",
    "EventName",
    "EventSpec",
    "Outcome",
    "ServerEvent",
    "ServerStatus",
    "ServerStatuses",
    "check_catalogue",
]
