"""The runs of a load as a table, with medians over several runs."""

from collections.abc import Mapping, Sequence

from bench.quantiles import median
from bench.report import Table
from bench.session import Run

COLUMNS = (
    *("server", "deliveries/s", "CPU µs each", "p50 ms", "p99 ms", "max ms"),
    *("lost or late", "generator's share of a core"),
)


def table(runs: Mapping[str, Sequence[Run]], notes: tuple[str, ...]) -> Table:
    """Return a row for each server, by its name in `runs`."""
    faults = tuple(
        f"{name}: {run.outcome.wrong} clients, the first: {run.outcome.faults[0]}"
        for name, of_one in runs.items()
        for run in of_one
        if run.outcome.faults
    )
    return Table(COLUMNS, [_row(name, of_one) for name, of_one in runs.items()], notes + faults)


def cpu_us(run: Run) -> float:
    return run.cpu_us


def p50_ms(run: Run) -> float:
    return run.outcome.p50_ms


def p99_ms(run: Run) -> float:
    return run.outcome.p99_ms


def deliveries_per_s(run: Run) -> float:
    return run.deliveries_per_s


def is_right(runs: Sequence[Run]) -> bool:
    """Whether every client got every event, once and in order."""
    return not any(run.outcome.wrong for run in runs)


def _row(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    return (
        name,
        f"{median(runs, deliveries_per_s):,.0f}",
        f"{median(runs, cpu_us):.2f}",
        f"{median(runs, p50_ms):.1f}",
        f"{median(runs, p99_ms):.1f}",
        f"{max(run.outcome.max_ms for run in runs):.1f}",
        f"{sum(run.outcome.lost for run in runs):,}",
        f"{median(runs, lambda run: run.generator_share):.0%}",
    )
