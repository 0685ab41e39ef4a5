"""Throughput and CPU of the relay, in journaled events, beside the C `zmq.proxy`.

Two emitter processes emit at full speed through the relay to one edge, then to a plain subscriber
that checks every offset. The reference is `zmq.proxy` in a process of its own, with plain
publishers that send frames of the same sizes at the rate of the relay; it neither numbers nor
stores them. The last measurement is the time from `emit()` to the acknowledgement of single events.
"""

import contextlib
import math
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing.synchronize import Event
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench.meters import cpu_s
from bench.parts.relay_processes import (
    EVENTS_EACH,
    TIMEOUT_S,
    TOPIC,
    data,
    emit,
    plain_frames,
    proxy,
    publish,
    subscribe,
)
from bench.peers.peer import Peer
from bench.quantiles import COLUMNS, cells, quantiles
from bench.report import Section, Table, Target
from emitters import Emitter
from relay.shared.curve_keys import ClientKeys, new_key_pair
from tests.support.cluster import Cluster, free_ports
from tests.support.keys import Keys
from tests.support.waiting import wait_for

EMITTERS = 2
ROUNDS = 3
"""Rounds to the edge; the row is their median, because all processes share the cores."""
SINGLE_EVENTS = 1000
WARM_UP = 50
ARRIVAL_TIMEOUT_S = 30.0
"""Seconds for the edge after the last acknowledgement."""
TARGET_EVENTS_PER_S = 40_000
TARGET_ACKNOWLEDGED_MS = 2.0

SPAWN = multiprocessing.get_context("spawn")


class Throughput(NamedTuple):
    """One row of the table."""

    events_per_s: float
    cpu_us: float
    """CPU of the process in the middle, in µs per event."""
    lost: int
    """Events that did not arrive, or not in order."""


def measure(_peers: Mapping[str, Peer]) -> Section:
    """Measure the relay with an edge and with a plain subscriber, then the proxy."""
    to_edge = sorted(_through_relay_to_edge() for _ in range(ROUNDS))[ROUNDS // 2]
    to_subscriber = _through_relay_to_subscriber()
    through_proxy = _through_proxy(to_subscriber.events_per_s)
    with_keys = _through_relay_to_subscriber(keyed=True)
    without_keys = _through_relay_to_subscriber(with_keys.events_per_s)
    slow_proxy = _through_proxy(with_keys.events_per_s)
    proxy_with_keys = _through_proxy(with_keys.events_per_s, keyed=True)
    acknowledged = quantiles(_acknowledged_ms())
    rows = {
        "relay, every event journaled and acknowledged → edge": to_edge,
        "relay → plain subscriber": to_subscriber,
        "the C `zmq.proxy`, which numbers and stores nothing, at that rate": through_proxy,
        "relay → plain subscriber, with keys (CURVE)": with_keys,
        "without keys, at that rate": without_keys,
        "the C `zmq.proxy` with CURVE, at that rate": proxy_with_keys,
        "without CURVE, at that rate": slow_proxy,
    }
    relay_pays = with_keys.cpu_us - without_keys.cpu_us
    proxy_pays = proxy_with_keys.cpu_us - slow_proxy.cpu_us
    return Section(
        "Relay",
        f"{EMITTERS} emitters at full speed, {EMITTERS * EVENTS_EACH:,} events with envelopes of "
        f"{len(plain_frames(0)[2])} bytes; CPU is that of the process in the middle. The first row "
        f"is the median of {ROUNDS} rounds. The second table has {SINGLE_EVENTS:,} events one at a "
        "time, in ms from `emit()` to the acknowledgement.",
        (
            Table(
                ("path", "events/s", "CPU µs an event", "lost"),
                [
                    (name, f"{row.events_per_s:,.0f}", f"{row.cpu_us:.2f}", f"{row.lost:,}")
                    for name, row in rows.items()
                ],
            ),
            Table(("one at a time", *COLUMNS), (("acknowledged", *cells(acknowledged)),)),
        ),
        (
            Target(
                f"{TARGET_EVENTS_PER_S:,} events/s without loss",
                f"{to_edge.events_per_s:,.0f}/s, {to_subscriber.cpu_us / through_proxy.cpu_us:.1f} "
                "x the CPU of the proxy",
                to_edge.events_per_s >= TARGET_EVENTS_PER_S and not to_edge.lost,
            ),
            Target(
                f"p50 until acknowledged below {TARGET_ACKNOWLEDGED_MS:.0f} ms",
                f"{acknowledged['p50']:.2f} ms",
                acknowledged["p50"] < TARGET_ACKNOWLEDGED_MS,
            ),
            Target(
                "keys cost the relay at most what they cost the proxy",
                f"{relay_pays:.1f} µs an event, the proxy {proxy_pays:.1f} µs",
                relay_pays <= proxy_pays,
            ),
        ),
    )


def _through_relay_to_edge() -> Throughput:
    with _cluster() as cluster:
        relay = cluster.start_relay()
        edge = cluster.start_edge()

        def passed() -> int:
            # The edge drops repeated events, and fetches those that it missed.
            metrics = edge.metrics()
            parts = (metrics["edge_events_forwarded"], metrics["edge_events_filtered"])
            return round(sum(part.get("event", 0.0) for part in parts))

        total = EMITTERS * EVENTS_EACH
        used_s = cpu_s(relay.pid)
        elapsed_s = _emit(cluster)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: passed() >= total, "the edge has every event", ARRIVAL_TIMEOUT_S)
        used_s = cpu_s(relay.pid) - used_s
        lost = total - passed()
    return Throughput(total / elapsed_s, used_s / total * 1e6, lost)


