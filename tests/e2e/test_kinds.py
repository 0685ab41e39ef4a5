"""Kinds of one's own in `relay.toml`, with real processes (protocol sections 2 and 7)."""

import json
import secrets
import urllib.request
from typing import Any

import pytest

from emitters import Emitter
from tests.support.cluster import Cluster, Edge
from tests.support.processes import run_cli
from tests.support.waiting import wait_for

FILE = """
[kinds.order_paid]
mode = "stream"
retention_bytes = 65536
subscribe = ["shop"]
publish = ["till"]

[kinds.server_log]
subscribe = ["user", "shop"]

[kinds.server_load]
subscribe = ["user"]
"""


@pytest.fixture
def cluster(cluster: Cluster) -> Cluster:
    """A cluster whose programs read the file."""
    cluster.configure(FILE)
    return cluster


def emit(emitter: Emitter, topic: str, numbers: range, padding: int = 0) -> None:
    """Emit an event for each number, one transaction of the journal each."""
    for number in numbers:
        emitter.emit(topic, {"n": number, "padding": secrets.token_hex(padding)})
        assert emitter.wait_acknowledged(20)


def topics(cluster: Cluster, edge: Edge, role: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{edge.url}/api/topics",
        headers={"Authorization": f"Bearer {cluster.token('ann', role)}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        kinds: list[dict[str, Any]] = json.load(response)["kinds"]
        return kinds


def test_a_stream_of_ones_own_is_resumed_by_its_role_after_a_restart(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge()
    emitter = cluster.emitter()
    client = cluster.connect(edge, "ann", "shop")
    reply = client.subscribe("order_paid:*")
    assert (reply["status"], reply["position"]) == ("success", {"order_paid": 0})
    emit(emitter, "order_paid:1", range(3))
    emit(emitter, "order_paid", range(3, 4))
    seen = [client.receive_until(lambda each: "offset" in each, "an event") for _ in range(4)]
    assert [each["data"]["n"] for each in seen] == [0, 1, 2, 3]
    assert [each["topic"] for each in seen] == ["order_paid:1"] * 3 + ["order_paid"]
    assert [each["offset"] for each in seen] == [1, 2, 3, 4]
    client.close()
    emit(emitter, "order_paid:2", range(4, 6))
    relay.kill()
    cluster.start_relay()
    emit(emitter, "order_paid:3", range(6, 8))

    def resumed() -> list[dict[str, Any]]:
        again = cluster.connect(edge, "ann", "shop")
        request = {"action": "subscribe", "topic": "ord*", "since": {"order_paid": 4}}
        assert again.ask(request | {"epoch": reply["epoch"]})["recovered"] is True
        again.close()
        return [each for each in again.received if "offset" in each]

    wait_for(lambda: edge.status("/readyz") == 200, "the edge follows the relay again")
    wait_for(lambda: len(resumed()) == 4, "the edge has the newest events")
    assert [each["data"]["n"] for each in resumed()] == [4, 5, 6, 7]


def test_a_live_kind_of_ones_own_shows_its_newest_value(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    emitter = cluster.emitter()
    client = cluster.connect(edge, "alice")
    # Both kinds that begin so and that the role may see, and no other.
    reply = client.subscribe("server_l*")
    assert (reply["status"], reply["position"]) == ("success", {})
    wait_for(lambda: emitter.is_watched("server_log:survival"), "the topic is watched")
    emitter.emit("server_log:survival", {"line": "started"})
    emitter.emit("server_load:survival", {"percent": 7})
    values: dict[str, Any] = {}
    while len(values) < 2:
        seen = client.receive_until(lambda each: "data" in each, "a value")
        assert "offset" not in seen
        values[seen["topic"]] = seen["data"]
    assert values == {
        "server_log:survival": {"line": "started"},
        "server_load:survival": {"percent": 7},
    }
    later = cluster.connect(edge, "ann", "shop")
    assert later.subscribe("server_log:survival")["status"] == "success"
    assert later.receive_on("server_log:survival")["data"] == {"line": "started"}


def test_a_refusal_says_how_to_allow_it_and_topics_lists_what_is_allowed(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2")
    expected = {
        "order:1": 'add [kinds.order] with subscribe = ["user"] to relay.toml',
        "order_paid:1": 'subscribe of [kinds.order_paid] in relay.toml lacks the role "user"',
        "order*": "no kind that starts with 'order' has the role \"user\" in subscribe"
        " in relay.toml",
    }
    alice = cluster.connect(edge, "alice")
    for topic, reason in expected.items():
        reply = alice.ask({"action": "subscribe", "topic": topic})
        assert reply["code"] == "forbidden"
        assert reply["message"] == f"Not allowed to subscribe to topic '{topic}': {reason}"
    assert cluster.connect(edge, "root", "admin").subscribe("order:1")["status"] == "success"
    of_shop = {
        each["kind"]: (each["mode"], each["may_publish"]) for each in topics(cluster, edge, "shop")
    }
    assert of_shop == {
        "task": ("stream", False),
        "order_paid": ("stream", False),
        "server_log": ("live", False),
    }
    assert "order_paid" not in {each["kind"] for each in topics(cluster, edge, "till")}


def test_each_kind_is_kept_for_as_long_as_it_says(cluster: Cluster) -> None:
    cluster.start_relay()
    emitter = cluster.emitter()
    for topic in ("event:a", "order_paid:1"):
        emit(emitter, topic, range(20), padding=8192)

    def first_offsets() -> dict[str, int]:
        listed = run_cli("relay", "journal", "list", env=cluster.env).stdout.splitlines()
        rows = [line.split() for line in listed]
        return {row[0]: int(row[1]) for row in rows if row[0] in ("event", "order_paid")}

    wait_for(lambda: first_offsets()["order_paid"] > 1, "the oldest orders are removed")
    assert first_offsets()["event"] == 1
