"""What a relay says when it is asked: its journal and its counters."""

from typing import Any

import zmq

from relay.wire.control import (
    MAX_REPLAY_EVENTS,
    Replay,
    ReplayReply,
    Request,
    Stats,
    StatsReply,
    pack_message,
    unpack_reply,
)
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.header import unpack_stamp

TIMEOUT_MS = 10_000


def read_journal(control: str, stream: str = "event") -> list[Envelope]:
    """Return every event of `stream`, whose offsets must be 1, 2, 3…"""
    events: list[Envelope] = []
    while True:
        request = Replay(id=1, stream=stream, after=len(events), limit=MAX_REPLAY_EVENTS)
        reply = _ask(control, request)
        assert isinstance(reply, ReplayReply), reply
        if not reply.items:
            assert reply.tip == len(events)
            return events
        for _topic, stamp, envelope in reply.items:
            events.append(unpack_envelope(envelope, stream))
            assert unpack_stamp(stamp).offset == len(events)


def emitter_stats(control: str, name: str) -> dict[str, Any]:
    """Return what the relay knows of the emitter `name`; empty if it knows none."""
    reply = _ask(control, Stats(id=1))
    assert isinstance(reply, StatsReply), reply
    return next((each for each in reply.stats["emitters"] if each["name"] == name), {})


def _ask(control: str, request: Request) -> object:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
        dealer.connect(control)
        dealer.send(pack_message(request))
        return unpack_reply(dealer.recv(), type(request))
    finally:
        context.destroy(linger=0)
