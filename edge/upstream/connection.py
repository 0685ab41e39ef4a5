"""`RelayConnection`: the sockets to the relay, and the objects that speak on them."""

import asyncio
import os
from dataclasses import dataclass

import zmq

from edge.config import EdgeSettings
from edge.core.hub.relay_subscriptions import WorkerSubscriptions
from edge.upstream.calls import MethodCalls
from edge.upstream.demand_sender import DemandSender
from edge.upstream.requests import RelayRequests
from edge.upstream.socket import RelaySocket
from relay.shared.sync import SyncHandshake
from relay.shared.transport import Socket, open_socket
from relay.wire.control import HEARTBEAT_TOPIC

RECEIVE_HWM = 1_000
"""Messages that libzmq holds for an edge that does not read; further ones wait at the relay, which
bounds their bytes."""


@dataclass(frozen=True, slots=True)
class RelayConnection:
    """Events come in over `events`; `requests`, `demand`, `subscriptions` and `calls` go out."""

    context: "zmq.Context[Socket]"
    events: RelaySocket
    handshake: SyncHandshake
    requests: RelayRequests
    demand: DemandSender
    subscriptions: WorkerSubscriptions
    calls: MethodCalls

    def close(self) -> None:
        """Close the sockets and end their ZeroMQ context; queued messages are dropped."""
        self.events.close()
        self.requests.socket.close()
        self.demand.close()
        self.calls.close()
        self.context.destroy(linger=0)


def connect(settings: EdgeSettings, loop: asyncio.AbstractEventLoop) -> RelayConnection:
    """Return a connection to the relay that `settings` names, whether it is there yet or not."""
    context: zmq.Context[Socket] = zmq.Context()
    keys = settings.keys
    control = open_socket(context, zmq.DEALER)
    control.setsockopt(zmq.SNDHWM, 0)
    subscriber = open_socket(context, zmq.SUB)
    # Above the high-water mark libzmq would drop a subscription without a word.
    subscriber.setsockopt(zmq.SNDHWM, 0)
    subscriber.setsockopt(zmq.RCVHWM, RECEIVE_HWM)
    subscriber.subscribe(HEARTBEAT_TOPIC)
    requests = RelayRequests(
        loop, RelaySocket(loop, control, settings.relay_control, keys), f"edge-{os.getpid()}"
    )
    events = RelaySocket(loop, subscriber, settings.relay_egress, keys)
    reports = open_socket(context, zmq.DEALER)
    demand = DemandSender(loop, RelaySocket(loop, reports, settings.relay_control, keys))
    subscriptions = WorkerSubscriptions(events, demand, requests, settings.topic_prefixes)
    calls = MethodCalls(
        loop,
        lambda: RelaySocket(loop, open_socket(context, zmq.DEALER), settings.relay_control, keys),
    )
    return RelayConnection(
        context, events, SyncHandshake(subscriber), requests, demand, subscriptions, calls
    )
