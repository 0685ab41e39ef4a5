"""Attacks on connections, handshakes, frames and pings, on each of the relay's sockets."""

import contextlib
import socket
import struct
from collections.abc import Mapping
from typing import ClassVar

import pytest

from tests.e2e.attacks.honest import LIVE, MIB, TOPIC, Attack, Honest, Together, wait_done
from tests.support.cluster import Cluster
from tests.support.zmtp_peer import GREETING, ZmtpPeer, command, frame, message, ping, ready

PORTS = ("ingress", "egress", "control")


def everywhere(
    cluster: Cluster, attack: type[Attack], peers: int, *, with_handshake: bool
) -> Together:
    """Return the attack on each of the three sockets."""
    sockets = (
        (cluster.ingress, b"PUB"),
        (cluster.egress, b"SUB"),
        (cluster.control, b"DEALER"),
    )
    return Together(
        [attack(where, kind if with_handshake else None, peers) for where, kind in sockets]
    )


class Silent(Attack):
    """Connects and says nothing, or not enough."""

    begun = b""
    cuts: ClassVar = dict.fromkeys(PORTS, "silent")

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(self.begun)
        self.rounds += 1
        self.hold(peer)


class HalfGreeting(Silent):
    begun = GREETING[:40]


class HalfReady(Silent):
    begun = GREETING + ready(b"DEALER")[:-3]


class ReadyNever(Silent):
    """A message that has begun before the handshake ended."""

    begun = GREETING + frame(bytes(1000), more=True) * 7
    cuts: ClassVar = dict.fromkeys(("ingress", "control"), "invalid_handshake")


class Drip(Silent):
    """One byte after the other, so that it is never silent."""

    def work(self, peer: ZmtpPeer) -> None:
        for byte in GREETING:
            peer.send(bytes((byte,)))
            self.rounds += 1
            self.pause()


@pytest.mark.parametrize("attack", [Silent, HalfGreeting, HalfReady, ReadyNever, Drip])
def test_connections_without_a_handshake(
    attacked: Cluster, honest: Honest, attack: type[Silent]
) -> None:
    """They end after 3 s; newcomers are served meanwhile."""
    silent = everywhere(attacked, attack, 50, with_handshake=False)
    with honest.endures(silent, 32 * MIB, attack.cuts):
        for _ in range(3):
            honest.check_stats()
            with attacked.connect(honest.edge, "bob") as client:
                client.subscribe("event:honest")
        wait_done(lambda: silent.cut >= 150, "all have been ended")


class Churn(Attack):
    """Connects, says what it is, and is gone; or resets the connection."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(GREETING + ready(b"DEALER"))
        if self.rounds % 2:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()


def test_connections_that_come_and_go(attacked: Cluster, honest: Honest) -> None:
    attack = everywhere(attacked, Churn, 2, with_handshake=False)
    with honest.endures(attack, 32 * MIB):
        wait_done(lambda: attack.cut >= 300, "many have come and gone")


class Frames(Attack):
    """A message of millions of frames."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(frame(b"x", more=True) * 100_000)


class LargeFrames(Attack):
    """The begin of a frame of 16 MiB."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(frame(bytes(16 * MIB))[: 15 * MIB])
        self.rounds += 1
        self.hold(peer)


class LargeParts(Attack):
    """A message below every bound of one peer, whose last byte never comes."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(frame(bytes(MIB - 100))[:-1])
        self.rounds += 1
        self.hold(peer)


class LargeMessages(Attack):
    """Whole messages of 15 MiB, one after the other."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(message(b"event:x", bytes(15 * MIB)))


class Pings(Attack):
    """Pings whose answers are not read, until the relay has ended a connection for them."""

    def work(self, peer: ZmtpPeer) -> None:
        # The answers are to wait at the relay and not here.
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.socket.settimeout(0.2)
        left = flood = memoryview(ping(b"c" * 16) * 2000)
        while not (self.cut or self._stop.is_set()):
            with contextlib.suppress(TimeoutError):
                left = left[peer.socket.send(left) :] or flood
            self.rounds += 1
        self.hold(peer)


class Commands(Attack):
    """Commands that nobody knows, of few bytes."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(b"\4\0" * 30_000 + command(b"LATER", b"x"))


class NoFrames(Attack):
    """Whatever comes of no protocol."""

    def work(self, peer: ZmtpPeer) -> None:
        peer.send(b"\xff\x00GET / HTTP/1.1\r\n" * 1000)


