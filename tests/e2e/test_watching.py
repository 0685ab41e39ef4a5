"""A resource is sampled only while somebody watches it, across three processes."""

import signal
from collections.abc import Callable
from functools import partial

import pytest

from relay.core.demand import LEASE_S
from relay.shared.covering_prefixes import MAX_PREFIXES
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.processes import ManagedProcess, python
from tests.support.waiting import wait_for

SAMPLER = """\
import os, sys, threading
from emitters import Emitter
from emitters.resources import ResourceMonitor
emitter = Emitter(name="sampler")
monitor = ResourceMonitor(emitter, interval_s=0.05)
for name in ("survival", "survival2"):
    monitor.watch(name, os.getpid())
print("sampling", flush=True)
counted = threading.Event()
previous = -1
while True:
    counted.wait(0.25)
    sampled = emitter.counters()["live"]
    if sampled == previous:
        print("idle at", previous, flush=True)
    previous = sampled
"""

WATCHER = """\
import sys, threading
from tests.support.clients import Client
client = Client(sys.argv[1])
client.subscribe("resource-monitor:survival")
print("watching", flush=True)
threading.Event().wait()
"""

TOPIC = "resource-monitor:survival"


def is_idle(sampler: ManagedProcess) -> Callable[[], bool]:
    """Return a condition: a quarter of a second passed without a sample since this call."""
    seen = sampler.output().count("idle at")
    return lambda: sampler.output().count("idle at") >= seen + 2


@pytest.fixture
def sampler(cluster: Cluster, edge: Edge) -> ManagedProcess:
    process = cluster.start_forked("sampler", python("-u", "-c", SAMPLER))
    process.wait_for_output("idle at 0")
    return process


def leave_by_unsubscribing(client: Client) -> None:
    client.ask({"action": "unsubscribe", "topic": TOPIC})


def leave_by_closing(client: Client) -> None:
    client.close()


@pytest.mark.parametrize("leave", [leave_by_unsubscribing, leave_by_closing])
def test_sampling_starts_with_the_first_watcher_and_ends_with_the_last(
    cluster: Cluster, edge: Edge, sampler: ManagedProcess, leave: Callable[[Client], None]
) -> None:
    watchers = [cluster.connect(edge, name) for name in ("alice", "bob")]
    for watcher in watchers:
        watcher.subscribe(TOPIC)
        value = watcher.receive_on(TOPIC)
        assert value["data"]["process_info"]["pid"] == sampler.pid
    leave(watchers[0])
    watchers[1].receive_on(TOPIC)
    watchers[1].receive_on(TOPIC)
    leave(watchers[1])
    wait_for(is_idle(sampler), "sampling ends")


def test_a_watcher_that_is_killed_ends_the_sampling(
    cluster: Cluster, edge: Edge, sampler: ManagedProcess
) -> None:
    url = f"ws://127.0.0.1:{edge.port}/ws?token={cluster.token('alice')}"
    watcher = cluster.start_forked("watcher", python("-u", "-c", WATCHER, url))
    watcher.wait_for_output("watching")
    observer = cluster.connect(edge, "bob")
    observer.subscribe(TOPIC)
    observer.receive_on(TOPIC)
    observer.close()
    watcher.kill()
    wait_for(is_idle(sampler), "sampling ends")


def test_an_edge_that_is_killed_ends_the_sampling(
    cluster: Cluster, edge: Edge, sampler: ManagedProcess
) -> None:
    client = cluster.connect(edge, "alice")
    client.subscribe(TOPIC)
    client.receive_on(TOPIC)
    edge.process.kill()
    wait_for(is_idle(sampler), "sampling ends")


def test_a_name_that_begins_with_a_watched_one_is_not_sampled(cluster: Cluster, edge: Edge) -> None:
    """To ZeroMQ a subscription to `survival` matches `survival2`; to us it does not."""
    emitter = cluster.emitter()
    client = cluster.connect(edge, "alice")
    client.subscribe(TOPIC)
    wait_for(lambda: emitter.is_watched(TOPIC), "the topic is watched")
    assert not emitter.is_watched("resource-monitor:survival2")
    client.subscribe("resource-monitor:*")
    wait_for(lambda: emitter.is_watched("resource-monitor:survival2"), "all are watched")
    client.ask({"action": "unsubscribe", "topic": "resource-monitor:*"})
    wait_for(lambda: not emitter.is_watched("resource-monitor:survival2"), "only one is watched")
    assert emitter.is_watched(TOPIC)


MANY = [f"resource-monitor:{number}" for number in range(MAX_PREFIXES + 1)]
"""So many that edges subscribe to the whole kind, and the demand alone tells the topics apart."""
OTHERS = "resource-monitor:survival2"


def watcher(cluster: Cluster, edge: Edge, topic: str) -> Client:
    """A client that watches `topic` and many others."""
    client = cluster.connect(edge, f"{topic}-{edge.port}")
    for each in (*MANY, topic):
        client.subscribe(each)
    return client


