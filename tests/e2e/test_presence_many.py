"""Presence of a thousand connections on two edges, exact after churn, kills and restarts."""

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from tests.e2e.test_presence import FILE, Watcher, present
from tests.support.cluster import Cluster, Edge
from tests.support.swarm import Swarm
from tests.support.swarm_client import SwarmClient
from tests.support.swarm_record import Record
from tests.support.waiting import wait_for

CONNECTIONS = 1_000
USERS = 600
WORKERS = "2"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def swarm() -> Iterator[Swarm]:
    swarm = Swarm()
    try:
        yield swarm
    finally:
        swarm.close()


def joined(swarm: Swarm, ports: set[int]) -> dict[str, int]:
    """The users who should be present, with their connections, when all clients have settled."""
    return dict(Counter(each.username for each in swarm.clients if each.port in ports))


def wait_settled(swarm: Swarm, ports: set[int]) -> None:
    clients = [each for each in swarm.clients if each.port in ports]
    wait_for(lambda: all(each.is_settled for each in clients), "all clients are there", 60.0)


def wait_exact(cluster: Cluster, swarm: Swarm, edges: list[Edge]) -> None:
    """Wait until every worker of `edges` knows exactly the users who are there."""
    expected = joined(swarm, {edge.port for edge in edges})
    for edge in edges:
        wrong = partial(differences, cluster, edge, expected)
        try:
            wait_for(lambda: not wrong(), "presence is exact", 60.0)  # noqa: B023
        except AssertionError:
            assert wrong() == {}
            raise


def differences(cluster: Cluster, edge: Edge, expected: dict[str, int]) -> dict[str, int]:
    """The wrong connections of each user, above or below what is `expected`."""
    # Any worker may answer: many answers come from both.
    for found in [present(cluster, edge) for _ in range(12)]:
        if wrong := {
            name: found.get(name, 0) - expected.get(name, 0)
            for name in found | expected
            if found.get(name, 0) != expected.get(name, 0)
        }:
            return wrong
    return {}


def test_presence_of_a_thousand_connections(cluster: Cluster, swarm: Swarm) -> None:
    cluster.configure(FILE)
    relay = cluster.start_relay()
    edges = [cluster.start_edge(EDGE_WORKERS=WORKERS) for _ in range(2)]
    ports = {edge.port for edge in edges}
    watcher = Watcher(cluster.connect(edges[0], "wanda"))
    swarm.add(
        SwarmClient(
            f"client-{number}",
            edges[number % 2].port,
            cluster.token(f"user-{number % USERS}"),
            Record(("room:5",)),
            username=f"user-{number % USERS}",
        )
        for number in range(CONNECTIONS)
    )
    wait_settled(swarm, ports)
    wait_exact(cluster, swarm, edges)
    everybody = {f"user-{number}" for number in range(USERS)}
    watcher.follow(everybody)
    assert (watcher.joins, watcher.leaves) == (USERS, 0)

    chance = random.Random(11)
    for _ in range(4):
        for client in chance.sample(swarm.clients, 250):
            swarm.call(client.move, chance.choice(edges).port)
    wait_settled(swarm, ports)
    wait_exact(cluster, swarm, edges)

    relay.kill()
    cluster.start_relay()
    wait_settled(swarm, ports)
    wait_exact(cluster, swarm, edges)

    watcher = Watcher(cluster.connect(edges[0], "wanda"))
    assert watcher.users == everybody
    os.killpg(edges[1].process.pid, signal.SIGKILL)
    wait_exact(cluster, swarm, edges[:1])
    rest = set(joined(swarm, {edges[0].port}))
    watcher.follow(rest)
    assert (watcher.joins, watcher.leaves) == (0, USERS - len(rest))
    assert [each.record.errors for each in swarm.clients if each.record.errors] == []
