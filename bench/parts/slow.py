"""Some clients stop reading: the delay of the others, and the memory of the edge."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.load.clients import Plan
from bench.load.outcome import Outcome
from bench.load.payload import TOPIC
from bench.meters import peak_rss, rss_bytes
from bench.peers.event_relay import run_relay_and_edge
from bench.peers.peer import Peer
from bench.quantiles import median
from bench.report import Section, Table, Target
from bench.session import load

CLIENTS = 1_000
SLOW = 10
OTHERS = CLIENTS - SLOW
EVENTS_PER_S = 100
SECONDS = 6.0
ROUNDS = 3
PADDING_BYTES = 2048
"""Large events fill the kernel's buffers, of nearly a megabyte, soon."""
QUEUED_BYTES = 128 * 1024
HISTORY_BYTES = 256 * 1024
TOO_SLOW = "4008"
TARGET_RATIO = 1.2


class Round(NamedTuple):
    """The results of one edge."""

    before: Outcome
    """The clients that read all the time, before the others stop; `during` is afterwards."""
    during: Outcome
    growth_bytes: int
    """The largest growth of the edge's memory after the others stopped."""
    closed: int

    @property
    def ratio(self) -> float:
        """The p99 afterwards, divided by the p99 before."""
        return self.during.p99_ms / self.before.p99_ms


def measure(_peers: Mapping[str, Peer]) -> Section:
    """Measure several times, because the p99 of a few seconds varies by chance."""
    return _section([_measure() for _ in range(ROUNDS)])


def _measure() -> Round:
    settings = {"EDGE_MAX_QUEUED_BYTES": QUEUED_BYTES, "EDGE_HISTORY_BYTES": HISTORY_BYTES}
    env = {name: str(value) for name, value in settings.items()}
    with TemporaryDirectory() as directory, run_relay_and_edge(Path(directory), env) as running:
        server = running.server(CLIENTS, (TOPIC,), ((TOPIC,),), PADDING_BYTES)
        with load(server, Plan(server.dialect, CLIENTS, small_buffers=SLOW)) as loaded:
            before = loaded.paced(EVENTS_PER_S, SECONDS, skip=SLOW).outcome
            edge = running.pids["edge"]
            rss = rss_bytes(edge)
            with peak_rss(edge) as peak:
                loaded.generator.stop_reading(SLOW)
                during = loaded.paced(EVENTS_PER_S, SECONDS, warm_up_s=0, skip=SLOW).outcome
            closed = round(running.edge.metrics()["edge_closed"].get(TOO_SLOW, 0))
    return Round(before, during, peak.value - rss, closed)


def _section(rounds: Sequence[Round]) -> Section:
    budget = SLOW * QUEUED_BYTES
    ratio = median(rounds, lambda each: each.ratio)
    growth = max(each.growth_bytes for each in rounds)
    closed = min(each.closed for each in rounds)
    outcomes = [outcome for each in rounds for outcome in (each.before, each.during)]
    complete = not any(outcome.wrong for outcome in outcomes)
    rows = (
        _row("before", [each.before for each in rounds]),
        _row(f"while {SLOW} do not read", [each.during for each in rounds]),
    )
    return Section(
        "Slow clients",
        f"{CLIENTS:,} clients at {EVENTS_PER_S} events/s of a little over {PADDING_BYTES:,} bytes; "
        f"after {SECONDS:.0f} s {SLOW} of them stop reading for as long. `EDGE_MAX_QUEUED_BYTES` "
        f"is {QUEUED_BYTES:,}: a client with a longer queue is closed with {TOO_SLOW}. The budget "
        "is this limit times the number of slow clients; the memory is the edge's highest since "
        f"they stopped. Values are medians of {ROUNDS} rounds, each with a new edge, and the "
        "highest memory.",
        (
            Table(
                (f"the other {OTHERS}", "p50 ms", "p99 ms", "max ms", "lost or late"),
                rows,
                tuple(fault for outcome in outcomes for fault in outcome.faults),
            ),
            Table(
                ("the edge", ""),
                (
                    (f"closed with {TOO_SLOW}", f"{closed}"),
                    ("memory grew by, bytes", f"{growth:,}"),
                    ("budget, bytes", f"{budget:,}"),
                ),
            ),
        ),
        (
            Target(
                f"the p99 of the other {OTHERS} stays within {TARGET_RATIO} x",
                f"{ratio:.2f} x",
                complete and ratio <= TARGET_RATIO,
            ),
            Target(
                "memory stays under the budget",
                f"{growth / budget:.2f} x, {closed} closed",
                growth <= budget and closed == SLOW,
            ),
        ),
    )


def _row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    return (
        name,
        f"{median(outcomes, lambda outcome: outcome.p50_ms):.2f}",
        f"{median(outcomes, lambda outcome: outcome.p99_ms):.2f}",
        f"{max(outcome.max_ms for outcome in outcomes):.2f}",
        f"{sum(outcome.lost for outcome in outcomes):,}",
    )
