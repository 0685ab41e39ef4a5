"""The handshake on real sockets, with a publisher that echoes nonces as the relay does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from relay.shared.sync import SyncHandshake
from relay.shared.transport import Socket, open_socket

TIMEOUT_MS = 10_000


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[tuple[Socket, Socket]]:
    context: zmq.Context[Socket] = zmq.Context()
    publisher, subscriber = open_socket(context, zmq.XPUB), open_socket(context, zmq.SUB)
    publisher.bind(f"ipc://{tmp_path}/egress")
    subscriber.connect(f"ipc://{tmp_path}/egress")
    yield publisher, subscriber
    context.destroy(linger=0)


def next_change(publisher: Socket) -> tuple[bool, bytes]:
    """The next subscription that was made, or ended: whether it was made, and its prefix."""
    assert publisher.poll(TIMEOUT_MS), "a subscription arrives"
    frame = publisher.recv()
    return frame[:1] == b"\x01", frame[1:]


def test_the_nonce_comes_last_and_back(sockets: tuple[Socket, Socket]) -> None:
    publisher, subscriber = sockets
    handshake = SyncHandshake(subscriber)
    subscriber.subscribe(b"event:")
    handshake.begin()
    assert next_change(publisher) == (True, b"event:")
    made, nonce = next_change(publisher)
    assert made
    assert nonce.startswith(b"!sync:")
    publisher.send(nonce)
    assert subscriber.poll(TIMEOUT_MS), "the nonce comes back"
    assert handshake.is_answer(subscriber.recv())
    handshake.end()
    assert next_change(publisher) == (False, nonce)
    assert not handshake.is_answer(nonce)


def test_another_handshake_replaces_an_unanswered_one(sockets: tuple[Socket, Socket]) -> None:
    publisher, subscriber = sockets
    handshake = SyncHandshake(subscriber)
    handshake.begin()
    _, first = next_change(publisher)
    handshake.begin()
    changes = [next_change(publisher), next_change(publisher)]
    assert changes[0] == (False, first)
    made, second = changes[1]
    assert made
    assert second != first
    assert not handshake.is_answer(first)
    assert handshake.is_answer(second)


def test_nothing_is_an_answer_while_no_handshake_runs(sockets: tuple[Socket, Socket]) -> None:
    handshake = SyncHandshake(sockets[1])
    assert not handshake.is_answer(b"")
    handshake.end()
    assert not handshake.is_answer(b"")
