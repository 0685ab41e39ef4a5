"""Events that a full socket does not take stay in the mailbox, in order."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from emitters.core.identity import EmitterIdentity
from emitters.sender import SEND_BATCH, EventSender
from relay.shared.transport import Socket, open_socket
from relay.wire.header import SENT_AGAIN, unpack_header
from tests.emitters.core.messages import accepting
from tests.emitters.mailboxes import event, open_mailbox
from tests.support.waiting import wait_for

IDENTITY = EmitterIdentity.of_process("manager-1")
TIMEOUT_MS = 10_000
HIGH_WATER_MARK = 10


class Wire:
    """The emitter's data socket with a low high-water mark, and a relay that reads when told."""

    def __init__(self, path: Path) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self.data = open_socket(self._context, zmq.XPUB)
        self.data.setsockopt(zmq.XPUB_NODROP, 1)
        self.data.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self._relay = self._context.socket(zmq.SUB)
        self._relay.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        self._relay.subscribe(b"")
        self.data.bind(f"inproc://{path.name}")
        self._relay.connect(f"inproc://{path.name}")
        assert self.data.poll(TIMEOUT_MS), "no subscription"
        self.data.recv()

    def read(self) -> tuple[int, bytes]:
        """Return sequence number and envelope of the next event."""
        assert self._relay.poll(TIMEOUT_MS), "no event"
        _, header, envelope = self._relay.recv_multipart()
        return unpack_header(header).sequence, envelope

    def close(self) -> None:
        """Close both ends."""
        self._context.destroy(linger=0)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path)
    yield wire
    wire.close()


def test_a_full_socket_gets_the_rest_later_and_nothing_is_lost_or_doubled(wire: Wire) -> None:
    mailbox = open_mailbox()
    sender = EventSender(wire.data, mailbox, IDENTITY)
    for number in range(1, 61):
        mailbox.add(event(number), None)
    mailbox.take_new()
    sender.send_batch()
    assert sender.blocked_until > 0
    received: list[tuple[int, bytes]] = []
    while len(received) < 60:
        received.append(wire.read())
        wait_for(lambda: time.monotonic() > sender.blocked_until, "the socket may be tried again")
        sender.send_batch()
    assert received == [(number, b"%d" % number) for number in range(1, 61)]


def test_live_values_that_a_full_socket_does_not_take_are_the_newest_later(wire: Wire) -> None:
    mailbox = open_mailbox()
    mailbox.on_subscriptions([b"\x01live:"])
    sender = EventSender(wire.data, mailbox, IDENTITY)
    for number in range(60):
        mailbox.add(event(1, f"live:{number:02}"), None)
    mailbox.take_new()
    sender.send_batch()
    for number in range(60):
        mailbox.add(event(2, f"live:{number:02}"), None)
    mailbox.take_new()
    mailbox.take_report(0.0)
    counters = mailbox.counters()
    assert counters["live_sent"] + counters["conflated"] + 60 == counters["live"] == 120
    sent_before = counters["live_sent"]
    for _ in range(sent_before):
        assert wire.read() == (0, b"1")


def test_a_value_that_is_sent_to_the_next_relay_too_says_so(wire: Wire) -> None:
    mailbox = open_mailbox()
    mailbox.on_subscriptions([b"\x01live:"])
    sender = EventSender(wire.data, mailbox, IDENTITY)
    mailbox.add(event(1, "live:a"), None)
    mailbox.take_new()
    sender.send_batch()
    mailbox.on_subscriptions([b"\x00event:", b"\x00task:", b"\x00live:"])
    mailbox.take_hello(0.0)
    mailbox.on_hello_accepted(accepting(0), 0.0)
    mailbox.on_subscriptions([b"\x01event:", b"\x01task:", b"\x01live:"])
    mailbox.add(event(2, "live:b"), None)
    mailbox.take_new()
    sender.send_batch()
    assert [wire.read() for _ in range(3)] == [(0, b"1"), (0, b"2"), (SENT_AGAIN, b"1")]


def test_a_batch_leaves_the_rest_to_the_next_turn(tmp_path: Path) -> None:
    context: zmq.Context[Socket] = zmq.Context()
    try:
        mailbox = open_mailbox(max_events=1000)
        sender = EventSender(open_socket(context, zmq.XPUB), mailbox, IDENTITY)
        for number in range(SEND_BATCH + 1):
            mailbox.add(event(number), None)
        mailbox.take_new()
        sender.send_batch()
        assert mailbox.take_events(10, 0.0)[0] == SEND_BATCH + 1
    finally:
        context.destroy(linger=0)


def test_nothing_is_sent_before_the_dialogue_is_open(wire: Wire) -> None:
    mailbox = open_mailbox()
    mailbox.on_subscriptions([b"\x00event:", b"\x00task:"])
    mailbox.add(event(), None)
    mailbox.take_new()
    EventSender(wire.data, mailbox, IDENTITY).send_batch()
    assert mailbox.take_events(10, 0.0) == (1, [event()])
