"""Names and texts of peers in the logs and lists of the programs: one line each, and no escapes."""

import re

import msgpack
import zmq

from tests.support.cluster import Cluster
from tests.support.processes import run_cli
from tests.support.raw_emitter import RawEmitter
from tests.support.waiting import wait_for

FORGED = "a\n12:00:00 ERROR   event-relay forged\x1b[31m"
ANSWER_TIMEOUT_MS = 20_000
_LINE = re.compile(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) +event-relay ")
MOST_CHARS = 1_200


def ask(cluster: Cluster, *requests: dict[str, object]) -> list[object]:
    """Send control messages, right or wrong, and return the answers."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        peer.connect(cluster.control)
        answers = []
        for request in requests:
            peer.send(msgpack.packb(request))
            assert peer.poll(ANSWER_TIMEOUT_MS), "the relay does not answer"
            answers.append(msgpack.unpackb(peer.recv()))
        return answers


def test_a_name_can_neither_forge_a_line_of_the_log_nor_fill_it(cluster: Cluster) -> None:
    relay = cluster.start_relay(RELAY_LOG_LEVEL="DEBUG")
    edge = cluster.start_edge()
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    emitter = cluster.emitter("honest")
    hello = {"op": "hello", "protocol": 1, "role": "tool"}
    ask(
        cluster,
        {**hello, "id": 1, "name": FORGED},
        {**hello, "id": 2, "name": "x" * 900_000},
        {"op": FORGED, "id": 3},
        {"op": "y" * 900_000, "id": 4},
        {"op": "replay", "id": 5, "stream": FORGED, "after": 0},
    )
    with RawEmitter(cluster.ingress, cluster.control, name="raw") as raw:
        raw.admitted()
        for topic in (f"event:{FORGED}", "event:" + "z" * 900_000):
            raw.send_frames(topic.encode(), 1, b"\x80")
        wait_for(lambda: "malformed" in relay.output(), "the relay has logged a bad topic")
    emitter.emit("event:honest", {"number": 1})
    client.receive_on("event:honest")
    lines = relay.output().splitlines()
    assert [line for line in lines if not _LINE.match(line)] == []
    assert max(map(len, lines)) < MOST_CHARS
    assert "\x1b" not in relay.output()
    assert r"says hello" in relay.output()
    assert r"a\n12:00:00 ERROR" in relay.output()


def test_a_name_cannot_forge_a_line_of_the_list_of_emitters(cluster: Cluster) -> None:
    cluster.start_relay()
    emitter = cluster.emitter(FORGED)
    emitter.emit("event:honest", {"number": 1})
    assert emitter.wait_acknowledged(20)
    listed = run_cli("relay", "journal", "list", env=cluster.env)
    assert r"a\n12:00:00 ERROR   event-relay forged\x1b[31m" in listed.stdout
    assert "\x1b" not in listed.stdout
