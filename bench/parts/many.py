"""Very many clients: how soon they are there, what each costs, and when the last has an event."""

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
    """Of one server."""

    run: Run
    connected: Connected
    growth_bytes: int
    """Of all its processes, from before the first client came until the last was idle."""

    @property
    def last_ms(self) -> float:
        """The median over the events: until the last client has it."""
        return statistics.median(self.run.outcome.last_ms or (float("inf"),))


def measure(peers: Mapping[str, Peer]) -> Section:
    """Connect so many clients to every server, and send single events."""
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
        "They connect, subscribe to one topic (ours with a token for each, which is checked), and "
        f"are idle; then come {EVENTS} events, each when all have the one before. The row has the "
        "median time until the last client had an event. KB a client is what the memory of the "
        "server's processes grew by.",
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
