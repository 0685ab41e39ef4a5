"""The processes of `bench.parts.relay` around the relay and around `zmq.proxy`."""

import contextlib
import time
from multiprocessing.synchronize import Event
from typing import Any

import zmq

from emitters import Emitter
from relay.shared.curve_keys import ClientKeys
from relay.shared.transport import connect
from relay.wire.control import HEARTBEAT_TOPIC
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import Header, pack_header, unpack_stamp

EVENTS_EACH = 150_000
TOPIC = "event:after_server_start"
BATCH = 64
"""Events that a plain publisher sends between two readings of the clock."""
TIMEOUT_S = 120.0
SILENCE_S = 10
"""Seconds without an event after which a subscriber gives up."""


def emit(name: str, ingress: str, control: str, events_per_s: float, go: Event, spans: Any) -> None:
    """Emit at a steady rate, or as fast as the relay takes the events if that is less."""
    with Emitter(name=name, ingress=ingress, control=control, block_timeout_s=TIMEOUT_S) as emitter:
        assert emitter.wait_connected(10)
        spans.put(None)
        go.wait()
        begin = time.monotonic()
        for number in range(EVENTS_EACH):
            emitter.emit(TOPIC, data(number))
            if number % BATCH == 0:
                time.sleep(max(0.0, begin + number / events_per_s - time.monotonic()))
        assert emitter.close(TIMEOUT_S) == 0, "not everything was acknowledged"
        spans.put((begin, time.monotonic()))


def publish(
    name: str,
    ingress: str,
    events_per_s: float,
    keys: ClientKeys | None,
    go: Event,
    spans: Any,
) -> None:
    """Send the frames of a tracked emitter at a steady rate, without acknowledgements."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.setsockopt(zmq.SNDHWM, 0)
    connect(publisher, ingress, keys)
    publisher.recv()  # The subscription shows that the path is open.
    spans.put(None)
    go.wait()
    begin = time.monotonic()
    frames = plain_frames(1)
    for number in range(EVENTS_EACH):
        if number % BATCH == 0:
            time.sleep(max(0.0, begin + number / events_per_s - time.monotonic()))
        publisher.send_multipart(frames)
    end = time.monotonic()
    context.destroy(linger=10_000)
    spans.put((begin, end))


def proxy(ingress: str, egress: str, keys: ClientKeys | None) -> None:
    """Run `zmq.proxy`, with `keys` encrypted: of any client that knows the public key."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    for proxied, endpoint in zip(sockets, (ingress, egress), strict=True):
        proxied.setsockopt(zmq.SNDHWM, 0)
        proxied.setsockopt(zmq.RCVHWM, 0)
        if keys is not None:
            proxied.setsockopt(zmq.CURVE_SERVER, 1)
            proxied.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)
        proxied.bind(endpoint)
    zmq.proxy(*sockets)


def subscribe(
    egress: str, count: int, stamped: bool, keys: ClientKeys | None, outcome: Any
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.setsockopt(zmq.RCVHWM, 0)
    subscriber.setsockopt(zmq.RCVTIMEO, 1000 * SILENCE_S)
    subscriber.subscribe(b"event:")
    connect(subscriber, egress, keys)
    if stamped:
        subscriber.subscribe(HEARTBEAT_TOPIC)
        subscriber.recv_multipart()  # The subscriptions are in place.
        subscriber.unsubscribe(HEARTBEAT_TOPIC)
    outcome.put(None)
    right = 0
    with contextlib.suppress(zmq.Again):
        while right < count:
            topic, second, _envelope = subscriber.recv_multipart()
            if topic == HEARTBEAT_TOPIC:
                continue
            if stamped and unpack_stamp(second).offset != right + 1:
                break
            right += 1
    outcome.put(right)


def data(number: int) -> dict[str, Any]:
    return {
        "server_name": "survival",
        "result": "success",
        "path": f"/srv/backups/survival/{number:08}.tar.zst",
        "n": number,
    }


def plain_frames(number: int) -> tuple[bytes, bytes, bytes]:
    """Return the frames that an emitter sends for one event."""
    envelope = Envelope(
        type="event",
        data=data(number),
        username=None,
        source="bench-0",
        emitted_at=time.time_ns() // 1_000_000,
        id="0" * 24,
    )
    header = pack_header(Header(bytes(16), 1, number))
    return TOPIC.encode(), header, pack_envelope(envelope, "event")
