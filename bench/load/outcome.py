"""The results of a run of the load generator: losses, wrong sequences, delays."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.load.client import Client
from bench.load.tape import arrivals_by_event

MS = 1e6
"""Nanoseconds in a millisecond."""


@dataclass(frozen=True)
class Outcome:
    """The results of some clients, for the events from a given number on."""

    clients: int
    lost: int
    """Missing deliveries, over all clients and all events since the first."""
    wrong: int
    """Clients that did not get every event, once and in order."""
    faults: tuple[str, ...]
    """The first fault of some of these clients."""
    p50_ms: float
    """Quantiles of the delay of all deliveries, from publishing to receipt, in milliseconds."""
    p99_ms: float
    max_ms: float
    worst_p99_ms: float
    """The highest p99 of a single client, in milliseconds."""
    last_ms: tuple[float, ...]
    """Milliseconds, for each event, until the last client had it."""


def judge(clients: Sequence[Client], published: int, *, since: int, every: int) -> Outcome:
    """Check that `clients` got all `published` events, and measure the events from `since` on.

    `since` is the number of an event. Delays are measured at every `every`-th client.
    """
    expected = [client.reader.tape.expected(published) for client in clients]
    received = [client.reader.received for client in clients]
    faults = [
        client.reader.fault or f"{got} of {wanted} events came"
        for client, wanted, got in zip(clients, expected, received, strict=True)
        if client.reader.fault is not None or wanted != got
    ]
    delays: list[int] = []
    last: dict[int, int] = {}
    worst_p99 = 0
    for client in clients[::every]:
        own = _delays(client, since)
        for number, delay in own:
            last[number] = max(delay, last.get(number, 0))
        ordered = sorted(delay for _, delay in own)
        worst_p99 = max(worst_p99, _at(ordered, 0.99))
        delays += ordered
    delays.sort()
    return Outcome(
        clients=len(clients),
        lost=sum(max(0, wanted - got) for wanted, got in zip(expected, received, strict=True)),
        wrong=len(faults),
        faults=tuple(faults[:3]),
        p50_ms=_at(delays, 0.5) / MS,
        p99_ms=_at(delays, 0.99) / MS,
        max_ms=_at(delays, 1.0) / MS,
        worst_p99_ms=worst_p99 / MS,
        last_ms=tuple(last[number] / MS for number in sorted(last)),
    )


def _delays(client: Client, since: int) -> list[tuple[int, int]]:
    """Yield the number of each event and its delay in nanoseconds."""
    tape = client.reader.tape
    first = tape.expected(since)
    return [
        (tape.number(index), at - tape.sent_ns[index])
        for index, at in arrivals_by_event(client.reader, client.arrivals)
        if index >= first
    ]


def _at(ordered: Sequence[int], share: float) -> int:
    """Return the quantile; 0 if there are no values."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0
