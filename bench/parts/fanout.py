"""Each event to every client, at a steady rate: the cost and the delay of a delivery."""

from collections.abc import Iterator, Mapping, Sequence

from bench.attempts import try_each
from bench.parts import loads
from bench.peers.peer import Peer
from bench.quantiles import median
from bench.report import Section, Target
from bench.servers import LIMIT, OURS
from bench.session import DRAIN_S, Run, session

CLIENTS = 1_000
EVENTS_PER_S = 100
SECONDS = 4.0
ROUNDS = 3
TARGET_RATIO = 1.15


def measure(peers: Mapping[str, Peer]) -> Section:
    """Measure every server once; Event Relay and the limit several times, taking turns."""
    compared = {name: peer for name, peer in peers.items() if name in (OURS, LIMIT)}
    others = {name: peer for name, peer in peers.items() if name not in compared}
    runs: dict[str, list[Run]] = {}
    notes: dict[str, None] = {}
    for chosen in (*(compared for _ in range(ROUNDS)), others):
        results, remarks = try_each(chosen, _measure)
        for name, run in results.items():
            runs.setdefault(name, []).append(run)
        notes |= dict.fromkeys(remarks)
    return Section(
        f"Fan-out: {CLIENTS:,} clients, {EVENTS_PER_S} events/s",
        f"Each event goes to every client, for {SECONDS:.0f} s after a warm-up of 1 s. CPU is the "
        f"sum over the server's processes. Event Relay and the limit took turns {ROUNDS} times, "
        "and their rows are medians; each peer was measured once. A delivery that is missing "
        f"{DRAIN_S:.0f} s after the last event counts as lost.",
        (loads.table({peers[name].name: of_one for name, of_one in runs.items()}, tuple(notes)),),
        tuple(_targets(peers, runs)),
    )


def _measure(peer: Peer) -> Run:
    with session(peer, CLIENTS) as load:
        return load.paced(EVENTS_PER_S, SECONDS)


def _targets(peers: Mapping[str, Peer], runs: Mapping[str, Sequence[Run]]) -> Iterator[Target]:
    if OURS not in runs:
        return
    ours = runs[OURS]
    if LIMIT in runs:
        cost, least = (median(runs[name], loads.cpu_us) for name in (OURS, LIMIT))
        yield Target(
            f"CPU per delivery at most {TARGET_RATIO} x that of {peers[LIMIT].name}",
            f"{cost / least:.2f} x",
            cost <= TARGET_RATIO * least and loads.is_right(ours),
        )
    p99 = {
        peers[name].name: median(of_one, loads.p99_ms)
        for name, of_one in runs.items()
        if name not in (OURS, LIMIT)
    }
    if p99:
        best = min(p99, key=lambda name: p99[name])
        reached = median(ours, loads.p99_ms)
        yield Target(
            "p99 not above any peer's",
            f"{reached:.1f} ms, {best} {p99[best]:.1f} ms, {reached / p99[best]:.2f} x",
            reached <= p99[best] and loads.is_right(ours),
        )
