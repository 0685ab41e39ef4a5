"""The cost of a delivery by the number of clients, of topics, and of subscriptions of a client."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.load.clients import Plan
from bench.load.generator import LoadGenerator
from bench.load.payload import TOPIC
from bench.peers.event_relay import EventRelay, run_relay_and_edge
from bench.peers.peer import Peer
from bench.report import Section, Table, Target
from bench.servers import LIMIT
from bench.session import Run, load, session

SECONDS = 4.0
ROUNDS = 2
CLIENTS = (10, 100, 1_000, 10_000)
DELIVERIES_PER_S = 20_000
TOPICS = (1, 10, 100, 1_000, 10_000)
TOPIC_EVENTS_PER_S = 1_000
RECEIVERS = 10
MOST_GROUPS = 100
CROWD = MOST_GROUPS * RECEIVERS
SILENT = "event:silent"
"""The topic of clients that no event is for."""
SUBSCRIPTIONS = (1, 10, 100)
SUBSCRIBERS = 1_000
SUBSCRIBER_EVENTS_PER_S = 50
TARGET_RATIO = 1.3

Axis = Mapping[int, Sequence[Run]]
"""The rounds of each value of an axis."""


def measure(peers: Mapping[str, Peer]) -> Section:
    """Measure Event Relay along three axes, and the bare loop, if chosen, along the clients."""
    by_clients = _along(CLIENTS, lambda count: _with_clients(EventRelay(), count), ROUNDS)
    by_topics = _along(TOPICS, _with_topics, ROUNDS)
    by_subscriptions = _along(SUBSCRIPTIONS, _with_subscriptions)
    rows = _rows(by_clients)
    bare = peers.get(LIMIT)
    limit: Axis | None = None
    if bare is not None and not bare.missing():
        limit = _along(CLIENTS, lambda count: _with_clients(bare, count))
        rows.insert(2, _row(bare.name, _values(limit, _both)))
    return Section(
        "Scaling",
        f"CPU µs per delivery over {SECONDS:.0f} s. Clients: at the event rate that makes "
        f"{DELIVERIES_PER_S:,} deliveries/s. Topics: {TOPIC_EVENTS_PER_S:,} events/s over all "
        f"topics, each for {RECEIVERS} of {CROWD:,} clients. Subscriptions: "
        f"{SUBSCRIBERS:,} clients, {SUBSCRIBER_EVENTS_PER_S} events/s on one of their topics. The "
        f"values of Event Relay by clients and by topics are means of {ROUNDS} rounds. The fewer "
        "receivers an event has, the larger is the share of the relay and its journal in the cost "
        "of a delivery.",
        (
            _table("clients", CLIENTS, rows, by_clients),
            _table("topics", TOPICS, _rows(by_topics), by_topics),
            _table(
                "subscriptions a client", SUBSCRIPTIONS, _rows(by_subscriptions), by_subscriptions
            ),
        ),
        (_target("clients", by_clients, limit), _target("topics", by_topics)),
    )


def _along(places: Sequence[int], run: Callable[[int], Run], rounds: int = 1) -> Axis:
    """Measure at every value of an axis, then again."""
    runs: dict[int, list[Run]] = {place: [] for place in places}
    for _ in range(rounds):
        for place in places:
            runs[place].append(run(place))
    return runs


def _with_clients(peer: Peer, clients: int) -> Run:
    with session(peer, clients) as loaded:
        return loaded.paced(DELIVERIES_PER_S / clients, SECONDS)


def _with_topics(count: int) -> Run:
    topics = tuple(f"event:bench-{number}" for number in range(count))
    groups = tuple(topics[first::MOST_GROUPS] for first in range(min(count, MOST_GROUPS)))
    clients = RECEIVERS * len(groups)
    with (
        TemporaryDirectory() as directory,
        run_relay_and_edge(Path(directory)) as running,
        LoadGenerator() as others,
    ):
        if silent := CROWD - clients:
            others.connect(Plan(running.dialect(silent, ((SILENT,),)), silent))
        server = running.server(clients, topics, groups)
        plan = Plan(server.dialect, clients, groups=len(groups))
        with load(server, plan) as loaded:
            return loaded.paced(TOPIC_EVENTS_PER_S, SECONDS)


def _with_subscriptions(count: int) -> Run:
    others = tuple(f"event:other-{number}" for number in range(1, count))
    with session(EventRelay(groups=((TOPIC, *others),)), SUBSCRIBERS) as loaded:
        return loaded.paced(SUBSCRIBER_EVENTS_PER_S, SECONDS)


def _edge(run: Run) -> float:
    return run.cpu_us_of("edge")


def _both(run: Run) -> float:
    return run.cpu_us


def _p99_ms(run: Run) -> float:
    return run.outcome.p99_ms


def _values(axis: Axis, value: Callable[[Run], float]) -> list[float]:
    return [statistics.fmean(value(run) for run in rounds) for rounds in axis.values()]


def _spread(values: Sequence[float]) -> float:
    return max(values) / min(values)


def _rows(axis: Axis) -> list[tuple[str, ...]]:
    return [
        _row("edge", _values(axis, _edge)),
        _row("edge and relay", _values(axis, _both)),
        ("p99 ms", *(f"{value:.1f}" for value in _values(axis, _p99_ms)), ""),
    ]


def _row(name: str, values: Sequence[float]) -> tuple[str, ...]:
    return (name, *(f"{value:.2f}" for value in values), f"{_spread(values):.2f}")


def _table(name: str, places: Sequence[int], rows: Sequence[tuple[str, ...]], axis: Axis) -> Table:
    faults = (fault for rounds in axis.values() for run in rounds for fault in run.outcome.faults)
    return Table((name, *(f"{place:,}" for place in places), "max/min"), rows, tuple(faults))


def _target(name: str, axis: Axis, limit: Axis | None = None) -> Target:
    spread = _spread(_values(axis, _edge))
    kernel = "" if limit is None else f", of bare send() {_spread(_values(limit, _both)):.2f} x"
    least, most = min(axis), max(axis)
    return Target(
        f"the edge's cost per delivery flat within {TARGET_RATIO} x "
        f"from {least:,} to {most:,} {name}",
        f"{spread:.2f} x{kernel}",
        spread <= TARGET_RATIO
        and not any(run.outcome.wrong for rounds in axis.values() for run in rounds),
    )
