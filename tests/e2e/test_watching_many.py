"""100,000 live subscriptions at one edge cost the relay and an idle manager little memory."""

import psutil

from relay.wire.topics import MAX_TOPIC_BYTES
from tests.support.cluster import Cluster, Edge
from tests.support.processes import ManagedProcess, python
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for

CONNECTIONS = 100
SUBSCRIPTIONS = 1_000
RELAY_MIB = 50
MANAGER_MIB = 10
WAIT_S = 120.0

MANAGER = """\
import os, sys, threading
from emitters import Emitter
from emitters.resources import ResourceMonitor
watched = threading.Event()
emitter = Emitter(name="manager")
monitor = ResourceMonitor(emitter, interval_s=0.05)
monitor.watch("idle", os.getpid())
emitter.on_watch_change(watched.set)
assert emitter.wait_connected(20)
print("connected", flush=True)
while not emitter.is_watched(sys.argv[1]):
    watched.wait()
    watched.clear()
print("told, after", emitter.counters()["live"], "samples", flush=True)
threading.Event().wait()
"""


def topic(connection: int, number: int) -> str:
    """A topic as long as topics may be."""
    return f"resource-monitor:{connection}-{number}-".ljust(MAX_TOPIC_BYTES, "x")


def memory_mib(process: ManagedProcess) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 2**20


def subscribe(cluster: Cluster, edge: Edge, connection: int) -> None:
    """One user subscribes to as many topics as one connection may have."""
    client = cluster.connect(edge, f"user-{connection}")
    for number in range(SUBSCRIPTIONS):
        client.send({"action": "subscribe", "topic": topic(connection, number), "id": number})
    last = client.receive_until(
        lambda message: message.get("id") == SUBSCRIPTIONS - 1, "the last reply", WAIT_S
    )
    assert last["status"] == "success", last


def test_many_subscriptions_cost_relay_and_manager_little(
    cluster: Cluster,
) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge()
    last = topic(CONNECTIONS - 1, SUBSCRIPTIONS - 1)
    manager = cluster.start_forked("manager", python("-u", "-c", MANAGER, last))
    manager.wait_for_output("connected")
    before = [memory_mib(relay), memory_mib(manager), memory_mib(edge.process)]
    for connection in range(CONNECTIONS):
        subscribe(cluster, edge, connection)
    assert edge.metrics()["edge_subscriptions"][""] == CONNECTIONS * SUBSCRIPTIONS
    with RelayPeer(cluster.control) as peer:
        wait_for(
            lambda: peer.stats()["watched_topics"] == CONNECTIONS * SUBSCRIPTIONS,
            "the relay knows all watched topics",
            WAIT_S,
        )
    manager.wait_for_output("told, after 0 samples", WAIT_S)
    after = [memory_mib(relay), memory_mib(manager), memory_mib(edge.process)]
    used = [later - earlier for earlier, later in zip(before, after, strict=True)]
    print("MiB of relay, manager, edge: {:.1f}, {:.1f}, {:.1f}".format(*used))
    assert used[0] < RELAY_MIB
    assert used[1] < MANAGER_MIB
