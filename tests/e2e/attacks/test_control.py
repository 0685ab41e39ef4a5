"""Attacks on the socket of requests."""

import itertools
import os
import socket

import msgpack
import pytest
import zmq

from relay.wire.control import (
    AccountRequest,
    HelloRequest,
    ReplayRequest,
    RetainedRequest,
    StatsRequest,
    pack_message,
)
from tests.e2e.attacks.honest import MIB, Attack, Honest, Together, wait_done
from tests.support.cluster import Cluster
from tests.support.zmtp_peer import ZmtpPeer, message

REPLAY = pack_message(ReplayRequest(id=1, stream="event", after=0))
RETAINED = pack_message(RetainedRequest(id=1, prefix=""))
STATS = pack_message(StatsRequest(id=1))


def say_hello(peer: ZmtpPeer, emitters: int) -> None:
    """Be so many further emitters, and read the answers."""
    hellos = [
        HelloRequest(
            id=1,
            role="emitter",
            name="é" * 255,
            emitter_id=os.urandom(16),
            process=os.urandom(16),
        )
        for _ in range(emitters)
    ]
    peer.send(b"".join(message(pack_message(each)) for each in hellos))
    for _ in hellos:
        peer.read_message()


class Peer(Attack):
    def __init__(self, cluster: Cluster, peers: int = 1) -> None:
        super().__init__(cluster.control, b"DEALER", peers)
        self.numbers = itertools.count()


class Unread(Peer):
    """Asks again and again, and never reads an answer."""

    request = b""
    operation = ""

    def work(self, peer: ZmtpPeer) -> None:
        # The answers are to wait at the relay and not here.
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.socket.settimeout(0.5)
        try:
            while True:
                peer.send(message(self.request) * 100)
        except TimeoutError:
            # Its requests are not read any more.
            self.rounds += 1
            self.hold(peer)


class UnreadReplays(Unread):
    request = REPLAY
    operation = "replay"


class UnreadRetained(Unread):
    request = RETAINED
    operation = "retained"


class UnreadStats(Unread):
    """Of many emitters, so that an answer is large."""

    request = STATS
    operation = "stats"

    def work(self, peer: ZmtpPeer) -> None:
        say_hello(peer, 100)
        super().work(peer)


class Hellos(Peer):
    """Each of another emitter; the answers are read."""

    def work(self, peer: ZmtpPeer) -> None:
        say_hello(peer, 50)


class Accounts(Peer):
    """A mebibyte of counters each, or just as many as are accepted, with long names."""

    def work(self, peer: ZmtpPeer) -> None:
        emitter_id = os.urandom(16)
        hello = HelloRequest(
            id=1, role="emitter", name="x", emitter_id=emitter_id, emitter_epoch=5, acknowledged=0
        )
        wide = {f"{number:é>64}": 2**64 - 1 for number in range(32)}
        account = AccountRequest(id=2, emitter_id=emitter_id, emitter_epoch=5, counters=wide)
        many = account.model_dump() | {"counters": {str(each): 1 for each in range(90_000)}}
        long = account.model_dump() | {"counters": {"x" * 900_000: 1}}
        for request in (pack_message(hello), pack_message(account)):
            peer.send(message(request))
            assert "code" not in msgpack.unpackb(peer.read_message()[0])
        for too_large in (many, long):
            peer.send(message(msgpack.packb(too_large)))
            assert msgpack.unpackb(peer.read_message()[0])["code"] == "bad_request"


class Junk(Peer):
    """Requests that cannot be read, some of which always wait; the answers are read."""

    def work(self, peer: ZmtpPeer) -> None:
        junk = [os.urandom(20), b"", msgpack.packb({"op": "x" * 500}), msgpack.packb([1] * 100)]
        batch = b"".join(map(message, junk * 50))
        peer.send(batch)
        while not self._stop.is_set():
            peer.send(batch)
            for _ in junk * 50:
                peer.read_message()
            self.rounds += 1


@pytest.mark.parametrize(
    ("attack", "peers", "rounds", "grows_by"),
    [
        (Hellos, 2, 100, 48 * MIB),
        (Accounts, 4, 20, 48 * MIB),
        (Junk, 4, 40, 32 * MIB),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_whatever_is_asked(
    attacked: Cluster,
    honest: Honest,
    attack: type[Peer],
    peers: int,
    rounds: int,
    grows_by: int,
) -> None:
    begun = attack(attacked, peers)
    with honest.endures(begun, grows_by):
        wait_done(lambda: begun.rounds >= rounds, f"{attack.__name__}: {attack.__doc__}")


@pytest.mark.parametrize("attack", [UnreadReplays, UnreadRetained, UnreadStats])
def test_requests_whose_answers_are_not_read(
    attacked: Cluster, honest: Honest, attack: type[Unread]
) -> None:
    """Of each peer a few are answered, and no more."""
    begun = attack(attacked, peers=3)
    with honest.endures(begun, 32 * MIB):
        wait_done(lambda: begun.held == 3, "none of them can send more")
        honest.wait_for_silence_on(attack.operation)
    assert begun.cut == 0, "they are not read, and not cut off"


def test_requests_by_libzmq_whose_answers_are_not_read(attacked: Cluster, honest: Honest) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealers = []  # One without a reference would be closed.

    class Libzmq(Attack):
        def start(self) -> None:
            for _ in range(10):
                dealer = context.socket(zmq.DEALER)
                dealers.append(dealer)
                dealer.linger = 0
                dealer.setsockopt(zmq.SNDHWM, 0)
                # What libzmq reads ahead is its own affair.
                dealer.setsockopt(zmq.RCVHWM, 1)
                dealer.connect(attacked.control)
                for _ in range(2000):
                    dealer.send(REPLAY)
                    self.rounds += 1

        def stop(self) -> None:
            context.destroy(linger=0)

    before = honest.answered("replay")
    with honest.endures(Libzmq(attacked.control), 64 * MIB):
        wait_done(lambda: honest.answered("replay") >= before + 10, "they are answered")
        honest.wait_for_silence_on("replay")


def test_the_relay_ends_in_the_midst_of_requests(cluster: Cluster, honest_alone: Honest) -> None:
    kinds = (UnreadReplays, UnreadRetained, UnreadStats, Hellos, Accounts, Junk)
    honest_alone.ends(Together([each(cluster) for each in kinds]))
