"""Attacks by one signed-in user, while the others go on undisturbed."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.cluster import Cluster
from tests.support.honest import Honest
from tests.support.raw_http import RawSockets, request
from tests.support.waiting import wait_for
from tests.support.websocket_frames import CLOSE, TEXT, client_frame

EVENTS = 3_000


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("topic", ["event:nothing", "event:*"])
def test_resumes_of_the_whole_past_by_many_connections_wait_for_each_other(
    cluster: Cluster, topic: str
) -> None:
    """Each is served in the end: what it asks for is its right, but not at the others' cost."""
    cluster.start_relay()
    edge = cluster.start_edge(
        EDGE_HISTORY_BYTES="65536",
        EDGE_CATCH_UP_EVENT_BURST="10000",
        EDGE_CATCH_UP_EVENTS_PER_S="20000",
    )
    emitter = cluster.emitter("past")
    for number in range(EVENTS):
        emitter.emit("event:past", {"number": number})
    assert emitter.wait_acknowledged(60)
    with Honest(cluster, edge) as honest:
        epoch = cluster.connect(edge, "mallory").ask(
            {"action": "subscribe", "topic": "event:past", "id": 1}
        )["epoch"]
        clients = [cluster.connect(edge, "mallory") for _ in range(10)]
        for client in clients:
            client.send(
                {
                    "action": "subscribe",
                    "topic": topic,
                    "id": 2,
                    "since": {"event": 0},
                    "epoch": epoch,
                }
            )
        other = cluster.connect(edge, "carol").ask(
            {
                "action": "subscribe",
                "topic": "event:nothing",
                "id": 3,
                "since": {"event": 0},
                "epoch": epoch,
            }
        )
        assert other["recovered"] is True
        honest.is_served()
        for client in clients:
            reply = client.receive_until(lambda message: message.get("id") == 2, "the reply")
            assert reply["recovered"] is True
    metrics = edge.metrics()
    assert metrics["edge_catch_up_waits"][""] > 0
    assert metrics["edge_replayed"]["event"] > EVENTS, "the relay has read them"


def test_a_client_that_sends_too_many_bytes_is_closed_with_4029(
    cluster: Cluster, stack: ExitStack
) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_BYTE_BURST="200000", EDGE_BYTES_PER_S="1024")
    with Honest(cluster, edge) as honest:
        client = RawSockets(edge, stack).connect()
        client.send(request(f"/ws?token={cluster.token('mallory')}"))
        assert client.response()[0] == 101
        large = client_frame(TEXT, json.dumps({"action": "x" * 60_000}).encode())
        for _ in range(3):
            client.send(large)
        client.frames_until(TEXT, b"Action and topic are required")
        client.send(large)
        [*_, (_, close)] = client.frames_until(CLOSE)
        assert (int.from_bytes(close[:2]), close[2:]) == (4029, b"too many bytes")
        honest.is_served()
    assert edge.metrics()["edge_closed"]["4029"] == 1


def test_subscriptions_of_many_connections_that_hang_up_at_once(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_MAX_SUBSCRIPTIONS_PER_USER="600")
    with Honest(cluster, edge) as honest:
        for kind in ("event", "resource-monitor"):
            clients = [cluster.connect(edge, "mallory") for _ in range(5)]
            for number, client in enumerate(clients):
                for topic in range(200):
                    name = f"{kind}:{number}-{topic}-*"
                    client.send({"action": "subscribe", "topic": name, "id": topic})
            refused = 0
            for client in clients:
                for _ in range(200):
                    reply = client.receive_until(lambda message: "id" in message, "a reply")
                    refused += reply["status"] == "error"
            assert refused == 400, "600 of 1,000 are allowed"
            for client in clients:
                client.close()
            wait_for(
                lambda: edge.metrics()["edge_subscriptions"][""] <= 3, "nothing is left of them"
            )
            honest.is_served()


def test_a_live_prefix_that_is_toggled_waits_for_the_budget_of_its_user(cluster: Cluster) -> None:
    """Each time the last values are looked up, at the relay and at the edge."""
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_CATCH_UP_EVENT_BURST="2000", EDGE_CATCH_UP_EVENTS_PER_S="2000")
    prefix, topics, toggles = "resource-monitor:*", 300, 60
    keeper = cluster.connect(edge, "keeper", "admin")
    keeper.subscribe(prefix)
    emitter = cluster.emitter("monitor")
    wait_for(lambda: emitter.is_watched("resource-monitor:0"), "the values are wanted")
    for number in range(topics):
        emitter.emit(f"resource-monitor:{number}", {"number": number})
    keeper.receive_on(f"resource-monitor:{topics - 1}")
    keeper.close()
    wait_for(lambda: edge.metrics()["edge_subscriptions"][""] == 0, "nobody watches")
    with Honest(cluster, edge) as honest:
        mallory = cluster.connect(edge, "mallory")
        for number in range(toggles):
            action = "unsubscribe" if number % 2 else "subscribe"
            mallory.send({"action": action, "topic": prefix, "id": number})
        # Meanwhile another user looks the same up.
        other = cluster.connect(edge, "carol")
        other.subscribe(prefix)
        other.receive_on(f"resource-monitor:{topics - 1}")
        honest.is_served()
        mallory.receive_until(lambda message: message.get("id") == toggles - 1, "the last reply")
    assert edge.metrics()["edge_catch_up_waits"][""] > 0


def test_messages_of_many_connections_wait_for_the_share_of_their_user(cluster: Cluster) -> None:
    """Each connection is within its rate, and is answered in the end."""
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_PROCESSOR_SHARE_PER_USER="0.02", EDGE_PROCESSOR_BURST_S="0.02")
    messages = 200
    with Honest(cluster, edge) as honest:
        clients = [cluster.connect(edge, "mallory") for _ in range(5)]
        for client in clients:
            for number in range(messages):
                action = "unsubscribe" if number % 2 else "subscribe"
                client.send({"action": action, "topic": "event:toggled", "id": number})
        cluster.connect(edge, "carol").subscribe("event:toggled")
        honest.is_served()
        for client in clients:
            client.receive_until(lambda message: message.get("id") == messages - 1, "the last")
            ids = [message["id"] for message in client.received if "id" in message]
            assert ids == list(range(messages))
    assert edge.metrics()["edge_message_waits"][""] > 0
