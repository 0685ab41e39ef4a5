"""A part of the journal that cannot be read: it is named, and everything behind it is delivered."""

import json
import urllib.request
from pathlib import Path

import pytest

from relay.journal.file import FILE_NAME
from tests.e2e.journaled import QUICK, Start, shown_stats
from tests.support.cluster import Cluster
from tests.support.processes import run_cli
from tests.support.waiting import wait_for

COUNT = 60


@pytest.mark.parametrize("last", [None, 50])
def test_a_client_gets_a_gap_and_the_rest(
    cluster: Cluster, emitters: Start, last: int | None
) -> None:
    relay = cluster.start_relay(**QUICK)
    emitter = emitters()
    emitter.admitted()
    for number in range(1, COUNT + 1):
        emitter.send([number], padding=3000)
        emitter.wait_acknowledged(number)
    assert relay.terminate() == 0
    path = Path(cluster.env["RELAY_DATA_DIR"]) / FILE_NAME
    content = bytearray(path.read_bytes())
    place = content.index(b"id-30") - 1000
    content[place : place + 200] = b"\x5a" * 200
    path.write_bytes(content)
    relay = cluster.start_relay(**QUICK)
    edge = cluster.start_edge()
    client = cluster.connect(edge, "alice")
    epoch = client.subscribe("event:other")["epoch"]
    past = {"since": {"event": 0}, "epoch": epoch} if last is None else {"last": last}
    reply = client.ask({"action": "subscribe", "topic": "event:*", **past})
    assert reply["position"] == {"event": COUNT}
    received = [m["data"]["n"] for m in client.received if m.get("type") == "any"]
    [gap] = [m for m in client.received if m.get("type") == "gap"]
    assert (gap["stream"], gap["reason"], gap["from"]) == ("event", "damaged", gap["to"])
    first = 1 if last is None else received[0]
    assert received == [n for n in range(first, COUNT + 1) if n != gap["from"]]
    assert last is None or len(received) == last
    if last is None:
        assert reply["recovered"] is False
    emitter.reconnect()
    emitter.admitted(COUNT)
    emitter.send([COUNT + 1])
    assert client.receive_on("event:x")["offset"] == COUNT + 1
    assert shown_stats(cluster)["streams"]["event"]["damaged"] == 1

    def ready() -> dict[str, str]:
        with urllib.request.urlopen(f"{edge.url}/readyz", timeout=5) as response:
            found: dict[str, str] = json.load(response)
            return found

    wait_for(lambda: ready().get("journal") == "damaged", "the edge says it")
    ended = run_cli("relay", "journal", "verify", env=cluster.env)
    place_text = f"{gap['from']} to {gap['to']}"
    assert ended.stderr == f"stream event: {place_text} cannot be read: missing or damaged\n"
    assert "cannot be read" in relay.output()
