"""An event for one user reaches all connections of that user and nobody else, of any kind."""

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from emitters import Emitter
from tests.support.clients import Client, Message
from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for

TOPICS = ("notice:42", "app_notice", "event:order_paid", "resource-monitor:survival")


@pytest.fixture
def emitter(cluster: Cluster, edge: Edge) -> Emitter:
    return cluster.emitter()


@pytest.fixture
def onlookers(cluster: Cluster, edge: Edge) -> Iterator[list[Client]]:
    """Clients of others, which are subscribed to everything that they may see."""
    everything = [cluster.connect(edge, "bob"), cluster.connect(edge, "root", "admin")]
    for client in everything:
        client.subscribe("*")
    everything[1].subscribe("notice:*")
    yield everything
    for client in everything:
        assert client.subscribe("*")["status"] == "success"
        assert [m for m in client.received if m.get("data") == {"for": "alice"}] == []


def notices(client: Client) -> list[Message]:
    return [each for each in client.received if each.get("data") == {"for": "alice"}]


@pytest.mark.parametrize("topic", TOPICS)
def test_it_reaches_the_three_tabs_of_its_user_alone(
    cluster: Cluster, edge: Edge, emitter: Emitter, onlookers: list[Client], topic: str
) -> None:
    tabs = [cluster.connect(edge, "alice") for _ in range(3)]
    tabs[1].subscribe("event:*")
    tabs[2].subscribe("*")
    for tab in tabs:
        tab.subscribe("event:nothing")
    emitter.emit(topic, {"for": "alice"}, username="alice")
    for tab in tabs:
        message = tab.receive_on(topic)
        assert (message["stream"], message["offset"]) == ("addressed", 1)
    emitter.emit("event:marker", {})
    tabs[1].receive_on("event:marker")
    assert [len(notices(tab)) for tab in tabs] == [1, 1, 1], "once, also with a subscription"


def test_it_is_not_in_the_history_of_its_kind(
    cluster: Cluster, edge: Edge, emitter: Emitter, onlookers: list[Client]
) -> None:
    tab = cluster.connect(edge, "alice")
    tab.subscribe("event:*")
    emitter.emit("event:order_paid", {"for": "alice"}, username="alice")
    emitter.emit("event:order_paid", {"for": "all"})
    for _ in range(2):  # The edge has both: neither comes live to the clients below.
        tab.receive_on("event:order_paid")
    for user in ("alice", "bob"):
        client = cluster.connect(edge, user)
        reply = client.ask({"action": "subscribe", "topic": "event:*", "last": 10})
        assert reply["status"] == "success"
        events = [each["data"] for each in client.received if each.get("type") == "event"]
        assert events == [{"for": "all"}]


def test_a_user_who_was_away_gets_what_was_missed(
    cluster: Cluster, edge: Edge, emitter: Emitter, onlookers: list[Client]
) -> None:
    first = cluster.connect(edge, "alice")
    emitter.emit("notice:1", {"for": "alice"}, username="alice")
    offset = first.receive_on("notice:1")["offset"]
    epoch = first.subscribe("event:*")["epoch"]
    first.close()
    tab = cluster.connect(edge, "alice")
    tab.subscribe("event:nothing")
    emitter.emit("notice:2", {"for": "alice"}, username="alice")
    emitter.emit("notice:3", {"for": "bob's"}, username="bob")
    emitter.emit("notice:4", {"for": "alice"}, username="alice")
    tab.receive_on("notice:4")  # The edge has them all.
    token = cluster.token("alice")
    again = Client(f"ws://127.0.0.1:{edge.port}/ws?token={token}&epoch={epoch}&addressed={offset}")
    again.receive_on("notice:4")
    again.subscribe("event:*")
    assert [each["topic"] for each in notices(again)] == ["notice:2", "notice:4"]
    position = next(
        each["position"]
        for each in again.received
        if each.get("type") == "position" and "addressed" in each["position"]
    )
    assert position["addressed"] == 4
    again.close()


def test_a_plain_publisher_may_address_a_user(
    cluster: Cluster, edge: Edge, onlookers: list[Client]
) -> None:
    tab = cluster.connect(edge, "alice")
    tab.subscribe("event:nothing")
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.connect(cluster.ingress)
        payload = msgpack.packb({"type": "event", "data": {"for": "alice"}, "username": "alice"})

        def arrived() -> bool:
            for topic in (b"event:order_paid", b"notice:42"):
                publisher.send_multipart([topic, payload])
            try:
                tab.receive(0.2)
            except TimeoutError:
                return False
            return bool(notices(tab))

        wait_for(arrived, "an event of the plain publisher")


def test_the_kind_is_reserved(cluster: Cluster, edge: Edge, emitter: Emitter) -> None:
    client = cluster.connect(edge, "root", "admin")
    reply: dict[str, Any] = client.ask({"action": "subscribe", "topic": "addressed:*"})
    assert (reply["status"], reply["code"]) == ("error", "invalid_topic")
    with pytest.raises(ValueError, match="Event Relay itself uses the kind 'addressed'"):
        emitter.emit("addressed:x", {}, username="alice")
