"""The whole path: an event of one process reaches a client of another."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.processes import python, run_cli
from tests.support.waiting import wait_for

FIVE_LINES = """\
import msgpack, time, zmq
publisher = zmq.Context().socket(zmq.PUB)
publisher.connect({ingress!r})
time.sleep(1)
publisher.send_multipart([b"event:after_backup", msgpack.packb({{"server_name": "survival"}})])
"""


def test_an_event_of_another_process_arrives_as_the_protocol_says(
    cluster: Cluster, edge: Edge
) -> None:
    client = cluster.connect(edge, "alice")
    client.subscribe("event:after_server_start")
    published = run_cli(
        "emitters",
        "event:after_server_start",
        '{"server_name":"survival"}',
        env=cluster.env | {"EMITTER_NAME": "manager-1"},
    )
    assert published.returncode == 0, published.stderr
    event = client.receive_on("event:after_server_start")
    assert event.pop("emitted_at") > 1_700_000_000_000
    assert event == {
        "type": "event",
        "topic": "event:after_server_start",
        "data": {"server_name": "survival"},
        "source": "manager-1",
        "offset": 1,
    }


def test_five_lines_with_only_pyzmq_and_msgpack_reach_a_client(
    cluster: Cluster, edge: Edge, tmp_path: Path
) -> None:
    """The publisher runs in an environment that holds nothing of ours."""
    venv.create(tmp_path / "venv", with_pip=False)
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("zmq", "msgpack"):
        found = Path(__import__(name).__file__ or "").parent
        (packages / name).symlink_to(found)
    for libraries in found.parent.glob("pyzmq.libs"):
        (packages / libraries.name).symlink_to(libraries)
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    subprocess.run(
        [str(tmp_path / "venv/bin/python"), "-c", FIVE_LINES.format(ingress=cluster.ingress)],
        env={"PYTHONPATH": str(packages)},
        cwd=tmp_path,
        check=True,
        timeout=30,
    )
    event = client.receive_on("event:after_backup")
    assert event["data"] == {"server_name": "survival"}
    assert event["type"] == "event"
    assert event["source"] == ""


def test_malformed_publishing_is_counted_and_harms_nobody(cluster: Cluster, edge: Edge) -> None:
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    script = """\
import msgpack, sys, zmq
context = zmq.Context()
publisher = context.socket(zmq.XPUB)
publisher.connect(sys.argv[1])
while publisher.recv() != b"\\x01event:":
    pass
good = msgpack.packb({"n": 1})
for frames in (
    [b"event:\\xff", good],
    [b"event:a*", good],
    [b"event:" + b"x" * 300, good],
    [b"event:x", b"\\xc1"],
    [b"event:x", b""],
    [b"event:x", msgpack.packb([b"bytes"])],
    [b"event:x", msgpack.packb({"a": b"bytes"})],
    [b"event:x", msgpack.packb({"a": float("nan")})],
    [b"event:x", b"\\x81\\xa1a" * 100 + b"\\x01"],
    [b"event:x", msgpack.packb({"a": "x" * 1_100_000})],
    [b"event:x"],
    [b"event:x", b"header", good],
    [b"event:x", good, good, good, good],
    [b"event:x", msgpack.packb({"type": "event", "data": 2**53})],
):
    publisher.send_multipart(frames)
publisher.send_multipart([b"event:marker", good])
publisher.close(linger=5000)
context.term()
"""
    publisher = cluster.start_forked("publisher", python("-c", script, cluster.ingress))
    assert client.receive_on("event:marker")["offset"] == 1
    wait_for(lambda: publisher.returncode == 0, "the publisher ends")
    assert [message for message in client.received if message.get("type") == "event"] == [
        client.received[-1]
    ]
    stats = run_cli("relay", "stats", env=cluster.env)
    assert stats.returncode == 0, stats.stderr
    numbers = json.loads(stats.stdout)
    assert numbers["received"] == 15
    assert numbers["relayed"] == {"event": 1}
    assert sum(numbers["malformed"].values()) == 14
    assert numbers["malformed"] == {
        "invalid_topic": 3,
        "invalid_envelope": 6,
        "too_deep": 1,
        "too_large": 1,
        "invalid_frame": 3,
    }


def test_a_late_subscriber_gets_the_last_live_value_at_once(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()
    topic = "resource-monitor:survival"
    first = cluster.connect(edge, "alice")
    first.subscribe(topic)
    wait_for(lambda: emitter.is_watched(topic), "the topic is watched")
    emitter.emit(topic, {"process_info": {"pid": 4242}})
    value = first.receive_on(topic)
    assert (value["type"], value["data"]["process_info"]) == ("resource_update", {"pid": 4242})
    assert "offset" not in value
    second = cluster.connect(edge, "bob")
    second.subscribe(topic)
    assert second.receive_on(topic) == value
    other_edge = cluster.start_edge()
    third = cluster.connect(other_edge, "carol")
    third.subscribe(topic)
    assert third.receive_on(topic) == value


@pytest.mark.parametrize("username", ["alice", "bob"])
def test_an_addressed_event_reaches_its_user_alone(
    cluster: Cluster, edge: Edge, username: str
) -> None:
    clients = {name: cluster.connect(edge, name) for name in ("alice", "bob")}
    for client in clients.values():
        client.subscribe("event:*")
    emitter = cluster.emitter()
    emitter.emit("event:note", {"for": username}, username=username)
    for name, client in clients.items():
        came = client.drain_until(lambda: emitter.emit("event:marker", {}))
        notes = [message for message in came if message["topic"] == "event:note"]
        assert len(notes) == (1 if name == username else 0)


def test_an_addressed_event_reaches_its_user_in_any_spelling_of_the_name(
    cluster: Cluster, edge: Edge
) -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    clients = [cluster.connect(edge, name) for name in (composed, decomposed)]
    for client in clients:
        client.subscribe("event:*")
    emitter = cluster.emitter()
    for number, name in enumerate((composed, decomposed)):
        emitter.emit("event:note", {"number": number}, username=name)
    for client in clients:
        came = client.drain_until(lambda: emitter.emit("event:marker", {}))
        notes = [message for message in came if message["topic"] == "event:note"]
        assert [note["data"]["number"] for note in notes] == [0, 1]


def test_plain_asgi_server_serves_the_same_protocol(cluster: Cluster) -> None:
    """Where the server is not ours, messages go through ASGI's own send."""
    cluster.start_relay()
    [port] = free_ports(1)
    server = cluster.start(
        "uvicorn",
        [
            sys.executable,
            "-m",
            "uvicorn",
            "--factory",
            "edge.app:create_app",
            "--port",
            str(port),
            "--ws",
            "websockets-sansio",
        ],
    )
    edge = Edge(server, port, 1)
    edge.wait_ready()
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    emitter = cluster.emitter()
    for number in range(100):
        emitter.emit("event:x", {"n": number})
    came = client.drain_until(lambda: emitter.emit("event:marker", {}))
    assert [message["data"]["n"] for message in came] == list(range(100))
    client.send(b"\x00")
    assert client.wait_closed()[0] == 1003
