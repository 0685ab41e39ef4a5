"""A resource is sampled only while somebody watches it, across three processes."""

from collections.abc import Callable

import pytest

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
    process = cluster.start("sampler", python("-u", "-c", SAMPLER))
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
    watcher = cluster.start("watcher", python("-u", "-c", WATCHER, url))
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
