"""Tasks of a killed process end by themselves, once, for their user alone."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from relay.core.orphans import ORPHANED_MESSAGE
from relay.wire.control import RetainedReply, RetainedRequest
from relay.wire.envelope import unpack_envelope
from relay.wire.header import StampedFrames
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for

GRACE = {"RELAY_TASK_GRACE_S": "1"}

MANAGER = """
import sys
from emitters import Emitter
from emitters.tasks import TaskManager, progress

name, username, gate, *spool = sys.argv[1:]

def work():
    progress(0.5, "half")
    open(gate).read()
    return "late"

with Emitter(name=name, spool=spool[0] if spool else None) as emitter:
    tasks = TaskManager(emitter)
    tasks.run_task(work, username)
    assert emitter.wait_acknowledged(20)
    print("ready", flush=True)
    tasks.shutdown()
"""


@pytest.fixture
def edge(cluster: Cluster) -> Edge:
    cluster.start_relay(**GRACE)
    return cluster.start_edge()


def start_manager(cluster: Cluster, name: str, username: str, *more: str) -> ManagedProcess:
    gate = gate_of(cluster, name)
    if not gate.exists():
        os.mkfifo(gate)
    process = cluster.start_forked(name, python("-c", MANAGER, name, username, str(gate), *more))
    process.wait_for_output("ready")
    return process


def gate_of(cluster: Cluster, name: str) -> Path:
    """Return the path of the pipe at whose end the manager's task ends."""
    return cluster.directory / f"{name}.gate"


def start_command(cluster: Cluster, name: str, username: str) -> ManagedProcess:
    command = ["--name", name, "--user", username, "--", "sh", "-c", "echo ready; exec sleep 600"]
    process = cluster.start_forked(name, python("-m", "emitters", "task", *command))
    process.wait_for_output("ready")
    return process


def updates(client: Client) -> list[dict[str, Any]]:
    return [each for each in client.received if each.get("type") == "task_update"]


def ends(client: Client) -> list[dict[str, Any]]:
    return [each["data"] for each in updates(client) if each["data"]["status"] != "in_progress"]


def wait_end(client: Client) -> dict[str, Any]:
    """Return the data of the next final update."""
    before = len(ends(client))
    client.receive_until(lambda _: len(ends(client)) > before, "a task ends", 30)
    return ends(client)[-1]


def read_all(cluster: Cluster, *clients: Client) -> None:
    """Read everything that the relay has sent up to now."""
    emitter = cluster.emitter("marker")
    for client in clients:
        client.subscribe("event:marker")
    emitter.emit("event:marker", {})
    for client in clients:
        client.receive_on("event:marker")
    emitter.close()


@pytest.mark.parametrize("start", [start_manager, start_command])
def test_the_task_of_a_killed_process_ends_for_its_user(
    cluster: Cluster, edge: Edge, start: Any
) -> None:
    alice, bob = cluster.connect(edge, "alice"), cluster.connect(edge, "bob")
    killed = start(cluster, "killed", "alice")
    start(cluster, "living", "bob")
    killed.kill()
    end = wait_end(alice)
    assert (end["status"], end["message"], end["result"]) == ("error", ORPHANED_MESSAGE, None)
    assert end["username"] == "alice"
    assert list(end)[:4] == ["status", "message", "result", "username"]
    read_all(cluster, alice, bob)
    assert len(ends(alice)) == 1
    assert ends(bob) == [], "the task of a living process goes on"
    assert {each["topic"] for each in updates(alice)}.isdisjoint(
        each["topic"] for each in updates(bob)
    )
    late = cluster.connect(edge, "alice")
    read_all(cluster, late)
    assert updates(late) == [], "it is finished"


@pytest.mark.parametrize("restarts", ["before the end", "after the end"])
def test_across_a_restart_of_the_relay_it_ends_once(cluster: Cluster, restarts: str) -> None:
    relay = cluster.start_relay(**GRACE if restarts == "after the end" else {})
    edge = cluster.start_edge()
    alice = cluster.connect(edge, "alice")
    start_manager(cluster, "killed", "alice").kill()
    if restarts == "after the end":
        wait_end(alice)
    for _ in range(2):
        relay.kill()
        relay = cluster.start_relay(**GRACE)
        edge.wait_ready()
    wait_for(lambda: task_statuses(cluster) == ["error"], "the task has ended")
    # The next task ends after anything that the restarts have brought about.
    start_manager(cluster, "next", "alice").kill()
    wait_for(lambda: task_statuses(cluster) == ["error"] * 2, "the next task has ended")
    assert journaled_ends(cluster) == 2


def test_the_next_process_on_a_spool_ends_the_tasks_of_the_killed_one(cluster: Cluster) -> None:
    """It has the same epoch and is connected; its own task goes on."""
    cluster.start_relay(**GRACE)
    spool = str(cluster.directory / "spool")
    start_manager(cluster, "manager", "alice", spool).kill()
    following = start_manager(cluster, "manager", "bob", spool)
    wait_for(lambda: "error" in task_statuses(cluster), "the earlier task ends")
    assert sorted(task_statuses(cluster)) == ["error", "in_progress"]
    assert following.returncode is None
    assert journaled_ends(cluster) == 1


def test_a_late_update_wins(cluster: Cluster) -> None:
    """The process cannot connect to the new relay, as behind a broken network."""
    relay = cluster.start_relay(**GRACE)
    manager = start_manager(cluster, "manager", "alice")
    manager.signal(signal.SIGSTOP)
    relay.kill()
    cluster.start_relay(**GRACE)
    wait_for(lambda: task_statuses(cluster) == ["error"], "the relay ends the task")
    alice = cluster.connect(cluster.start_edge(), "alice")
    manager.signal(signal.SIGCONT)
    gate_of(cluster, "manager").write_text("")
    end = wait_end(alice)
    assert (end["status"], end["result"]) == ("success", "late")
    manager.wait_ended()
    assert task_statuses(cluster) == ["success"]


def test_a_script_that_publishes_each_state_with_a_process_of_its_own_is_left_alone(
    cluster: Cluster, edge: Edge
) -> None:
    alice = cluster.connect(edge, "alice")
    state = '{"status": "in_progress", "message": "m", "result": null, "username": "alice"}'
    result = run_cli("emitters", "task:script", state, "--user", "alice", env=cluster.env)
    assert result.returncode == 0, result.stderr
    start_manager(cluster, "killed", "alice").kill()
    wait_end(alice)
    read_all(cluster, alice)
    assert len(ends(alice)) == 1
    assert "task:script" in {each["topic"] for each in updates(alice)}


def task_statuses(cluster: Cluster) -> list[str]:
    """Return the statuses of the tasks that the relay remembers."""
    with RelayPeer(cluster.control) as peer:
        reply = peer.ask(RetainedRequest(id=1, prefix="task:"))
    assert isinstance(reply, RetainedReply)
    return [status(item) for item in reply.items]


def journaled_ends(cluster: Cluster) -> int:
    """Return the number of final updates in the journal."""
    with RelayPeer(cluster.control) as peer:
        return sum(status(item) == "error" for page in peer.replay("task") for item in page.items)


def status(frames: StampedFrames) -> str:
    return str(unpack_envelope(frames[2], "task").data["status"])
