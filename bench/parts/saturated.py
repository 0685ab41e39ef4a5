"""As many events as the slowest client can follow, to every client."""

from collections.abc import Iterator, Mapping

from bench.attempts import try_each
from bench.parts import loads
from bench.peers.peer import Peer
from bench.report import Section, Target
from bench.servers import LIMIT, OURS
from bench.session import Run, session

CLIENTS = 1_000
SECONDS = 3.0
TARGET_RATIO = 3.0
TARGET_DELIVERIES_PER_S = 3_000_000


def measure(peers: Mapping[str, Peer]) -> Section:
    """Saturate every server in turn."""
    runs, notes = try_each(peers, _measure)
    return Section(
        f"Fan-out: {CLIENTS:,} clients, saturated",
        "The publisher knows the progress of the slowest client, and keeps the events of a quarter "
        "of a second in flight; they make up most of the delay. The measurement takes "
        f"{SECONDS:.0f} s after a warm-up of 1 s. A generator that takes nearly a whole core is "
        "itself the limit.",
        (loads.table({peers[name].name: [run] for name, run in runs.items()}, notes),),
        tuple(_targets(peers, runs)),
    )


def _measure(peer: Peer) -> Run:
    with session(peer, CLIENTS) as load:
        return load.saturated(SECONDS)


def _targets(peers: Mapping[str, Peer], runs: Mapping[str, Run]) -> Iterator[Target]:
    if OURS not in runs:
        return
    ours = runs[OURS].deliveries_per_s
    right = loads.is_right([runs[OURS]])
    rates = {
        peers[name].name: run.deliveries_per_s
        for name, run in runs.items()
        if name not in (OURS, LIMIT)
    }
    if rates:
        best = max(rates, key=lambda name: rates[name])
        yield Target(
            f"at least {TARGET_RATIO:.0f} x the deliveries/s of the best peer, without loss",
            f"{ours / rates[best]:.1f} x {best}",
            ours >= TARGET_RATIO * rates[best] and right,
        )
    yield Target(
        f"at least {TARGET_DELIVERIES_PER_S:,} deliveries/s",
        f"{ours:,.0f}",
        ours >= TARGET_DELIVERIES_PER_S and right,
    )
