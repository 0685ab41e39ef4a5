"""Notices reach connected emitters, and show which emitters are connected."""

import pytest
import zmq

from relay.core.emitters import Cursor, KnownEmitter
from relay.notifier import Notifier
from relay.shared.transport import Socket
from relay.wire.notices import Acknowledged, Resend, unpack_notice

PEER = b"peer-1"


@pytest.fixture
def control(context: "zmq.Context[Socket]") -> Socket:
    control = context.socket(zmq.ROUTER)
    control.setsockopt(zmq.ROUTER_MANDATORY, 1)
    control.setsockopt(zmq.SNDHWM, 2)
    control.bind("inproc://control")
    return control


def emitter(peer: bytes | None) -> KnownEmitter:
    known = KnownEmitter(Cursor(b"e" * 16, "manager-1", 5, 41), is_journaled=True)
    known.peer = peer
    return known


def test_a_connected_emitter_is_told_and_counts_as_reached(
    context: "zmq.Context[Socket]", control: Socket
) -> None:
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.ROUTING_ID, PEER)
    dealer.connect("inproc://control")
    notifier, known = Notifier(control, lambda _emitter: None), emitter(PEER)
    assert notifier.acknowledge(known)
    notifier.request_resend(known)
    assert [unpack_notice(dealer.recv()) for _ in range(2)] == [Acknowledged(5, 41), Resend(5, 41)]


def test_an_emitter_that_does_not_read_is_still_connected(
    context: "zmq.Context[Socket]", control: Socket
) -> None:
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.ROUTING_ID, PEER)
    dealer.setsockopt(zmq.RCVHWM, 2)
    dealer.connect("inproc://control")
    notifier = Notifier(control, lambda _emitter: None)
    reached = [notifier.acknowledge(emitter(PEER)) for _ in range(20)]
    assert all(reached)
    unasked: list[KnownEmitter] = []
    known = emitter(PEER)
    Notifier(control, unasked.append).request_resend(known)
    assert unasked == [known], "it has to learn it otherwise"


@pytest.mark.parametrize("peer", [None, b"gone"])
def test_an_emitter_that_is_gone_is_not_reached(control: Socket, peer: bytes | None) -> None:
    known = emitter(peer)
    assert not Notifier(control, lambda _emitter: None).acknowledge(known)
    assert known.peer is None
