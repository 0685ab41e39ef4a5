"""The same application on a server that knows nothing of us: `AsgiClient` keeps the promises."""

import pytest

from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.processes import python


@pytest.fixture
def plain_edge(cluster: Cluster) -> Edge:
    """A relay, and the edge under plain uvicorn with its own WebSocket protocol."""
    cluster.start_relay()
    (port,) = free_ports(1)
    command = python("-m", "uvicorn", "--factory", "edge.app:create_app", "--port", str(port))
    process = cluster.start("plain-edge", [*command, "--ws", "websockets-sansio"])
    edge = Edge(process, port, 1)
    edge.wait_ready()
    return edge


def test_events_arrive_in_order(cluster: Cluster, plain_edge: Edge) -> None:
    client = cluster.connect(plain_edge, "alice")
    assert client.subscribe("event:*")["position"] == {"event": 0}
    emitter = cluster.emitter()
    for number in range(200):
        emitter.emit("event:counted", {"number": number})
    received = [client.receive_on("event:counted") for _ in range(200)]
    assert [message["data"]["number"] for message in received] == list(range(200))
    assert [message["offset"] for message in received] == list(range(1, 201))


def test_what_was_missed_comes_before_what_is_new(cluster: Cluster, plain_edge: Edge) -> None:
    """More than the client may have waiting at a time, so that the pass has to wait for it."""
    emitter = cluster.emitter()
    client = cluster.connect(plain_edge, "alice")
    epoch = client.subscribe("event:counted")["epoch"]
    for number in range(1, 3001):
        emitter.emit("event:counted", {"number": number, "ballast": "x" * 1000})
    client.receive_until(lambda message: message.get("offset") == 3000, "the last event")
    again = cluster.connect(plain_edge, "alice")
    again.send(
        {"action": "subscribe", "topic": "event:counted", "since": {"event": 10}, "epoch": epoch}
    )
    emitter.emit("event:counted", {"number": 3001})
    again.receive_until(lambda message: message.get("offset") == 3001, "the last event")
    offsets = [message["offset"] for message in again.received if "offset" in message]
    assert offsets == list(range(11, 3002))


def test_a_task_reaches_its_user_alone(cluster: Cluster, plain_edge: Edge) -> None:
    alice, admin = (
        cluster.connect(plain_edge, "alice"),
        cluster.connect(plain_edge, "root", "admin"),
    )
    for client in (alice, admin):
        client.subscribe("event:marker")
    assert admin.ask({"action": "subscribe", "topic": "*"})["status"] == "success"
    emitter = cluster.emitter()
    emitter.emit("task:1", {"status": "in_progress"}, username="alice")
    assert alice.receive_on("task:1")["data"] == {"status": "in_progress"}
    before = admin.drain_until(lambda: emitter.emit("event:marker", {}))
    assert [message for message in before if message.get("topic") == "task:1"] == []


def test_a_wrong_first_message_is_closed_with_the_reason(
    cluster: Cluster, plain_edge: Edge
) -> None:
    client = cluster.connect(plain_edge)
    client.send({"action": "subscribe", "topic": "event:a"})
    assert client.wait_closed() == (1008, "Missing authentication message")


def test_a_binary_message_is_closed_with_1003(cluster: Cluster, plain_edge: Edge) -> None:
    client = cluster.connect(plain_edge, "alice")
    client.send(b"\x00")
    assert client.wait_closed()[0] == 1003
