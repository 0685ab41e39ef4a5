"""Attacks on the socket of the subscribers."""

import itertools
import os
import random

import pytest
import zmq

from emitters import Emitter
from tests.e2e.attacks.honest import MIB, Attack, Honest, Together, wait_done
from tests.support.cluster import Cluster
from tests.support.zmtp_peer import ZmtpPeer, command, frame, message


class Subscriber(Attack):
    def __init__(self, cluster: Cluster, peers: int = 1) -> None:
        super().__init__(cluster.egress, b"SUB", peers)
        self.numbers = itertools.count()


class LongSubscription(Subscriber):
    """One subscription of 150 KB, and away."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(frame(b"\1" + bytes(150_000)))
        peer.close()


class CommandOfAnySize(Subscriber):
    """The same as a command, in one piece that the relay would have to keep."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(command(b"SUBSCRIBE", bytes(8 * MIB)))


class ManySubscriptions(Subscriber):
    """461,000 of 246 bytes each, on however many connections they take."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(b"".join(message(b"\1%0246d" % next(self.numbers)) for _ in range(1000)))


class ShortSubscriptions(Subscriber):
    """Of few bytes, and of much memory beside them; none of the peers has too many."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(b"".join(message(b"\1%x" % next(self.numbers)) for _ in range(9_000)))
        self.rounds += 1
        self.hold(peer)


class Syncs(Subscriber):
    """Nonces, each of which the relay publishes."""

    def work(self, peer: ZmtpPeer) -> None:
        nonces = [b"!sync:%d" % next(self.numbers) for _ in range(500)]
        peer.send(b"".join(message(b"\1" + each) + message(b"\0" + each) for each in nonces))


class SyncsOfMegabytes(Subscriber):
    def work(self, peer: ZmtpPeer) -> None:
        peer.send(frame(b"\1!sync:" + bytes(8 * MIB)))


class Mutated(Subscriber):
    """Subscriptions to live topics that change at once, with hints and without."""

    def work(self, peer: ZmtpPeer) -> None:
        chance = random.Random(next(self.numbers))
        prefixes = [b"live:%d" % chance.randrange(5000) for _ in range(1000)]
        hints = [chance.choice([b"", b"", b"!filtered:", b"!"]) for _ in prefixes]
        peer.send(
            b"".join(
                message(chance.choice([b"\1", b"\0"]) + hint + prefix + chance.choice([b"", b":"]))
                for hint, prefix in zip(hints, prefixes, strict=True)
            )
        )


class Junk(Subscriber):
    """Messages that are no subscription."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(message(b"\2" + os.urandom(8)) * 5000)


class Hoarder(Subscriber):
    """Subscribes to everything and reads a trickle."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(message(b"\1"))
        self.rounds += 1
        while True:
            assert peer.socket.recv(10)
            self.pause()


@pytest.mark.parametrize(
    ("attack", "peers", "rounds", "grows_by", "reason"),
    [
        (LongSubscription, 4, 100, 16 * MIB, "too_large"),
        (CommandOfAnySize, 4, 0, 16 * MIB, "too_large"),
        (ManySubscriptions, 4, 461, 48 * MIB, "too_many_subscriptions"),
        (ShortSubscriptions, 40, 45, 128 * MIB, "too_many_subscriptions"),
        (Syncs, 4, 40, 48 * MIB, None),
        (SyncsOfMegabytes, 4, 0, 16 * MIB, "too_large"),
        (Mutated, 4, 40, 48 * MIB, None),
        (Junk, 4, 40, 16 * MIB, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_whatever_a_subscriber_sends(
    attacked: Cluster,
    honest: Honest,
    attack: type[Subscriber],
    peers: int,
    rounds: int,
    grows_by: int,
    reason: str | None,
) -> None:
    begun = attack(attacked, peers)
    with honest.endures(begun, grows_by, {} if reason is None else {"egress": reason}):
        what = f"{attack.__name__}: {attack.__doc__}"
        wait_done(lambda: begun.rounds >= rounds and begun.rounds + begun.cut >= 30, what)


def test_subscribers_that_read_a_trickle(attacked: Cluster, honest: Honest) -> None:
    """Of 40 MiB that are published, the relay keeps what its setting allows, once for all."""
    attack = Hoarder(attacked, peers=20)
    before = honest.cut("egress", "slow")
    with honest.endures(attack, 80 * MIB):
        wait_done(lambda: attack.rounds >= 20, "all have subscribed")
        with Emitter(name="large", ingress=attacked.ingress, control=attacked.control) as large:
            for _ in range(400):
                large.emit("event:large", {"padding": "x" * 100_000})
                assert large.wait_acknowledged(30)
        assert honest.cut("egress", "slow") >= before + 20


def test_many_subscriptions_by_libzmq(attacked: Cluster, honest: Honest) -> None:
    """It is there until the end, and may connect again."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    # Without a reference it would be closed.
    subscriber = context.socket(zmq.SUB)

    class Libzmq(Attack):
        def start(self) -> None:
            subscriber.linger = 0
            subscriber.setsockopt(zmq.SNDHWM, 0)
            subscriber.connect(attacked.egress)
            for number in range(20_000):
                subscriber.subscribe(b"%0246d" % number)
                self.rounds += 1

        def stop(self) -> None:
            context.destroy(linger=0)

    attack = Libzmq(attacked.egress)
    with honest.endures(attack, 8 * MIB, {"egress": "too_many_subscriptions"}):
        honest.wait_for_more(200)


def test_the_relay_ends_in_the_midst_of_subscriptions(
    cluster: Cluster, honest_alone: Honest
) -> None:
    kinds = (LongSubscription, ManySubscriptions, Syncs, SyncsOfMegabytes, Mutated, Junk)
    honest_alone.ends(Together([each(cluster) for each in kinds]))
