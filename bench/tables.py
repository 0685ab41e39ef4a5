"""What the tables share."""


def quantiles(values: list[float]) -> dict[str, float]:
    """The columns p50, p90, p99 and max."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": ordered[-1]}
