"""1,000 clients lose their edge, miss 1,000 events, and resume at its successor together."""

import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.peers.peer import Peer
from bench.report import Section, Table, Target
from tests.support.cluster import Cluster, Edge
from tests.support.swarm import Swarm
from tests.support.swarm_client import SwarmClient
from tests.support.swarm_record import Record
from tests.support.waiting import wait_for

CLIENTS = 1000
USERS = 50
BEFORE = 100
"""Events that every client has before the edge is killed."""
MISSED = 1000
STREAM = "event"
TIMEOUT_S = 120.0


class Resumed(NamedTuple):
    """The results of one run."""

    seconds: float
    """Seconds from the first answer of the new edge until the last client has every event."""
    deliveries_per_s: float
    wrong: int
    """Clients whose record is not exactly 1, 2, 3…"""
    rss_before: float
    """MiB of the first edge, with all clients connected."""
    rss_after: float
    """MiB of the second edge, when every client has every event."""
    rss_peak: float


def measure(_peers: Mapping[str, Peer]) -> Section:
    """Kill an edge, and measure its successor."""
    with TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory))
        swarm = Swarm()
        try:
            resumed = _measure(cluster, swarm)
        finally:
            swarm.close()
            cluster.close()
    rows = (
        ("seconds until the last client has every event", f"{resumed.seconds:.2f}"),
        ("deliveries/s", f"{resumed.deliveries_per_s:,.0f}"),
        ("wrong sequences", f"{resumed.wrong}"),
        ("memory of the edge before, MiB", f"{resumed.rss_before:.1f}"),
        ("memory of its successor, peak, MiB", f"{resumed.rss_peak:.1f}"),
        ("memory of its successor, after, MiB", f"{resumed.rss_after:.1f}"),
    )
    return Section(
        "Resume",
        f"{CLIENTS:,} clients of a killed edge miss {MISSED:,} events each, and resume at its "
        "successor together. The clients are in Python, check every offset, and take their share "
        "of the time.",
        (Table(("", ""), rows),),
        (Target("no wrong sequence", f"{resumed.wrong}", resumed.wrong == 0),),
    )


def _measure(cluster: Cluster, swarm: Swarm) -> Resumed:
    cluster.start_relay()
    edge = cluster.start_edge()
    emitter = cluster.emitter("bench")
    tokens = [cluster.token(f"user-{number}") for number in range(USERS)]
    swarm.add(
        SwarmClient(f"client-{number}", edge.port, tokens[number % USERS], Record((f"{STREAM}:*",)))
        for number in range(CLIENTS)
    )
    wait_for(lambda: all(client.is_settled for client in swarm.clients), "settled", TIMEOUT_S)

    def emit(first: int, last: int) -> None:
        for number in range(first, last + 1):
            emitter.emit(f"{STREAM}:backup_{number % 8}", {"run": 1, "n": number, "text": "x" * 60})

    def all_have(last: int) -> bool:
        return all(client.record.positions[STREAM] >= last for client in swarm.clients)

    emit(1, BEFORE)
    wait_for(lambda: all_have(BEFORE), "every client has the events before the kill", TIMEOUT_S)
    rss_before = _memory_mib(edge, "VmRSS")
    edge.process.kill()
    emit(BEFORE + 1, BEFORE + MISSED)
    assert emitter.close(30) == 0
    edge = cluster.start_edge(port=edge.port, ready=False)
    began = time.monotonic()
    wait_for(lambda: all_have(BEFORE + MISSED), "every client has every event", TIMEOUT_S)
    seconds = time.monotonic() - began
    right = array("Q", range(1, BEFORE + MISSED + 1))
    wrong = sum(
        client.record.streams[STREAM].offsets != right
        or bool(client.record.errors or client.record.gaps or client.record.recovered[False])
        for client in swarm.clients
    )
    return Resumed(
        seconds,
        CLIENTS * MISSED / seconds,
        wrong,
        rss_before,
        _memory_mib(edge, "VmRSS"),
        _memory_mib(edge, "VmHWM"),
    )


def _memory_mib(edge: Edge, field: str) -> float:
    """Return a line of `/proc/PID/status`, in MiB."""
    status = Path(f"/proc/{edge.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) / 1024
