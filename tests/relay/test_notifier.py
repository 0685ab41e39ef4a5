"""Notices reach connected emitters, and show which emitters are connected."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq

from relay.core.emitters import Cursor, KnownEmitter, KnownEmitters
from relay.core.intake import ForbiddenEvent
from relay.notifier import MAX_WAITING_BYTES, Notifier
from relay.shared.transport import Socket, open_socket
from relay.wire.header import Header
from relay.wire.notices import Acknowledged, ForbiddenNotice, Resend, unpack_notice
from relay.wire.topics import decode_topic
from tests.relay.ports import OpenPort, open_port

WAIT_MS = 10_000


@pytest.fixture
def control() -> Iterator[OpenPort]:
    with ExitStack() as stack:
        yield open_port(stack, b"ROUTER")


@pytest.fixture
def dealer(context: "zmq.Context[Socket]", control: OpenPort) -> Socket:
    dealer = open_socket(context, zmq.DEALER)
    dealer.connect(control.endpoint)
    return dealer


def emitter(peer: bytes | None) -> KnownEmitter:
    known = KnownEmitter(Cursor(b"e" * 16, "manager-1", 5, 41), is_journaled=True)
    known.peer = peer
    return known


class Proven:
    """Proves any number."""

    def __init__(self) -> None:
        self.emitters = KnownEmitters(())

    def proof_of(self, emitter: KnownEmitter) -> bytes | None:
        return b"proof of %d" % emitter.committed


def notifier_of(control: OpenPort) -> Notifier:
    return Notifier(control.port, Proven())


def test_a_connected_emitter_is_told_and_counts_as_reached(
    control: OpenPort, dealer: Socket
) -> None:
    known = emitter(control.wait_for_peer().id)
    notifier = notifier_of(control)
    assert notifier.is_connected(known)
    assert notifier.acknowledge(known)
    notifier.request_resend(known)
    control.turn()
    assert dealer.poll(WAIT_MS)
    assert [unpack_notice(dealer.recv()) for _ in range(2)] == [
        Acknowledged(5, 41, b"proof of 41"),
        Resend(5, 41),
    ]


def test_an_emitter_that_does_not_read_is_still_connected(
    control: OpenPort, dealer: Socket
) -> None:
    assert dealer.type == zmq.DEALER
    peer = control.wait_for_peer()
    peer.queued_bytes += MAX_WAITING_BYTES + 1
    known = emitter(peer.id)
    drops = known.drops
    notifier = notifier_of(control)
    assert notifier.acknowledge(known)
    assert not peer.queue, "nothing more is queued"
    notifier.request_resend(known)
    assert known.drops != drops, "it has to learn it otherwise"


@pytest.mark.parametrize("peer", [None, b"gone"])
def test_an_emitter_that_is_gone_is_not_reached(control: OpenPort, peer: bytes | None) -> None:
    for ask in (Notifier.acknowledge, Notifier.is_connected):
        known = emitter(peer)
        assert not ask(notifier_of(control), known)
        assert known.peer is None


def test_an_emitter_is_told_of_an_event_that_it_may_not_publish(
    control: OpenPort, dealer: Socket
) -> None:
    proven = Proven()
    cursor = Cursor(b"e" * 16, "manager-1", 5, 0)
    proven.emitters.admit(cursor, control.wait_for_peer().id, lambda _: False)
    notifier = Notifier(control.port, proven)
    topic = decode_topic(b"addressed:app_log:")
    for header in (
        None,
        Header(b"x" * 16, 5, 1),
        Header(b"e" * 16, 5, 2),
    ):
        notifier.forbid(ForbiddenEvent(topic, "source", header))
    control.turn()
    assert dealer.poll(WAIT_MS)
    assert unpack_notice(dealer.recv()) == ForbiddenNotice(5, 2, "app_log", "source")
    assert not dealer.poll(0), "nobody is told of the event of another, or of none"


def test_an_emitter_that_is_gone_is_not_told_what_it_may_not_publish(control: OpenPort) -> None:
    proven = Proven()
    proven.emitters.admit(Cursor(b"e" * 16, "manager-1", 5, 0), b"gone", lambda _: False)
    event = ForbiddenEvent(decode_topic(b"event:a"), "topic", Header(b"e" * 16, 5, 1))
    Notifier(control.port, proven).forbid(event)
    assert len(control.port) == 0
