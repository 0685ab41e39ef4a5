"""libzmq's accepted connections: all are reserved in a room of this size, or none."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
import zmq

from relay.newcomers import STAY_S, Newcomers
from relay.shared.descriptor_room import DescriptorRoom
from relay.shared.transport import Socket, open_socket
from tests.support.waiting import wait_for

NO_ROOM = DescriptorRoom(64, 0, 100)
"""Every descriptor is reserved."""
ROOM = DescriptorRoom(10**6, 1000, 100)
WAIT_MS = 10_000


@pytest.fixture
def peers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listen(
    context: "zmq.Context[Socket]", room: DescriptorRoom, peers: ExitStack
) -> tuple[Newcomers, int]:
    """Return the newcomers of a socket, and its port."""
    newcomers = Newcomers(context, room)
    listening = peers.enter_context(open_socket(context, zmq.XSUB))
    newcomers.watch(listening)
    port = listening.bind_to_random_port("tcp://127.0.0.1")
    return newcomers, port


def connect(port: int, peers: ExitStack) -> socket.socket:
    peer = peers.enter_context(closing(socket.create_connection(("127.0.0.1", port), 10)))
    # libzmq's greeting: the connection has been accepted.
    assert peer.recv(1)
    return peer


def wait_reported(newcomers: Newcomers) -> None:
    poller = zmq.Poller()
    for reports in newcomers.reports:
        poller.register(reports, zmq.POLLIN)
    assert newcomers.are_to_be_looked_at(dict(poller.poll(WAIT_MS)))


def is_cut(peer: socket.socket) -> bool:
    """Return whether the peer's connection has ended, behind what libzmq has sent."""
    peer.setblocking(False)
    try:
        while peer.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def test_a_connection_with_room_stays(context: "zmq.Context[Socket]", peers: ExitStack) -> None:
    newcomers, port = listen(context, ROOM, peers)
    peer = connect(port, peers)
    wait_reported(newcomers)
    assert newcomers.look(0.0) == 0
    assert newcomers.look(STAY_S) == 0
    assert not newcomers.are_to_be_looked_at({})
    assert not is_cut(peer)


def test_a_connection_on_a_reserved_descriptor_is_cut_after_a_moment(
    context: "zmq.Context[Socket]", peers: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    newcomers, port = listen(context, NO_ROOM, peers)
    peer = connect(port, peers)
    wait_reported(newcomers)
    assert newcomers.look(0.0) == 1
    assert "may open 64 file descriptors" in caplog.text
    assert newcomers.are_to_be_looked_at({}), "it is to be cut"
    assert newcomers.look(STAY_S / 2) == 0
    assert not is_cut(peer)
    newcomers.look(STAY_S)
    wait_for(lambda: is_cut(peer), "it is cut")
    assert not newcomers.are_to_be_looked_at({})


def test_the_oldest_is_cut_when_too_many_linger(
    context: "zmq.Context[Socket]", peers: ExitStack
) -> None:
    newcomers, port = listen(context, NO_ROOM, peers)
    found = []
    for _ in range(NO_ROOM.backlog + 1):
        found.append(connect(port, peers))
        wait_reported(newcomers)
        newcomers.look(0.0)
    wait_for(lambda: is_cut(found[0]), "the oldest is cut")
    assert not is_cut(found[1])


def test_a_peer_that_has_gone_meanwhile_harms_nothing(
    context: "zmq.Context[Socket]", peers: ExitStack
) -> None:
    newcomers, port = listen(context, NO_ROOM, peers)
    connect(port, peers).close()
    wait_reported(newcomers)
    newcomers.look(0.0)
    newcomers.look(STAY_S)
    assert not is_cut(connect(port, peers))
