"""Sockets of ours on real connections: messages whole and in order, and no wait."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import zmq

from relay.shared.transport import (
    MAX_FRAME_BYTES,
    Socket,
    open_socket,
    receive_frames,
    send_frames,
)

TIMEOUT_MS = 10_000


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Socket, Socket]]:
    context: zmq.Context[Socket] = zmq.Context()
    left, right = open_socket(context, zmq.PAIR), open_socket(context, zmq.PAIR)
    left.bind(f"ipc://{tmp_path}/pair")
    right.connect(f"ipc://{tmp_path}/pair")
    assert right.poll(TIMEOUT_MS, zmq.POLLOUT), "the connection is there"
    yield left, right
    context.destroy(linger=0)


def received(socket: Socket) -> list[bytes]:
    assert socket.poll(TIMEOUT_MS), "a message arrives"
    return receive_frames(socket)


def test_a_message_arrives_with_its_frames_as_they_were(pair: tuple[Socket, Socket]) -> None:
    left, right = pair
    messages = [(b"event:a", b"", bytes(range(256))), (b"", b"\x00", b"x" * 1024 * 1024)]
    for frames in messages:
        send_frames(right, frames)
    assert [received(left) for _ in messages] == [list(frames) for frames in messages]


def test_messages_of_any_number_of_frames_are_received(pair: tuple[Socket, Socket]) -> None:
    left, right = pair
    for count in (1, 2, 5):
        right.send_multipart([b"%d" % index for index in range(count)])
    assert [len(received(left)) for _ in range(3)] == [1, 2, 5]


def send_without_end(socket: Socket) -> None:
    while True:
        send_frames(socket, (b"", b"", b"x" * 65536))


def test_neither_side_waits(pair: tuple[Socket, Socket]) -> None:
    left, right = pair
    with pytest.raises(zmq.Again):
        receive_frames(left)
    with pytest.raises(zmq.Again):
        send_without_end(right)


@pytest.mark.parametrize("kind", [zmq.XSUB, zmq.XPUB, zmq.ROUTER, zmq.DEALER, zmq.SUB])
def test_every_kind_of_socket_has_the_options(kind: int) -> None:
    with zmq.Context() as context, open_socket(context, kind) as socket:
        assert socket.linger == 0
        assert socket.getsockopt(zmq.MAXMSGSIZE) == MAX_FRAME_BYTES
        assert socket.getsockopt(zmq.IMMEDIATE) == (kind != zmq.SUB)
        assert socket.getsockopt(zmq.HEARTBEAT_IVL) == 0, "libzmq 4.3.5 may abort with them"


class Interrupted(Exception):  # noqa: N818
    """Raised by a signal handler."""


class InterruptedContext(zmq.Context[Socket]):
    """A signal comes while a socket is made."""

    made: ClassVar[list[Socket]] = []

    def socket(self, *args: Any, **kwargs: Any) -> Any:
        signal.raise_signal(signal.SIGUSR1)
        self.made.append(super().socket(*args, **kwargs))
        return self.made[-1]


def test_no_socket_is_lost_by_a_signal_whose_handler_raises() -> None:
    """The end of the context would wait for such a socket for ever."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = signal.signal(signal.SIGUSR1, interrupt)
    context = InterruptedContext()
    try:
        with pytest.raises(Interrupted):
            open_socket(context, zmq.SUB)
        [socket] = context.made
        assert socket in context._sockets
    finally:
        signal.signal(signal.SIGUSR1, before)
        context.destroy(linger=0)
        context.made.clear()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
