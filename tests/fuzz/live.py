"""The sockets of a relay process under changed traffic, beside honest peers."""

import tempfile
import time
from contextlib import closing
from pathlib import Path
from random import Random

import psutil

from tests.e2e.attacks.honest import MIB, REST_BYTES, Honest
from tests.fuzz import samples
from tests.fuzz.budget import Budget, chance_of
from tests.fuzz.changes import changed_bytes, changed_frames, lying
from tests.support.cluster import Cluster
from tests.support.waiting import wait_for
from tests.support.zmtp_peer import GREETING, ZmtpPeer, ready

GROWS_BY = 128 * MIB
MESSAGES_EACH = 50
"""Inputs on one connection, unless one of them ends it."""
READS_S = 0.0005


def fuzz_relay(budget: Budget, seed: int) -> str:
    """Send changed messages to ingress, egress and control in turns; return what was done.

    Raises `AssertionError` if the relay ends, logs a traceback, grows or keeps descriptors, or if
    an honest event is lost or late.
    """
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(Cluster(Path(directory))) as cluster,
    ):
        relay = cluster.start_relay()
        honest = Honest(cluster, relay)
        honest.start()
        process = psutil.Process(relay.pid)
        before, descriptors = honest.rss, process.num_fds()
        honest.most_bytes = before
        sent = cut = 0
        checked_at = time.monotonic()
        for number in budget.numbers():
            name = list(samples.SOCKET_TYPES)[number % 3]
            done, is_cut = _converse(cluster, name, chance_of(seed, number))
            sent, cut = sent + done, cut + is_cut
            if time.monotonic() > checked_at + 1.0:
                honest.wait_for_more(1)
                honest.check_stats()
                checked_at = time.monotonic()
        honest.wait_for_more(20)
        assert "Traceback" not in relay.output(), relay.output()[-4000:]
        assert honest.most_bytes - before < GROWS_BY
        wait_for(lambda: honest.rss < before + REST_BYTES, "memory is given back", 60)
        wait_for(lambda: process.num_fds() <= descriptors, "descriptors are given back", 60)
        honest.stop()
        assert relay.terminate() == 0
        return f"{sent} inputs to the relay, {cut} connections cut off"


def _converse(cluster: Cluster, name: str, chance: Random) -> tuple[int, bool]:
    """Make one connection; return how many messages were sent, and whether it was ended."""
    messages = samples.MESSAGES[name]
    flat = [frame for frames in messages for frame in frames]
    handshake = GREETING + ready(samples.SOCKET_TYPES[name])
    if chance.random() < 0.1:
        handshake = changed_bytes(chance, handshake, [handshake])
    sent = 0
    try:
        with ZmtpPeer(getattr(cluster, name)) as peer:
            peer.send(handshake)
            lies = chance.choice((0.0, 0.0, 0.0, 0.05))
            reads = chance.random() < 0.8
            while sent < MESSAGES_EACH:
                frames = chance.choice(messages)
                if chance.random() < 0.8:
                    frames = changed_frames(chance, frames, flat)
                data = lying(chance, frames, lies)
                if lies and chance.random() < lies:
                    data = changed_bytes(chance, data, [data])
                peer.send(data)
                sent += 1
            if reads:
                # Nothing is expected: the answers are taken away, as far as they have come.
                return sent, peer.is_cut(READS_S)
    except OSError:
        return sent, True
    return sent, False
