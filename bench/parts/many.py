"""Very many clients: the time to connect, the memory of each, and the time to the last one."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.attempts import try_each
from bench.load.clients import Connected
from bench.peers.peer import Peer
from bench.report import Section, Table, Target
from bench.servers import LIMIT, OURS
from bench.session import Run, session

CLIENTS = 10_000
EVENTS = 7


@dataclass(frozen=True)
class Many:
    """The results of one server."""

    run: Run
    connected: Connected
    growth_bytes: int
    """Growth of the memory of its processes, from before the first client until all were idle."""

    @property
    def last_ms(self) -> float:
        """Milliseconds until the last client has an event, median over the events."""
        return statistics.median(self.run.outcome.last_ms or (float("inf"),))


def measure(peers: Mapping[str, Peer]) -> Section:
    """Connect the clients to every server, and send single events."""
    found, notes = try_each(peers, _measure)
    columns = (
        *("server", "connected s", "clients/s", "KB a client"),
        *("p50 ms", "last client ms", "CPU µs each", "lost or late"),
    )
    rows = [
        (
            peers[name].name,
            f"{many.connected.seconds:.2f}",
            f"{CLIENTS / many.connected.seconds:,.0f}",
            f"{many.growth_bytes / CLIENTS / 1024:.1f}",
            f"{many.run.outcome.p50_ms:.1f}",
            f"{many.last_ms:.1f}",
            f"{many.run.cpu_us:.2f}",
            f"{many.run.outcome.lost:,}",
        )
        for name, many in found.items()
    ]
    return Section(
        f"{CLIENTS:,} clients",
        "The clients connect, subscribe to one topic (those of Event Relay with a token each, "
        f"which it checks), and are idle. Then {EVENTS} events follow, each when all clients have "
        "the one before. `last client ms` is the median time until the last client had an event. "
        "KB a client is the growth of the memory of the server's processes.",
        (Table(columns, rows, notes),),
        tuple(_targets(peers, found)),
    )


def _measure(peer: Peer) -> Many:
    with session(peer, CLIENTS) as load:
        run = load.one_at_a_time(EVENTS)
        return Many(run, load.connected, sum(load.growth_bytes.values()))


def _targets(peers: Mapping[str, Peer], found: Mapping[str, Many]) -> Iterator[Target]:
    last = {
        peers[name].name: many.last_ms
        for name, many in found.items()
        if name not in (OURS, LIMIT) and not many.run.outcome.wrong
    }
    if OURS in found and last:
        best = min(last, key=lambda name: last[name])
        ours = found[OURS]
        yield Target(
            "the last client has an event no later than with the best peer",
            f"{ours.last_ms:.0f} ms, {best} {last[best]:.0f} ms, {ours.last_ms / last[best]:.2f} x",
            ours.last_ms <= last[best] and not ours.run.outcome.wrong,
        )
