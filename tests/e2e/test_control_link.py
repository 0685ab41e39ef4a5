"""The control connection between edge and relay: slow, cut, leading nowhere, or flooded."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from emitters import Emitter
from tests.e2e.test_resume import arrived, emit, flush, numbers, resume
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_for

SLOW_BYTES_PER_S = 200_000
NO_ANSWER = "the relay does not answer requests"


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[TcpProxy]:
    """A proxy before the relay's control socket."""
    with TcpProxy(int(cluster.control.rpartition(":")[2])) as proxy:
        yield proxy


def start_edge(cluster: Cluster, proxy: TcpProxy) -> Edge:
    """An edge whose requests go through `proxy`, and its events do not."""
    return cluster.start_edge(EDGE_RELAY_CONTROL=proxy.endpoint)


def readiness(edge: Edge) -> tuple[int, str]:
    """The status and the reason of `/readyz`."""
    try:
        with urllib.request.urlopen(f"{edge.url}/readyz", timeout=5) as response:
            return response.status, json.load(response)["status"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["status"]


def wait_until_ready(edge: Edge) -> None:
    wait_for(lambda: readiness(edge) == (200, "ready"), "the edge is ready again", 30)


def journaled(cluster: Cluster, count: int) -> Emitter:
    """An emitter that has emitted `count` events, which the journal holds."""
    emitter = cluster.emitter()
    emit(emitter, range(1, count + 1))
    flush(emitter)
    return emitter


def test_six_thousand_missed_events_come_over_a_slow_connection(
    cluster: Cluster, proxy: TcpProxy
) -> None:
    """Answers to repeated requests would fill it, and no event would come."""
    cluster.start_relay()
    emitter = journaled(cluster, 6_000)
    edge = start_edge(cluster, proxy)
    epoch = arrived(cluster, edge, 6_000)
    proxy.bytes_per_s, before = SLOW_BYTES_PER_S, proxy.passed_bytes
    client = cluster.connect(edge, "alice")
    client.send({"action": "subscribe", "topic": "event:*", "since": {"event": 0}, "epoch": epoch})
    emit(emitter, range(6_001, 6_011))
    client.receive_until(lambda each: each.get("offset") == 6_010, "the last event", 60)
    assert numbers(client.received) == list(range(1, 6_011))
    size = sum(len(json.dumps(each)) for each in client.received)
    assert proxy.passed_bytes - before < 2 * size, "nothing came twice"


def test_a_hole_in_a_live_stream_is_closed_over_a_slow_connection(
    cluster: Cluster, proxy: TcpProxy
) -> None:
    """The events that the edge holds back meanwhile come behind it."""
    cluster.start_relay()
    emitter = cluster.emitter()
    with TcpProxy(int(cluster.egress.rpartition(":")[2])) as egress:
        edge = cluster.start_edge(
            EDGE_RELAY_CONTROL=proxy.endpoint, EDGE_RELAY_EGRESS=egress.endpoint
        )
        client = cluster.connect(edge, "alice")
        client.subscribe("event:*")
        proxy.bytes_per_s, before = SLOW_BYTES_PER_S, proxy.passed_bytes
        egress.is_refusing = True
        egress.cut()
        for number in range(1, 1_501):
            emitter.emit("event:a", {"n": number, "ballast": "x" * 700})
        flush(emitter)
        egress.is_refusing = False
        emitted = range(1_501, 1_511)
        client.receive_until(lambda each: each.get("offset") == 1, "the first missed event")
        emit(emitter, emitted)
        client.receive_until(lambda each: each.get("offset") == emitted[-1], "the last", 60)
    assert numbers(client.received) == list(range(1, 1_511))
    size = sum(len(json.dumps(each)) for each in client.received)
    assert proxy.passed_bytes - before < 1.5 * size, "nothing came twice"


def test_what_a_connection_took_with_it_is_requested_again(
    cluster: Cluster, proxy: TcpProxy
) -> None:
    cluster.start_relay()
    journaled(cluster, 3_000)
    edge = start_edge(cluster, proxy)
    epoch = arrived(cluster, edge, 3_000)
    proxy.bytes_per_s = SLOW_BYTES_PER_S
    client = cluster.connect(edge, "alice")
    client.send({"action": "subscribe", "topic": "event:*", "since": {"event": 0}, "epoch": epoch})
    for offset in (256, 1_024, 2_048):
        client.receive_until(lambda each, at=offset: each.get("offset") == at, f"event {offset}")  # type: ignore[misc]
        proxy.cut()
    client.receive_until(lambda each: each.get("recovered", False), "the reply", 60)
    assert numbers(client.received) == list(range(1, 3_001))


def test_an_edge_whose_requests_lead_nowhere_is_not_ready_and_refuses_clients(
    cluster: Cluster, proxy: TcpProxy
) -> None:
    cluster.start_relay()
    emitter = journaled(cluster, 1_000)
    edge = start_edge(cluster, proxy)
    epoch = arrived(cluster, edge, 1_000)
    live = cluster.connect(edge, "alice")
    live.subscribe("event:*")
    resuming = cluster.connect(edge, "alice")
    proxy.is_black_hole = True
    resuming.send(
        {"action": "subscribe", "topic": "event:*", "since": {"event": 0}, "epoch": epoch}
    )
    wait_for(lambda: readiness(edge) == (503, NO_ANSWER), "the edge is not ready")
    assert cluster.connect(edge, "bob").wait_closed()[0] == 4013
    emit(emitter, range(1_001, 1_011))
    live.receive_until(lambda each: each.get("offset") == 1_010, "live events go on")
    assert resuming.wait_closed()[0] == 4013
    proxy.is_black_hole = False
    wait_until_ready(edge)
    client = cluster.connect(edge, "alice")
    assert resume(client, "event:*", {"event": 0}, epoch)["recovered"]
    assert numbers(client.received) == list(range(1, 1_011))


def test_an_edge_with_a_wrong_control_address_is_never_ready(cluster: Cluster) -> None:
    cluster.start_relay()
    [port] = free_ports(1)
    edge = cluster.start_edge(ready=False, EDGE_RELAY_CONTROL=f"tcp://127.0.0.1:{port}")
    edge.process.wait_for_output("following the relay")
    assert readiness(edge) == (503, NO_ANSWER)
    assert cluster.connect(edge, "alice").wait_closed()[0] == 4013


def test_one_user_does_not_keep_others_from_resuming(cluster: Cluster) -> None:
    """Subscribing to all live topics, and leaving, thousands of times."""
    cluster.start_relay()
    edge = cluster.start_edge()
    watcher = cluster.connect(edge, "root", "admin")
    watcher.subscribe("resource-monitor:*")
    emitter = journaled(cluster, 2_000)
    for number in range(10_000):
        emitter.emit(f"resource-monitor:server-{number}", {"ballast": "x" * 200})
    watcher.receive_on("resource-monitor:server-9999", 60)
    watcher.close()
    late = cluster.start_edge()
    epoch = arrived(cluster, late, 2_000)
    flooding = [cluster.connect(late, "mallory") for _ in range(5)]
    for client in flooding:
        flood(client)
    client = cluster.connect(late, "alice")
    reply = resume(client, "event:*", {"event": 0}, epoch)
    assert reply["recovered"]
    assert numbers(client.received) == list(range(1, 2_001))
    for each in flooding:
        each.close()
    client.subscribe("resource-monitor:server-77")
    client.receive_on("resource-monitor:server-77")
    assert readiness(late) == (200, "ready")


def flood(client: Client) -> None:
    """Subscribe to prefixes of all live topics and unsubscribe, without waiting for a reply."""
    for number in range(500):
        topic = f"resource-monitor:server-{number % 10}*"
        client.send({"action": "subscribe", "topic": topic})
        client.send({"action": "unsubscribe", "topic": topic})
