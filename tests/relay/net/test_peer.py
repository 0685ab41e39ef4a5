"""The queue of one peer, over a real connection."""

import socket
import tracemalloc
from collections.abc import Iterator

import pytest

from relay.net import peer as peers
from relay.net.peer import Peer
from relay.zmtp.connection import ZmtpConnection
from relay.zmtp.null_mechanism import NullMechanism
from relay.zmtp.reader import Bounds
from tests.support.zmtp_peer import message


class Pair:
    """A peer and the other end of its connection."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.theirs.settimeout(10)
        connection = ZmtpConnection(NullMechanism(b"XPUB"), Bounds(1000, 1000, 1))
        self.peer = Peer(ours, connection)

    def close(self) -> None:
        self.peer.socket.close()
        self.theirs.close()

    def read(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            received += self.theirs.recv(size - len(received))
        return received


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def test_ids_are_never_given_twice(pair: Pair) -> None:
    other = Pair()
    assert pair.peer.id != other.peer.id
    other.close()


def test_what_is_queued_goes_out_in_order_behind_answers_of_the_protocol(pair: Pair) -> None:
    peer = pair.peer
    peer.send_first(b"greeting")
    peer.send(message(b"a"))
    peer.send(message(b"b"))
    peer.send_first(b"ready")
    assert peer.queued_bytes == 19
    assert peer.flush()
    assert peer.queued_bytes == 0
    assert pair.read(19) == b"greetingready" + message(b"a") + message(b"b")


def test_a_peer_that_does_not_read_keeps_what_waits_and_gets_it_later(pair: Pair) -> None:
    peer = pair.peer
    sent = [message(b"%d" % number + bytes(50_000)) for number in range(30)]
    for packed in sent:
        peer.send(packed)
    assert not peer.flush()
    expected, waiting = b"".join(sent), peer.queued_bytes
    assert 0 < waiting < len(expected)
    received = pair.read(len(expected) - waiting)
    # Between two messages, not within one.
    peer.send_first(b"pong")
    while not peer.flush():
        received += pair.theirs.recv(1 << 20)
    received += pair.read(len(expected) + 4 - len(received))
    assert peer.queued_bytes == 0
    position = received.index(b"pong")
    assert received[:position] + received[position + 4 :] == expected
    assert received[:position] in {b"".join(sent[:count]) for count in range(1, 31)}


def test_an_answer_of_the_protocol_costs_no_copy_of_all_that_waits(pair: Pair) -> None:
    peer = pair.peer
    waiting = 4 * 1024 * 1024
    peer.send_first(bytes(waiting))
    assert not peer.flush()
    tracemalloc.start()
    try:
        peer.send_first(b"pong")
        copied = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert copied < waiting // 100


def test_one_flush_is_bounded_however_fast_the_peer_reads(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "FLUSH_BYTES", 1000)
    monkeypatch.setattr(peers, "MAX_FLUSHED_BYTES", 5000)
    for _ in range(20):
        pair.peer.send(bytes(1000))
    for left in (15_000, 10_000, 5_000):
        assert not pair.peer.flush(), "there is room in the kernel, and it is the others' turn"
        assert pair.peer.queued_bytes == left
    assert pair.peer.flush()
    assert pair.read(20_000) == bytes(20_000)


def test_what_is_dropped_does_not_wait(pair: Pair) -> None:
    pair.peer.send_first(b"first")
    pair.peer.send(b"second")
    assert pair.peer.drop() == 11
    assert pair.peer.queued_bytes == 0
    assert pair.peer.flush()


def test_messages_are_encrypted_when_they_go_out(pair: Pair) -> None:
    class Sealed(NullMechanism):
        is_encrypted = True

        def seal(self, packed: bytes) -> bytes:
            return b"<" + packed + b">"

    peer = Peer(pair.peer.socket, ZmtpConnection(Sealed(b"XPUB"), Bounds(1000, 1000, 1)))
    peer.send(b"a")
    peer.send(b"b")
    assert peer.queued_bytes == 2
    assert peer.flush()
    assert peer.queued_bytes == 0
    assert pair.read(6) == b"<a><b>"


def test_a_peer_that_has_gone_is_an_error_of_its_connection(pair: Pair) -> None:
    pair.theirs.close()
    pair.peer.send(b"x")
    with pytest.raises(OSError, match=r"[Bb]roken pipe|reset"):
        pair.peer.flush()
