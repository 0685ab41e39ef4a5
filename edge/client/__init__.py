"""The Python client of an edge: events of `/ws`, resumed after a lost connection.

    async with connect("wss://example.org/ws", token=get_token) as relay:
        async for event in relay.subscribe("event:*"):
            print(event.topic, event.data)
        await relay.publish("room:1", "hello")
        await relay.request("restart_server", {"server_name": "survival"})

It is a client and no part of the server: it needs neither FastAPI nor ZeroMQ, and no POSIX system.
`core` holds its decisions; `client` runs the connections, `event_stream` queues events for the
application. docs/clients.md describes it.
"""

from edge.client.client import RelayClient, connect
from edge.client.core.errors import (
    ClientError,
    ClosedByEdge,
    EdgeUnreachable,
    EventsLost,
    Forbidden,
    NotSent,
    OutcomeUnknown,
    RequestFailed,
    RequestRefused,
    TokenRefused,
)
from edge.client.core.messages import (
    ConnectionState,
    Event,
    Gap,
    Loss,
    NewEpoch,
    PublishResult,
    Unrecovered,
)
from edge.client.event_stream import EventStream

__all__ = [
    "ClientError",
    "ClosedByEdge",
    "ConnectionState",
    "EdgeUnreachable",
    "Event",
    "EventStream",
    "EventsLost",
    "Forbidden",
    "Gap",
    "Loss",
    "NewEpoch",
    "NotSent",
    "OutcomeUnknown",
    "PublishResult",
    "RelayClient",
    "RequestFailed",
    "RequestRefused",
    "TokenRefused",
    "Unrecovered",
    "connect",
]
