"""The sockets of a relay and of an edge under changed traffic, beside honest peers."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

from tests.e2e.attacks.honest import Honest
from tests.fuzz import relay_samples as samples
from tests.fuzz.budget import Budget, chance_of
from tests.fuzz.changes import changed_bytes, changed_frames, lying
from tests.fuzz.edge_roads import ROADS
from tests.fuzz.edge_samples import RELAY_TOML, EdgeSamples
from tests.fuzz.talks import converse
from tests.fuzz.watched import Watched
from tests.support.cluster import Cluster
from tests.support.zmtp_peer import GREETING, ZmtpPeer, ready

MESSAGES_EACH = 50
"""Inputs on one connection to the relay, unless one of them ends it."""
READS_S = 0.0005
LOOK_S = 1.0
TOKEN_TTL_S = 86_400.0
HISTORY_BYTES = 1_048_576
"""Of the edge, so that its window of past events does not grow meanwhile."""

Socket = Callable[[Random], tuple[int, int]]
"""Has a conversation; returns how many inputs were sent, and how many connections were ended."""


class Live:
    """A relay and an edge, with honest peers that are served throughout."""

    def __init__(self, directory: Path) -> None:
        self.cluster = Cluster(directory)
        self.cluster.configure(RELAY_TOML)
        self.cluster.token_ttl_s = TOKEN_TTL_S
        self.cluster.env |= {"EDGE_COMPRESSION": "true", "EDGE_HISTORY_BYTES": str(HISTORY_BYTES)}
        self._relay = self.cluster.start_relay()
        self._honest = Honest(self.cluster, self._relay)
        self._edge = self._honest.edge
        self._samples = EdgeSamples(self.cluster.token, self._edge.port)
        self._honest.start()
        self._warm_up()
        self._watched = [Watched(self._relay), Watched(self._edge.process)]
        self._looked_at = time.monotonic()

    def _warm_up(self) -> None:
        """Have the edge open the connection for calls, which it keeps from the first one on."""
        client = self.cluster.connect(self._edge, "fuzz-caller")
        client.ask({"action": "request", "method": "fuzz_method", "id": 1})
        client.close()

    def close(self) -> None:
        """End everything."""
        self.cluster.close()

    @property
    def sockets(self) -> dict[str, Socket]:
        """All that strangers reach, by name."""
        return {
            **{name: self._at_relay(name) for name in samples.SOCKET_TYPES},
            **{name: self._at_edge(name) for name in ROADS},
        }

    def look(self) -> None:
        """Look at the processes and the honest client, unless that was done a moment ago.

        Raises `AssertionError`.
        """
        if time.monotonic() > self._looked_at + LOOK_S:
            self._honest.wait_for_more(1)
            self._honest.check_stats()
            for each in self._watched:
                each.look()
            self._looked_at = time.monotonic()

    def finish(self) -> str:
        """Wait until all is as before; return the figures. Raises `AssertionError`."""
        self._honest.wait_for_more(20)
        for each in self._watched:
            each.settle()
        self._honest.stop()
        report = "; ".join(each.report() for each in self._watched)
        assert self._edge.process.terminate() == 0
        assert self._relay.terminate() == 0
        for each in self._watched:
            each.check_log()
        return f"{report}; the honest client has got {len(self._honest.received)} events in order"

    def _at_relay(self, name: str) -> Socket:
        return lambda chance: _send_to_relay(self.cluster, name, chance)

    def _at_edge(self, name: str) -> Socket:
        def socket(chance: Random) -> tuple[int, int]:
            talks = ROADS[name](chance, self._samples)
            cut = converse(self._edge.port, talks, chance)
            return sum(talk.inputs for talk in talks), cut

        return socket


@contextmanager
def _live() -> Iterator[Live]:
    with tempfile.TemporaryDirectory() as directory, closing(Live(Path(directory))) as live:
        yield live


def fuzz_live(budget: Budget, seed: int) -> str:
    """Send changed traffic to each socket in turns; return what was done.

    Raises `AssertionError` if a process ends, logs a traceback, grows or keeps descriptors, gives
    an answer that is not documented, or if an honest event is lost or late.
    """
    sent: Counter[str] = Counter()
    cut: Counter[str] = Counter()
    with _live() as live:
        sockets = live.sockets
        names = list(sockets)
        for number in budget.numbers():
            name = names[number % len(names)]
            try:
                inputs, ended = sockets[name](chance_of(seed, number))
                live.look()
            except (AssertionError, ValueError) as error:
                again = f"live --seed {seed} --only {number}"
                raise AssertionError(f"{error}; {name}, again: {again}") from error
            sent[name] += inputs
            cut[name] += ended
        figures = ", ".join(f"{name} {sent[name]} ({cut[name]} cut off)" for name in names)
        return f"inputs: {figures}; {live.finish()}"


def _send_to_relay(cluster: Cluster, name: str, chance: Random) -> tuple[int, int]:
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
                return sent, int(peer.is_cut(READS_S))
    except OSError:
        return sent, 1
    return sent, 0