@pytest.mark.parametrize(
    ("attack", "peers", "rounds", "grows_by", "cuts"),
    [
        (Frames, 2, 10, 16 * MIB, dict.fromkeys(PORTS, "too_many_frames")),
        (LargeFrames, 10, 10, 48 * MIB, {"egress": "too_large", "control": "too_large"}),
        (LargeMessages, 2, 4, 32 * MIB, {"egress": "too_many_frames", "control": "too_large"}),
        (Commands, 1, 3, 16 * MIB, dict.fromkeys(PORTS, "unknown_commands")),
        (NoFrames, 2, 10, 16 * MIB, dict.fromkeys(PORTS, "invalid_frame")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_frames_and_commands(
    attacked: Cluster,
    honest: Honest,
    attack: type[Attack],
    peers: int,
    rounds: int,
    grows_by: int,
    cuts: Mapping[str, str],
) -> None:
    begun = everywhere(attacked, attack, peers, with_handshake=True)
    with honest.endures(begun, grows_by, cuts):
        wait_done(lambda: begun.rounds >= rounds, f"{attack.__doc__}")


def test_pings_whose_answers_are_not_read(attacked: Cluster, honest: Honest) -> None:
    """A peer of the control socket is not read any more, and one of another port is cut off.

    At the egress that takes longest, for the most may wait there.
    """
    attacks = everywhere(attacked, Pings, 1, with_handshake=True)
    with honest.endures(attacks, 32 * MIB, {"ingress": "slow"}):
        wait_done(lambda: attacks.attacks[0].cut > 0, "the flood of the ingress was ended")


def test_incomplete_messages_of_many_peers(attacked: Cluster, honest: Honest) -> None:
    begun = everywhere(attacked, LargeParts, 150, with_handshake=True)
    before = {name: honest.cut(name, "incomplete") for name in ("ingress", "control")}

    def are_over() -> bool:
        return all(honest.cut(name, "incomplete") > count for name, count in before.items())

    # The bound of two sockets, and what realloc and malloc take beside it.
    with honest.endures(begun, 2 * 128 * MIB * 3 // 2):
        wait_done(are_over, "those with the most are cut off")


class JunkEvents(Attack):
    """Messages that are no event, of each kind of fault."""

    def work(self, peer: ZmtpPeer) -> None:
        junk = [
            message(b""),
            message(b"no topic\xff", b"x"),
            message(b"event:x", b"\xc1"),
            message(b"event:x", bytes(33), b"\x80"),
            message(b"event:x", bytes(32), b"\x80"),
            message(b"live:x", b"\x91" * 2000),
            message(b"a", b"b", b"c", b"d"),
        ]
        peer.send(b"".join(junk) * 300)


def test_messages_that_are_no_events(attacked: Cluster, honest: Honest) -> None:
    attack = JunkEvents(attacked.ingress, b"PUB", peers=4)
    with honest.endures(attack, 32 * MIB):
        wait_done(lambda: attack.rounds >= 20, "tens of thousands have come")


def test_a_flood_of_live_values_of_ever_other_kinds(attacked: Cluster, honest: Honest) -> None:
    class Kinds(Attack):
        def work(self, peer: ZmtpPeer) -> None:
            first = self.rounds * 1000
            names = (b"k%d-%d:x" % (id(peer) % 97, first + each) for each in range(1000))
            peer.send(b"".join(message(each, b"\x81\xa1x\x01") for each in names))

    attack = Kinds(attacked.ingress, b"PUB", peers=2)
    with honest.endures(attack, 64 * MIB), contextlib.suppress(OSError):
        wait_done(lambda: attack.rounds >= 15, "thousands of kinds have come")
    relayed = honest.stats()["relayed"]
    assert relayed["other"] > 1_000
    assert len(relayed) < 300


def test_what_only_the_relay_says_is_taken_of_no_publisher(
    attacked: Cluster, honest: Honest
) -> None:
    """Edges would believe a heartbeat, and an epoch or offset in a stamp."""
    epoch, forged = honest.stats()["epoch"], b"\x82\xa4data\xa6forged\xaaheartbeat_s\x01"
    stamp = struct.pack("!BQQQ", 1, epoch + 5, 1_000_000, 1)
    with ZmtpPeer(attacked.egress, b"SUB") as watcher, ZmtpPeer(attacked.ingress, b"PUB") as forger:
        watcher.send(message(b"\1"))
        watcher.read_message()
        for topic in (b"!heartbeat", b"!sync:1", b"!filtered:x", TOPIC.encode(), LIVE.encode()):
            forger.send(message(topic, stamp, forged) + message(topic, stamp))
            if topic.startswith(b"!"):
                forger.send(message(topic, forged))
        forger.send(message(b"event:last", b"\x81\xa4data\x01"))
        came = [watcher.read_message()]
        while came[-1][0] != b"event:last":
            came.append(watcher.read_message())
    assert b"forged" not in b"".join(each[2] for each in came)
    assert {struct.unpack("!BQQQ", each[1])[1] for each in came} == {epoch}
    honest.wait_for_more(20)


def test_the_relay_ends_in_the_midst_of_attacks(cluster: Cluster, honest_alone: Honest) -> None:
    with_handshake = (Frames, LargeFrames, LargeMessages, Pings, Commands, NoFrames)
    attacks = [everywhere(cluster, each, 1, with_handshake=True) for each in with_handshake]
    attacks.append(everywhere(cluster, Churn, 1, with_handshake=False))
    singly = [single for each in attacks for single in each.attacks]
    honest_alone.ends(Together([*singly, JunkEvents(cluster.ingress, b"PUB")]))
