"""Valid traffic of each of the relay's sockets, to be changed."""

from typing import Any

import msgpack

from relay.wire.calls import CallNotice, ResultNotice, pack_call_notice
from relay.wire.control import (
    AccountRequest,
    Heartbeat,
    HelloRequest,
    ReplayRequest,
    RetainedRequest,
    StatsRequest,
    pack_message,
)
from relay.wire.demand import pack_digests
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import Header, Stamp, pack_header, pack_stamp
from relay.wire.notices import Acknowledged, DemandNotice, pack_demand_notice, pack_notice
from tests.support.zmtp_peer import GREETING, command, message, ping, ready

EMITTER_ID = b"fuzz".ljust(16, b".")
EPOCH = 2**40
DATA: dict[str, Any] = {"name": "é", "n": 5, "list": [1, 2.5, None], "map": {"deep": {"x": True}}}

ENVELOPES = [
    pack_envelope(Envelope("user_joined", DATA, None, "fuzz", 1, "id-1"), "event"),
    pack_envelope(Envelope("task", {"status": "running"}, "alice", "fuzz", 1, "id-2"), "task"),
    pack_envelope(Envelope("value", DATA, "bob", "fuzz", 1, "once:id-3"), "room"),
]
PLAIN: list[bytes] = [
    msgpack.packb(each) for each in (DATA, 5, "text", {"type": "value", "data": DATA})
]
HEADERS = [pack_header(Header(EMITTER_ID, EPOCH, number)) for number in (0, 1, 2, 2**64 - 1)]
STAMPS = [pack_stamp(Stamp(EPOCH, 7, 1_790_000_000_000))]
TOPICS = [b"event:fuzz", b"task:fuzz:1", b"room:fuzz", b"addressed:alice:x", "app_log:é".encode()]

REQUESTS = [
    pack_message(each)
    for each in (
        HelloRequest(
            id=1,
            role="emitter",
            name="fuzz",
            emitter_id=EMITTER_ID,
            emitter_epoch=EPOCH,
            acknowledged=0,
            epoch=EPOCH,
        ),
        HelloRequest(id=2, role="emitter", name="fuzz", emitter_id=b"f" * 16, process=b"p" * 16),
        HelloRequest(id=3, role="edge", name="fuzz", epoch=EPOCH, heads={"event": (5, 9)}),
        ReplayRequest(id=4, stream="event", after=0, limit=10, max_bytes=1000),
        RetainedRequest(id=5, prefix="room:", max_bytes=1000),
        RetainedRequest(id=6, prefix="room:fuzz", exact=True),
        AccountRequest(id=7, emitter_id=EMITTER_ID, emitter_epoch=EPOCH, counters={"sent": 5}),
        StatsRequest(id=8),
    )
] + [
    msgpack.packb(each)
    for each in (
        {"op": "serve", "id": 9, "name": "fuzz", "methods": ["fuzz.one", "fuzz.two"]},
        {
            "op": "call",
            "id": 10,
            "method": "fuzz.one",
            "params": b"\x80",
            "username": "alice",
            "role": "user",
            "timeout_s": 0.5,
        },
        {"op": "result", "id": 11, "call": 5, "result": b"\x80"},
        {
            "op": "demand",
            "id": 12,
            "edge": b"e" * 16,
            "after": 0,
            "version": 1,
            "watch": pack_digests([1, 2**64 - 1]),
        },
        {"op": "watched", "id": 13, "epoch": 0, "after": 0},
    )
]
NOTICES = [
    pack_notice(Acknowledged(EPOCH, 5)),
    pack_demand_notice(DemandNotice(EPOCH, 1, 2, pack_digests([1]), b"")),
    pack_call_notice(CallNotice(5, "fuzz.one", b"\x80", "alice", "user", 1.0)),
    pack_call_notice(ResultNotice(5, b"\x80", None)),
]
HEARTBEATS = [
    pack_message(Heartbeat(tips={"event": 5}, low={"event": 1}, started_at=1, journaling=True))
]
SUBSCRIPTIONS = [
    b"\1" + each for each in (b"", b"event:", b"room:fuzz", b"!filtered:room:", b"!sync:nonce")
] + [b"\0event:", b"\0room:fuzz"]

MESSAGES: dict[str, list[list[bytes]]] = {
    "ingress": [
        [topic, header, envelope]
        for topic in TOPICS
        for header in HEADERS
        for envelope in ENVELOPES
    ]
    + [[topic, payload] for topic in TOPICS for payload in PLAIN],
    "egress": [[each] for each in SUBSCRIPTIONS],
    "control": [[each] for each in REQUESTS],
}
"""The messages of peers of each socket."""
SOCKET_TYPES = {"ingress": b"PUB", "egress": b"SUB", "control": b"DEALER"}

STREAMS: dict[str, list[bytes]] = {
    name: [
        GREETING + ready(SOCKET_TYPES[name]) + b"".join(message(*each) for each in messages),
        GREETING + ready(SOCKET_TYPES[name]) + ping(b"context") + message(*messages[0]),
        GREETING + ready(SOCKET_TYPES[name]) + command(b"SUBSCRIBE", b"event:"),
    ]
    for name, messages in ((name, found[:6]) for name, found in MESSAGES.items())
}
"""Whole connections."""
