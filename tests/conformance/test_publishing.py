"""Every way to publish has the same effect, and every client can call methods."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emitters import Answers, Call, CallFailed
from tests.conformance.node_client import NodeClient
from tests.conformance.publishers import ByClient, ByEmitter, ByHttp, ByPlainSocket, Publisher
from tests.conformance.python_client import PythonClient
from tests.conformance.raw_websocket import RawWebSocket
from tests.conformance.told import Calling, CallRefused, Wish
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for

RULES = """
[kinds.note]
mode = "stream"
subscribe = ["*"]
publish = ["user"]

[methods.greet]
call = ["user"]

[methods.fail]
call = ["user"]
"""
CLIENTS: dict[str, Callable[[Wish], Calling]] = {
    "raw WebSocket": RawWebSocket,
    "edge.client": PythonClient,
    "relay-client.js": NodeClient,
}
VALUES: list[Any] = [
    {"text": "Grüße 🎉", "list": [1, -2.5, None, True, []], "map": {"": {}}},
    ["x"],
    "text",
    0,
    False,
    2**53 - 1,
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("publishing"))
    cluster.configure(RULES)
    try:
        cluster.start_relay()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge()


def connect(cluster: Cluster, edge: Edge, name: str) -> Calling:
    token = cluster.token("alice")
    client = CLIENTS[name](Wish(f"ws://127.0.0.1:{edge.port}/ws", lambda: token, ()))
    wait_for(lambda: client.is_live, "the client is live")
    return client


def by_client(name: str) -> Callable[[Cluster, Edge], Publisher]:
    return lambda cluster, edge: ByClient(connect(cluster, edge, name))


PUBLISHERS: dict[str, Callable[[Cluster, Edge], Publisher]] = {
    "Emitter": lambda cluster, edge: ByEmitter(cluster),
    "plain socket": lambda cluster, edge: ByPlainSocket(cluster),
    "HTTP": lambda cluster, edge: ByHttp(edge.url, cluster.token("alice")),
    **{name: by_client(name) for name in CLIENTS},
}


@pytest.fixture(scope="module", params=list(PUBLISHERS))
def publisher(request: pytest.FixtureRequest, cluster: Cluster, edge: Edge) -> Iterator[Publisher]:
    publisher = PUBLISHERS[request.param](cluster, edge)
    yield publisher
    publisher.close()


@pytest.fixture
def bob(cluster: Cluster, edge: Edge) -> Iterator[Client]:
    """A user who watches the notes."""
    with cluster.connect(edge, "bob", "guest") as client:
        client.subscribe("note:*")
        yield client


@pytest.fixture
def carol(cluster: Cluster, edge: Edge) -> Iterator[Client]:
    """An administrator who watches the notes."""
    with cluster.connect(edge, "carol", "admin") as client:
        client.subscribe("note:*")
        yield client


def notes_until_end(client: Client) -> list[dict[str, Any]]:
    """The notes that a client has got, up to the one that ends them."""
    client.receive_on("note:end")
    topics = ("note:1", "note:2")
    return [each for each in client.received if each.get("topic") in topics and "data" in each]


def test_everybody_gets_events_in_order_with_their_data(
    publisher: Publisher, bob: Client, carol: Client
) -> None:
    for value in VALUES:
        publisher.publish("note:1", value)
    publisher.publish("note:end", None)
    for client in (bob, carol):
        notes = notes_until_end(client)
        assert [(each["type"], each["data"]) for each in notes] == [("event", v) for v in VALUES]
        offsets = [each["offset"] for each in notes]
        assert offsets == list(range(offsets[0], offsets[0] + len(VALUES)))


def test_one_user_gets_an_addressed_event(publisher: Publisher, bob: Client, carol: Client) -> None:
    publisher.publish("note:2", "for bob", username="bob")
    note = bob.receive_on("note:2")
    assert (note["data"], note["stream"]) == ("for bob", "addressed")
    publisher.publish("note:end", None)
    assert notes_until_end(carol) == []


def test_what_no_client_could_read_is_not_taken(publisher: Publisher, bob: Client) -> None:
    if publisher.is_answered:
        with pytest.raises(CallRefused, match="bad_request"):
            publisher.publish("note:1", 2**60)
    else:
        publisher.publish("note:1", 2**60)
    publisher.publish("note:end", None)
    assert notes_until_end(bob) == []


def test_what_the_role_does_not_allow_is_forbidden(publisher: Publisher) -> None:
    if publisher.has_role:
        with pytest.raises(CallRefused, match="forbidden"):
            publisher.publish("event:x", 1)
    else:
        # Whoever reaches the relay's sockets may publish.
        publisher.publish("event:x", 1)


@pytest.fixture(scope="module")
def answers(cluster: Cluster) -> Iterator[Answers]:
    """The methods of a manager."""

    def greet(call: Call, name: str) -> dict[str, str]:
        return {"text": f"Hello {name}", "user": call.username}

    def fail(call: Call) -> None:
        raise CallFailed("no")

    with Answers(name="here", control=cluster.control) as answers:
        answers("greet")(greet)
        answers("fail")(fail)
        assert answers.wait_registered(20)
        yield answers


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.usefixtures("answers")
def test_a_client_calls_methods(cluster: Cluster, edge: Edge, name: str) -> None:
    client = connect(cluster, edge, name)
    try:
        result = client.request("greet", {"name": "bob"})
        assert result == {"text": "Hello bob", "user": "alice"}
        for method, code in (("fail", "failed"), ("other", "forbidden")):
            with pytest.raises(CallRefused, match=code):
                client.request(method, None)
    finally:
        client.close()
