"""Publishers hear the relay's subscriptions, the late ones as well, and are read in turns."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq

from relay.ingress import Ingress
from relay.shared.transport import Socket, open_socket
from tests.relay.ports import OpenPort, open_port
from tests.support.zmtp_peer import message


@pytest.fixture
def opened() -> Iterator[OpenPort]:
    with ExitStack() as stack:
        yield open_port(stack, b"XSUB")


@pytest.fixture
def ingress(opened: OpenPort) -> Ingress:
    return Ingress(opened.port, (b"event:", b"task:"))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_publisher_hears_what_is_subscribed_to_always(
    ingress: Ingress, opened: OpenPort, stack: ExitStack
) -> None:
    peer = opened.connect(stack, b"PUB")
    assert [peer.read_message(), peer.read_message()] == [[b"\1event:"], [b"\1task:"]]
    assert ingress is opened.port.listener


def test_changes_reach_all_in_order_and_a_late_one_hears_what_is_left(
    ingress: Ingress, opened: OpenPort, stack: ExitStack
) -> None:
    early = [opened.connect(stack, b"PUB") for _ in range(2)]
    ingress.change([(True, b"live:a"), (True, b"live:"), (False, b"live:a")])
    ingress.change([])
    opened.port.flush()
    late = opened.connect(stack, b"PUB")
    for peer in early:
        received = [peer.read_message()[0] for _ in range(5)]
        assert received == [b"\1event:", b"\1task:", b"\1live:a", b"\1live:", b"\0live:a"]
    received = [late.read_message()[0] for _ in range(3)]
    assert received == [b"\1event:", b"\1task:", b"\1live:"]


def test_publishers_share_the_bytes_of_many_changes(
    ingress: Ingress, opened: OpenPort, stack: ExitStack
) -> None:
    """A thousand changes for a thousand publishers are a thousand messages, not a million."""
    for _ in range(2):
        opened.connect(stack, b"PUB")
    ingress.change([(True, b"live:%d" % number) for number in range(100)])
    first, second = opened.port.peers()
    assert len(first.queue) == 1
    assert first.queue[0] is second.queue[0]


def test_a_publisher_of_libzmq_sends_what_is_subscribed_to(
    ingress: Ingress, opened: OpenPort, context: "zmq.Context[Socket]"
) -> None:
    publisher = open_socket(context, zmq.PUB)
    publisher.connect(opened.endpoint)
    opened.wait_for_peer()
    ingress.change([(True, b"live:")])
    received: list[list[bytes]] = []

    def has_arrived() -> bool:
        publisher.send_multipart([b"other:x", b""])
        publisher.send_multipart([b"live:x", b"value"])
        opened.port.poll(0.0)
        for _rights, messages in ingress.receive(10):
            received.extend(messages)
        opened.port.flush()
        return bool(received)

    opened.wait_until(has_arrived, "an event arrives")
    assert received[0] == [b"live:x", b"value"]


def test_a_publisher_that_does_not_read_is_cut_off(
    ingress: Ingress, opened: OpenPort, stack: ExitStack
) -> None:
    opened.connect(stack, b"PUB")
    for number in range(100):
        ingress.change(
            (True, b"live:%d" % each) for each in range(number * 5000, number * 5000 + 5000)
        )
        opened.port.flush()
        if not len(opened.port):
            break
    assert opened.counters.peers_cut == {"ingress": {"slow": 1}}
    assert 10 < number < 40


def test_publishers_are_read_in_turns(ingress: Ingress, opened: OpenPort, stack: ExitStack) -> None:
    for peer in [opened.connect(stack, b"PUB") for _ in range(2)]:
        peer.send(message(b"event:x", b"1") * 100)
    opened.port.poll(0.0)
    assert [len(messages) for _rights, messages in ingress.receive(10)] == [10, 10]