def _through_relay_to_subscriber(
    events_per_s: float = math.inf, *, keyed: bool = False
) -> Throughput:
    with _cluster() as cluster:
        keys = _use_keys(cluster) if keyed else None
        relay = cluster.start_relay()
        total = EMITTERS * EVENTS_EACH
        client = None if keys is None else keys.client("subscriber")
        with _subscriber(cluster.egress, total, client, stamped=True) as outcome:
            used_s = cpu_s(relay.pid)
            with _environment({} if keys is None else keys.env("EMITTER", "emitter")):
                elapsed_s = _emit(cluster, events_per_s)
            in_order = outcome.get(timeout=TIMEOUT_S)
            used_s = cpu_s(relay.pid) - used_s
    return Throughput(total / elapsed_s, used_s / total * 1e6, total - in_order)


def _use_keys(cluster: Cluster) -> Keys:
    """Give the relay a key, and a list of an emitter and a subscriber."""
    keys = Keys(cluster.directory, "emitter", "subscriber")
    cluster.env |= keys.relay_env()
    cluster.configure(
        f"""
        [peers.emitter]
        role = "emitter"
        key = "{keys.public("emitter")}"
        publish = ["event:*"]
        sources = ["bench-*"]
        [peers.subscriber]
        role = "tool"
        key = "{keys.public("subscriber")}"
        """
    )
    return keys


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have processes that are started in the body inherit `variables`."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def _through_proxy(events_per_s: float, *, keyed: bool = False) -> Throughput:
    ingress, egress = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    total = EMITTERS * EVENTS_EACH
    own = new_key_pair()
    keys = ClientKeys(own, own.public) if keyed else None
    process = SPAWN.Process(target=proxy, args=(ingress, egress, keys))
    process.start()
    try:
        with _subscriber(egress, total, keys, stamped=False) as outcome:
            assert process.pid is not None
            used_s = cpu_s(process.pid)
            elapsed_s = _run_all(publish, (ingress, events_per_s / EMITTERS, keys))
            arrived = outcome.get(timeout=TIMEOUT_S)
            used_s = cpu_s(process.pid) - used_s
    finally:
        process.terminate()
        process.join()
    return Throughput(total / elapsed_s, used_s / total * 1e6, total - arrived)


def _acknowledged_ms() -> list[float]:
    """Return the delays of acknowledgements: an outbox for one event has room after each."""
    with _cluster() as cluster:
        cluster.start_relay()
        with Emitter(
            name="single",
            ingress=cluster.ingress,
            control=cluster.control,
            max_events=1,
            block_timeout_s=10,
        ) as emitter:
            assert emitter.wait_connected(10)
            emitter.emit(TOPIC, data(0))
            taken_at = [time.perf_counter()]
            for number in range(WARM_UP + SINGLE_EVENTS):
                emitter.emit(TOPIC, data(number))
                taken_at.append(time.perf_counter())
    delays = [1000 * (end - begin) for begin, end in pairwise(taken_at)]
    return delays[WARM_UP:]


@contextmanager
def _cluster() -> Iterator[Cluster]:
    with TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory))
        try:
            yield cluster
        finally:
            cluster.close()


def _emit(cluster: Cluster, events_per_s: float = math.inf) -> float:
    """Return the seconds from the first `emit` until the relay has acknowledged the last event."""
    return _run_all(emit, (cluster.ingress, cluster.control, events_per_s / EMITTERS))


def _run_all(target: Any, arguments: tuple[Any, ...]) -> float:
    """Start the emitters together, and return the seconds until the last one was done."""
    go: Event = SPAWN.Event()
    spans: Queue[tuple[float, float] | None] = SPAWN.Queue()  # type: ignore[assignment]
    processes = [
        SPAWN.Process(target=target, args=(f"bench-{number}", *arguments, go, spans))
        for number in range(EMITTERS)
    ]
    try:
        for process in processes:
            process.start()
        for _ in processes:
            assert spans.get(timeout=TIMEOUT_S) is None, "ready"
        go.set()
        found = [span for _ in processes if (span := spans.get(timeout=TIMEOUT_S)) is not None]
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return max(end for _, end in found) - min(begin for begin, _ in found)


@contextmanager
def _subscriber(
    egress: str, count: int, keys: ClientKeys | None, *, stamped: bool
) -> Iterator[Any]:
    """Yield a queue that gets the number of events, of `count`, that arrived in order."""
    outcome = SPAWN.Queue()
    process = SPAWN.Process(target=subscribe, args=(egress, count, stamped, keys, outcome))
    process.start()
    try:
        assert outcome.get(timeout=TIMEOUT_S) is None, "subscribed"
        yield outcome
    finally:
        process.terminate()
        process.join()
