"""One edge worker and two: the gain and the cost of fan-out."""

from collections.abc import Mapping

from bench.peers.event_relay import EventRelay
from bench.peers.peer import Peer
from bench.report import Section, Table
from bench.session import Run, session

WORKERS = (1, 2)
CLIENTS = 1_000
EVENTS_PER_S = 100
PACED_S = 4.0
SATURATED_S = 3.0


def measure(_peers: Mapping[str, Peer]) -> Section:
    """Measure both loads of the fan-out with each number of workers."""
    columns = (
        *("workers", "CPU µs a delivery", "p50 ms", "p99 ms"),
        *("saturated deliveries/s", "CPU µs a delivery", "lost"),
    )
    return Section(
        "Workers",
        f"`EDGE_WORKERS`, with {CLIENTS:,} clients: {EVENTS_PER_S} events/s, then as many as the "
        "slowest client can follow. The load generator and the relay need their share of the "
        "same cores.",
        (Table(columns, [_row(workers) for workers in WORKERS]),),
    )


def _row(workers: int) -> tuple[str, ...]:
    with session(EventRelay(workers=workers), CLIENTS) as load:
        paced = load.paced(EVENTS_PER_S, PACED_S)
    with session(EventRelay(workers=workers), CLIENTS) as load:
        saturated = load.saturated(SATURATED_S)
    return (
        f"{workers}",
        f"{paced.cpu_us:.2f}",
        f"{paced.outcome.p50_ms:.1f}",
        f"{paced.outcome.p99_ms:.1f}",
        f"{saturated.deliveries_per_s:,.0f}",
        f"{saturated.cpu_us:.2f}",
        f"{_lost(paced) + _lost(saturated):,}",
    )


def _lost(run: Run) -> int:
    return run.outcome.lost
