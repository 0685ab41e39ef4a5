"""Quantiles, and their form in a table."""

import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
COLUMNS = ("p50 ms", "p90 ms", "p99 ms", "max ms")


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and max."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": ordered[-1]}


def median(items: Sequence[Item], value: Callable[[Item], float]) -> float:
    """Return the median of one value over several items."""
    return statistics.median(value(item) for item in items)


def cells(found: dict[str, float]) -> tuple[str, ...]:
    """Return the quantiles as text."""
    return tuple(f"{value:.2f}" for value in found.values())
