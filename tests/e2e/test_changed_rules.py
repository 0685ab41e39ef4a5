"""Rules that change while clients are connected (docs/operations.md, "Changes of rules")."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.support.clients import Client, Message
from tests.support.cluster import Cluster, Edge
from tests.support.host_app import serve
from tests.support.http_api import StreamClient, history, request
from tests.support.waiting import wait_for

BEFORE = """
[kinds.order]
mode = "stream"
subscribe = ["user"]
publish = ["user"]

[kinds.private]
subscribe = { user = "{username}:*" }
"""
WITHOUT = BEFORE.replace("subscribe", "# subscribe", 1).replace("publish", "# publish", 1)
LACKS = 'subscribe of [kinds.order] in relay.toml lacks the role "user"'


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with closing(Cluster(tmp_path_factory.mktemp("rules"))) as cluster:
        cluster.configure(BEFORE)
        cluster.start_relay()
        yield cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge()


def ended(topic: str, reason: str = LACKS) -> Message:
    return {
        "status": "error",
        "message": f"Not allowed to subscribe to topic '{topic}': {reason}",
        "code": "forbidden",
        "topic": topic,
    }


def test_a_change_ends_what_it_forbids_and_nothing_else(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()
    with ExitStack() as stack:
        alice = stack.enter_context(cluster.connect(edge, "alice"))
        for topic in ("order:1", "order:*", "event:*", "*", "private:alice:*"):
            alice.subscribe(topic)
        token = cluster.token("alice")
        stream = stack.enter_context(StreamClient(edge.url, ("order:*", "event:*"), token=token))
        stream.subscribed(2)
        admin = stack.enter_context(cluster.connect(edge, "root", "admin"))
        admin.subscribe("order:*")
        emitter.emit("event:n", 0)
        emitter.emit("order:1", "before")
        for client in (alice, stream, admin):
            assert client.receive_on("order:1")["data"] == "before"
        cluster.configure(WITHOUT)
        emitter.emit("event:n", 1)
        assert _next_error(alice) == ended("order:1")
        assert _next_error(alice) == ended("order:*")
        assert _next_error(stream) == ended("order:*")
        emitter.emit("order:1", "after")
        emitter.emit("event:n", 2)
        for client in (alice, stream):
            client.receive_until(lambda each: each.get("data") == 2, "the last event")
            seen = [each["data"] for each in client.received if each.get("topic") == "event:n"]
            assert seen == [0, 1, 2], "what is allowed goes on without a gap"
            assert not any(each.get("data") == "after" for each in client.received)
        assert admin.receive_on("order:1")["data"] == "after"
        assert alice.ask({"action": "subscribe", "topic": "order:1"})["code"] == "forbidden"
        published = {"action": "publish", "topic": "order:1", "data": 1}
        assert alice.ask(published)["code"] == "forbidden"
        assert history(edge.url, token, "order").status == 403
        kinds = [each["kind"] for each in request(f"{edge.url}/api/topics", token).body["kinds"]]
        assert "order" not in kinds
        _is_given_back(cluster, alice)


def _is_given_back(cluster: Cluster, alice: Client) -> None:
    cluster.configure(BEFORE)

    def has_it() -> bool:
        return bool(alice.ask({"action": "subscribe", "topic": "order:1"})["status"] == "success")

    wait_for(has_it, "the rules before hold again")


@pytest.mark.parametrize("content", ["[kinds.order", '[kinds.order]\nsubscribe = ["U S E R"]'])
def test_a_broken_file_is_one_line_and_changes_nothing(
    cluster: Cluster, edge: Edge, content: str
) -> None:
    line = "what it said before stays in force"
    before = edge.process.output().count(line)
    with cluster.connect(edge, "alice") as alice:
        alice.subscribe("order:1")
        cluster.configure(content)
        wait_for(lambda: edge.process.output().count(line) > before, "it is logged")
        assert alice.ask({"action": "subscribe", "topic": "order:2"})["status"] == "success"
        cluster.configure(f"{BEFORE}[kinds.{'other' if 'U' in content else 'another'}]")
        changed = "have changed"
        count = edge.process.output().count(changed)
        wait_for(lambda: edge.process.output().count(changed) > count, "the new file is read")
        assert edge.process.output().count(line) == before + 1
        assert "Traceback" not in edge.process.output()
        assert not any(each.get("code") == "forbidden" for each in alice.received)


APPLICATION = """
import os, pathlib
from fastapi import FastAPI
from starlette.requests import HTTPConnection
from edge import Edge

REFUSED = pathlib.Path(os.environ["REFUSED"])

def user(connection: HTTPConnection) -> str | None:
    return connection.query_params.get("user")

def authorize(identity, action: str, topic: str) -> bool:
    if topic.startswith("private:"):
        return identity.owns(topic, "private:{username}:*")
    return topic not in REFUSED.read_text().split()

app = FastAPI()
live = Edge(authenticate=user, authorize=authorize)
live.install(app, prefix="/live")

@app.post("/refuse")
async def refuse(topic: str, user: str) -> str:
    REFUSED.write_text(topic)
    await live.permissions_changed(user)
    return "done"
"""


def _next_error(client: Client | StreamClient) -> Message:
    found = client.receive_until(lambda each: each.get("status") == "error", "an error")
    return {name: value for name, value in found.items() if name != "id"}


def test_an_application_has_its_answers_asked_for_again(cluster: Cluster) -> None:
    (cluster.directory / "asking_app.py").write_text(APPLICATION)
    refused = cluster.directory / "refused"
    refused.write_text("")
    path = f"{cluster.directory}:."
    host = serve(cluster, "asking_app:app", workers=2, PYTHONPATH=path, REFUSED=str(refused))
    with ExitStack() as stack:
        # On both workers, very probably.
        of_ann = [stack.enter_context(host.subscribed("order:*", "user=ann")) for _ in range(6)]
        of_bob = stack.enter_context(host.subscribed("order:*", "user=bob"))
        for client in of_ann:
            client.subscribe("event:*")
            assert (
                client.ask({"action": "subscribe", "topic": "private:ann:1"})["status"] == "success"
            )
            other = {"action": "subscribe", "topic": "private:bob:1"}
            assert client.ask(other)["code"] == "forbidden"
        assert host.request("/refuse?topic=order:*&user=ann", method="POST")[0] == 200
        for client in of_ann:
            found = client.receive_until(lambda each: each.get("topic") == "order:*", "an error")
            assert found["code"] == "forbidden"
            assert found["message"] == "Not allowed to subscribe to topic 'order:*'"
        emitter = cluster.emitter("orders")
        emitter.emit("order:1", 1)
        emitter.emit("event:last", 1)
        assert of_bob.receive_on("order:1")["data"] == 1
        for client in of_ann:
            client.receive_on("event:last")
            assert not any(each.get("topic") == "order:1" for each in client.received)
