"""One server under a load: starts it, connects clients, publishes, and measures."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.load.child import SPAWN
from bench.load.clients import Connected, Plan
from bench.load.generator import Count, LoadGenerator
from bench.load.outcome import Outcome
from bench.load.publisher import Publisher
from bench.meters import cpu_s
from bench.peers.peer import Peer, Server

DRAIN_S = 10.0
"""Seconds for a server to deliver the remaining events when publishing ends."""
SATURATION_WARM_UP_S = 1.0
SETTLING_S = 0.5
"""Seconds from the last client's subscription to the reading of a server's memory."""
BETWEEN_S = 0.2
"""The least pause in seconds between single events."""
SAMPLED = 50
"""Clients whose delays are measured under saturation."""


@dataclass(frozen=True)
class Run:
    """The results of one load on one server."""

    outcome: Outcome
    seconds: float
    deliveries: int
    server_cpu_s: Mapping[str, float]
    """CPU seconds by process."""
    generator_cpu_s: float

    @property
    def deliveries_per_s(self) -> float:
        return self.deliveries / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU of all processes of the server, in µs per delivery."""
        return sum(self.server_cpu_s.values()) / max(1, self.deliveries) * 1e6

    @property
    def generator_share(self) -> float:
        """The generator's share of one core."""
        return self.generator_cpu_s / self.seconds

    def cpu_us_of(self, process: str) -> float:
        """CPU of one process of the server, in µs per delivery."""
        return self.server_cpu_s[process] / max(1, self.deliveries) * 1e6


class _Reading(NamedTuple):
    """All meters at one moment."""

    received: Count
    server_cpu_s: dict[str, float]
    generator_cpu_s: float


class Session:
    """A server, its clients and its publisher, all running."""

    def __init__(
        self,
        server: Server,
        generator: LoadGenerator,
        publisher: Publisher,
        connected: Connected,
        growth_bytes: Mapping[str, int],
    ) -> None:
        self.server = server
        self.generator = generator
        self.connected = connected
        self.growth_bytes = growth_bytes
        """Growth of the memory of each process of the server since before the first client."""
        self._publisher = publisher

    def paced(
        self, events_per_s: float, seconds: float, warm_up_s: float = 1.0, *, skip: int = 0
    ) -> Run:
        """Publish at a steady rate; events of the warm-up are checked and not measured.

        The first `skip` clients are not measured.
        """
        warm_up = self._publisher.paced(round(events_per_s * warm_up_s), events_per_s)
        self.generator.drain(warm_up, DRAIN_S, skip)
        before = self._read()
        published = self._publisher.paced(round(events_per_s * seconds), events_per_s)
        self.generator.drain(published, DRAIN_S, skip)
        after = self._read()
        return _run(before, after, self.generator.judge(published, since=warm_up, skip=skip))

    def one_at_a_time(self, events: int) -> Run:
        """Publish each event when all clients have the one before; the first is not measured."""
        first = self._publish_one()
        before = self._read()
        for _ in range(events):
            published = self._publish_one()
        after = self._read()
        return _run(before, after, self.generator.judge(published, since=first))

    def saturated(self, seconds: float) -> Run:
        """Publish as fast as the slowest client can follow, and measure after a warm-up."""
        self.generator.report_progress()
        self._publisher.start_saturated(SATURATION_WARM_UP_S + seconds)
        time.sleep(SATURATION_WARM_UP_S)
        before = self._read()
        time.sleep(seconds)
        after = self._read()
        published = self._publisher.finish()
        self.generator.drain(published, DRAIN_S)
        clients = self.connected.clients
        outcome = self.generator.judge(
            published, since=before.received.deliveries // clients, every=max(1, clients // SAMPLED)
        )
        return _run(before, after, outcome)

    def _publish_one(self) -> int:
        published = self._publisher.paced(1, 1 / BETWEEN_S)
        self.generator.drain(published, DRAIN_S)
        return published

    def _read(self) -> _Reading:
        return _Reading(
            self.generator.count(),
            self.server.cpu_s(),
            cpu_s(self.generator.pid),
        )


@contextmanager
def session(peer: Peer, clients: int, *, groups: int = 1) -> Iterator[Session]:
    """Run `peer` with `clients` subscribed clients; see `Plan` for the groups."""
    with (
        TemporaryDirectory() as directory,
        peer.run(Path(directory), clients) as server,
        load(server, Plan(server.dialect, clients, groups=groups)) as loaded,
    ):
        yield loaded


@contextmanager
def load(server: Server, plan: Plan) -> Iterator[Session]:
    """Connect the clients of `plan` to a running server."""
    progress = SPAWN.Value("q", 0, lock=False)
    with (
        LoadGenerator(progress) as generator,
        Publisher(server.make_send, progress) as publisher,
    ):
        before = server.memory()
        connected = generator.connect(plan)
        time.sleep(SETTLING_S)
        growth = {name: after - before[name] for name, after in server.memory().items()}
        yield Session(server, generator, publisher, connected, growth)


def _run(before: _Reading, after: _Reading, outcome: Outcome) -> Run:
    return Run(
        outcome,
        after.received.at - before.received.at,
        after.received.deliveries - before.received.deliveries,
        {name: after.server_cpu_s[name] - cpu for name, cpu in before.server_cpu_s.items()},
        after.generator_cpu_s - before.generator_cpu_s,
    )