def restart_relay(cluster: Cluster, relay: ManagedProcess, edge: Edge) -> None:
    relay.kill()
    relay.start()


def restart_edge(cluster: Cluster, relay: ManagedProcess, edge: Edge) -> None:
    edge.process.kill()
    edge.process.start()
    wait_for(lambda: edge.status("/readyz") == 200, "the edge is ready")
    watcher(cluster, edge, TOPIC)


def restart_nothing(cluster: Cluster, relay: ManagedProcess, edge: Edge) -> None:
    pass


@pytest.mark.parametrize("restart", [restart_relay, restart_edge, restart_nothing])
def test_the_watched_topics_are_known_again_after_every_restart(
    cluster: Cluster, restart: Callable[[Cluster, ManagedProcess, Edge], None]
) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge()
    watcher(cluster, edge, TOPIC)
    emitter = cluster.emitter("before")
    wait_for(lambda: emitter.is_watched(TOPIC), "the topic is watched")
    assert not emitter.is_watched(OTHERS)
    restart(cluster, relay, edge)
    # One emitter that lived through it, and one that starts now.
    for each in (emitter, cluster.emitter("after")):
        wait_for(partial(each.is_watched, TOPIC), "the topic is watched again")
        assert not each.is_watched(OTHERS)
    edge.wait_ready()
    late = cluster.connect(edge, "bob")
    late.subscribe(OTHERS)
    wait_for(lambda: emitter.is_watched(OTHERS), "changes arrive as well")


def test_a_frozen_edge_watches_nothing_and_watches_again_when_it_goes_on(
    cluster: Cluster,
) -> None:
    cluster.start_relay()
    frozen, living = cluster.start_edge(), cluster.start_edge()
    watcher(cluster, frozen, TOPIC)
    watcher(cluster, living, OTHERS)
    emitter = cluster.emitter()
    wait_for(lambda: emitter.is_watched(TOPIC) and emitter.is_watched(OTHERS), "both are watched")
    frozen.process.signal(signal.SIGSTOP)
    wait_for(lambda: not emitter.is_watched(TOPIC), "its lease ends", 4 * LEASE_S)
    assert emitter.is_watched(OTHERS), "that of the other edge does not"
    assert emitter.is_watched(MANY[0])
    frozen.process.signal(signal.SIGCONT)
    client = watcher(cluster, frozen, TOPIC)
    wait_for(lambda: emitter.is_watched(TOPIC), "the topic is watched again")
    emitter.emit(TOPIC, {"n": 1})
    assert client.receive_on(TOPIC)["data"] == {"n": 1}


def test_an_edge_that_is_killed_beside_another_one_watches_no_longer(cluster: Cluster) -> None:
    cluster.start_relay()
    killed, living = cluster.start_edge(), cluster.start_edge()
    watcher(cluster, killed, TOPIC)
    watcher(cluster, living, OTHERS)
    emitter = cluster.emitter()
    wait_for(lambda: emitter.is_watched(TOPIC) and emitter.is_watched(OTHERS), "both are watched")
    killed.process.kill()
    wait_for(lambda: not emitter.is_watched(TOPIC), "its lease ends", 4 * LEASE_S)
    assert emitter.is_watched(OTHERS)


def test_every_worker_of_an_edge_reports_its_own_watchers(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2")
    topics = [f"resource-monitor:of-{number}" for number in range(8)]
    clients = [watcher(cluster, edge, topic) for topic in topics]
    assert len(edge.connections_by_worker()) == 2
    emitter = cluster.emitter()
    for topic, client in zip(topics, clients, strict=True):
        wait_for(partial(emitter.is_watched, topic), f"{topic} is watched")
        emitter.emit(topic, {"topic": topic})
        assert client.receive_on(topic)["data"] == {"topic": topic}
    clients[0].close()
    wait_for(lambda: not emitter.is_watched(topics[0]), "it is watched no longer")
    assert all(emitter.is_watched(topic) for topic in topics[1:])


def test_a_plain_subscriber_watches_every_topic_within_its_prefix(cluster: Cluster) -> None:
    """`event-emit tail`, beside an edge that subscribes to the same prefix and filters."""
    cluster.start_relay()
    edge = cluster.start_edge()
    watcher(cluster, edge, TOPIC)
    emitter = cluster.emitter()
    wait_for(lambda: emitter.is_watched(TOPIC), "the topic is watched")
    assert not emitter.is_watched(OTHERS)
    env = {"EMITTER_RELAY_EGRESS": cluster.egress}
    tail = cluster.start_forked(
        "tail", python("-m", "emitters", "tail", "resource-monitor:"), **env
    )
    wait_for(lambda: emitter.is_watched(OTHERS), "everything is watched")
    tail.kill()
    wait_for(lambda: not emitter.is_watched(OTHERS), "the tail is gone")
    assert emitter.is_watched(TOPIC)
