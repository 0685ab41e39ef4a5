"""A subscriber that does not read is cut, on either transport, and others are not."""

from pathlib import Path

import pytest
import zmq

from relay.shared.transport import Socket, open_socket
from relay.sockets import MAX_SUBSCRIPTION_BYTES
from relay.subscribers import Subscribers
from tests.support.waiting import wait_for

WAIT_MS = 10_000
BUDGET = 4 * 1024 * 1024
BODY = bytes(200_000)


def receive(socket: Socket) -> bytes:
    assert socket.poll(WAIT_MS), "nothing arrives"
    return socket.recv_multipart()[0]


def read_all(socket: Socket) -> None:
    """Read the messages that have arrived."""
    while socket.poll(0):
        socket.recv_multipart()


@pytest.fixture(params=["tcp", "ipc"])
def egress(
    context: "zmq.Context[Socket]", tmp_path: Path, request: pytest.FixtureRequest
) -> Socket:
    egress = open_socket(context, zmq.XPUB)
    egress.setsockopt(zmq.XPUB_VERBOSER, 1)
    egress.setsockopt(zmq.SNDHWM, 0)
    egress.setsockopt(zmq.MAXMSGSIZE, MAX_SUBSCRIPTION_BYTES)
    egress.bind("tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/egress")
    return egress


class Published:
    """An egress with its subscribers."""

    def __init__(self, egress: Socket) -> None:
        self.egress = egress
        self.subscribers = Subscribers(BUDGET)
        self.cut = 0

    def connect(self, context: "zmq.Context[Socket]") -> Socket:
        """A subscriber for which libzmq queues one message."""
        socket = open_socket(context, zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, 1)
        socket.subscribe(b"")
        socket.connect(self.egress.getsockopt_string(zmq.LAST_ENDPOINT))
        assert self.read_subscription() == b"\x01"
        return socket

    def read_subscription(self) -> bytes:
        assert self.egress.poll(WAIT_MS), "no subscription"
        frame = self.egress.recv(copy=False)
        self.subscribers.heard(frame)
        return frame.bytes

    def publish(self, number: int) -> None:
        self.egress.send(b"%d" % number, zmq.SNDMORE)
        self.egress.send(BODY)
        if self.subscribers.budget.publish(len(BODY)):
            self.cut += self.subscribers.cut_slow_ones()


def test_a_subscriber_that_does_not_read_is_cut_and_comes_again(
    egress: Socket, context: "zmq.Context[Socket]"
) -> None:
    published = Published(egress)
    slow, quick = published.connect(context), published.connect(context)
    # More than the kernel's buffers hold, and the budget.
    for number in range(200):
        published.publish(number)
        assert receive(quick) == b"%d" % number, "the other one gets everything"
        if published.cut:
            break
    assert published.cut == 1
    assert 20 <= number < 100
    assert published.read_subscription() == b"\x00", "libzmq has dropped its queue"
    assert len(published.subscribers.budget) == 1

    # It sees the end of its connection when it has read all that came before.
    def is_connected_again() -> bool:
        read_all(slow)
        return bool(egress.poll(0))

    wait_for(is_connected_again, "it connects again")
    assert published.read_subscription() == b"\x01"
    published.publish(1000)
    while receive(slow) != b"1000":
        pass
    assert published.cut == 1


def test_a_subscriber_that_reads_is_not_cut_however_much_is_published(
    egress: Socket, context: "zmq.Context[Socket]"
) -> None:
    published = Published(egress)
    reader = published.connect(context)
    for number in range(10 * BUDGET // len(BODY)):
        published.publish(number)
        assert receive(reader) == b"%d" % number
    assert published.cut == 0


def test_a_connection_that_has_ended_is_forgotten(
    egress: Socket, context: "zmq.Context[Socket]"
) -> None:
    published = Published(egress)
    published.connect(context).close()
    assert published.read_subscription() == b"\x00"
    published.subscribers.cut_slow_ones()
    assert len(published.subscribers.budget) == 0
