"""An application's models: at `emit`, at the edge, and on the command line."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.emitters.relay_control import read_journal
from tests.relay.wire.test_asyncapi import validate
from tests.support.cluster import Cluster, Edge
from tests.support.processes import ROOT, ManagedProcess, python, run_cli

EVENTS = '''
from emitters import event
from pydantic import BaseModel

@event("order_paid")
class OrderPaid(BaseModel):
    """An order was paid."""
    order: int
    total: float = 0.0
'''
EMIT = """
from emitters import Emitter, InvalidEnvelope
from shop_events import OrderPaid
with Emitter(name="shop") as emitter:
    # Until then the emitter does not know that the kind is journaled.
    assert emitter.wait_connected(30)
    emitter.emit("order_paid", OrderPaid(order=1))
    emitter.emit("order_paid", {"order": "2", "total": 3})
    emitter.emit("event:after_backup", {"no": "server_name"})
    try:
        emitter.emit("order_paid", {"order": "many"})
    except InvalidEnvelope as error:
        print(error.field)
"""


@pytest.fixture
def application(tmp_path: Path) -> dict[str, str]:
    """The environment of a program that can import `shop_events`."""
    (tmp_path / "shop_events.py").write_text(EVENTS)
    return {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


def get(cluster: Cluster, edge: Edge, path: str) -> Any:
    request = urllib.request.Request(
        f"{edge.url}{path}", headers={"Authorization": f"Bearer {cluster.token('alice')}"}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)


def test_data_is_checked_at_emit_and_arrives_complete(
    cluster: Cluster, application: dict[str, str]
) -> None:
    cluster.start_relay(RELAY_JOURNALED_KINDS="event,task,order_paid")
    process = cluster.start_forked("shop", python("-c", EMIT), **application)
    process.wait_ended(60)
    assert (process.returncode, process.output()) == (0, "data.order\n")
    orders = [event.data for event in read_journal(cluster.control, "order_paid")]
    assert orders == [{"order": 1, "total": 0.0}, {"order": 2, "total": 3.0}]
    assert [event.data for event in read_journal(cluster.control)] == [{"no": "server_name"}]


def test_the_edge_shows_the_models(cluster: Cluster, application: dict[str, str]) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_CONTRACTS="shop_events", PYTHONPATH=application["PYTHONPATH"])
    [event] = get(cluster, edge, "/api/topics")["events"]
    assert (event["topic"], event["meaning"]) == ("order_paid", "An order was paid.")
    assert event["schema"]["required"] == ["order", "total"]
    document = get(cluster, edge, "/asyncapi.json")
    assert validate(document).returncode == 0
    assert document["servers"]["edge"]["host"] == f"127.0.0.1:{edge.port}"
    assert document["servers"]["edge"]["pathname"] == "/ws"
    assert "order_paid" in document["channels"]
    from_elsewhere = {"X-Forwarded-For": "192.0.2.1"}
    request = urllib.request.Request(f"{edge.url}/asyncapi.json", headers=from_elsewhere)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=20)


@pytest.mark.parametrize("program", ["edge", "uvicorn"])
def test_a_module_that_is_not_there_ends_the_edge_with_one_line(
    cluster: Cluster, program: str
) -> None:
    command = {
        "edge": python("-m", "edge"),
        "uvicorn": python("-m", "uvicorn", "--factory", "edge.app:create_app"),
    }[program]
    process: ManagedProcess = cluster.start("edge", command, EDGE_CONTRACTS="none.such")
    process.wait_ended(60)
    assert process.returncode == 2
    problem = "EDGE_CONTRACTS: none.such cannot be imported: No module named 'none'"
    assert process.output() == f"event-edge: {problem}\n"


@pytest.mark.process
@pytest.mark.parametrize("wanted", ["jsonschema", "typescript", "asyncapi"])
def test_event_relay_schema(application: dict[str, str], wanted: str) -> None:
    options = ("--format", wanted, "--import", "shop_events")
    ran = run_cli("relay", "schema", *options, env=application)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "order_paid" in ran.stdout
    assert "after_backup" not in ran.stdout
    if wanted != "typescript":
        json.loads(ran.stdout)


@pytest.mark.process
def test_without_a_module_it_is_the_catalogue() -> None:
    ran = run_cli("relay", "schema", env={})
    assert len(json.loads(ran.stdout)["properties"]) == 40


@pytest.mark.process
def test_a_wrong_module_of_schema_is_one_line() -> None:
    ran = run_cli("relay", "schema", "--import", "none.such", env={})
    problem = "--import: none.such cannot be imported: No module named 'none'"
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"event-relay: {problem}\n"
