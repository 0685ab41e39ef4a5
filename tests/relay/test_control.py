"""`ControlDesk` answers every frame, right or wrong."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.control import ControlDesk
from relay.core.cursors import Cursors
from relay.core.retained import Item, Retained
from relay.core.sequencer import Sequencer
from relay.core.stats import Stats
from relay.wire import control
from relay.wire.control import (
    PROTOCOL_VERSION,
    ErrorReply,
    Hello,
    HelloReply,
    Request,
    RetainedReply,
    StatsReply,
    pack_message,
    unpack_reply,
)
from relay.wire.envelope import Envelope
from relay.wire.header import Header
from relay.wire.topics import parse_topic
from tests.relay.wire.strategies import frames_like
from tests.relay.wire.vectors import case_name, vectors

UPTIME_S = 12.3456789


class Office:
    """A control desk with the state it speaks for."""

    def __init__(self) -> None:
        self.sequencer = Sequencer(7, ("event", "task"))
        self.retained = Retained()
        self.cursors = Cursors()
        self.counters = Stats()
        self.desk = ControlDesk(
            self.sequencer, self.retained, self.cursors, self.counters, 0.5, lambda: UPTIME_S
        )


def test_hello_is_answered_with_what_a_peer_must_know() -> None:
    office = Office()
    office.sequencer.stamp("task", 0)
    reply = office.desk.answer(pack_message(Hello(id=3, role="edge", name="edge-1")))
    assert reply == HelloReply(
        id=3,
        epoch=7,
        journaled_kinds=("event", "task"),
        tips={"event": 0, "task": 1},
        heartbeat_s=0.5,
    )


@pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1])
def test_another_protocol_version_is_told_which_one_is_spoken(version: int) -> None:
    hello = Hello(id=3, protocol=version, role="emitter", name="m")
    reply = Office().desk.answer(pack_message(hello))
    assert reply == ErrorReply(
        id=3,
        code="unsupported_protocol",
        message=f"this relay speaks protocol {PROTOCOL_VERSION}, not {version}",
    )


def test_retained_events_are_given_by_prefix() -> None:
    office = Office()
    items = {
        topic: Item(topic.encode(), b"stamp", b"envelope")
        for topic in ("resource-monitor:a", "resource-monitor:b", "task:1")
    }
    for topic, item in items.items():
        envelope = Envelope("any", {}, "alice", "m", 0, "id")
        office.retained.keep(parse_topic(topic), envelope, item)
    request = control.Retained(id=4, prefix="resource-monitor:")
    assert office.desk.answer(pack_message(request)) == RetainedReply(
        id=4, items=(items["resource-monitor:a"], items["resource-monitor:b"])
    )


def test_an_emitter_learns_how_far_the_relay_has_come() -> None:
    office = Office()
    office.cursors.advance(Header(b"e" * 16, 1, 41))
    office.cursors.advance(Header(b"e" * 16, 1, 42))
    office.cursors.advance(Header(b"e" * 16, 1, 0))
    for emitter_id, sequence in ((b"e" * 16, 42), (b"x" * 16, 0)):
        request = control.Received(id=5, emitter_id=emitter_id)
        assert office.desk.answer(pack_message(request)) == control.ReceivedReply(
            id=5, sequence=sequence
        )


def test_stats_tell_epoch_tips_uptime_and_counters() -> None:
    office = Office()
    office.counters.received = 5
    reply = office.desk.answer(pack_message(control.Stats(id=5)))
    assert isinstance(reply, StatsReply)
    assert reply.stats["epoch"] == 7
    assert reply.stats["tips"] == {"event": 0, "task": 0}
    assert reply.stats["uptime_s"] == 12.346
    assert reply.stats["received"] == 5
    assert reply.stats["control_requests"] == {"stats": 1}


@pytest.mark.parametrize("case", vectors("control")["invalid_requests"], ids=case_name)
def test_a_frame_that_is_no_request_is_refused_with_an_error(case: dict[str, str]) -> None:
    office = Office()
    reply = office.desk.answer(bytes.fromhex(case["hex"]))
    assert isinstance(reply, ErrorReply)
    assert (reply.id, reply.code) == (0, "bad_request")
    assert reply.message
    assert office.counters.control_requests == {"refused": 1}


@given(
    frames_like(
        *(msgpack.unpackb(bytes.fromhex(case["hex"])) for case in vectors("control")["requests"])
    ),
    st.sampled_from([Hello, control.Retained, control.Stats]),
)
def test_any_frame_gets_a_reply_that_can_be_sent(frame: bytes, request: type[Request]) -> None:
    office = Office()
    reply = office.desk.answer(frame)
    packed = pack_message(reply)
    if isinstance(reply, ErrorReply):
        assert unpack_reply(packed, request) == reply
    assert sum(office.counters.control_requests.values()) == 1
