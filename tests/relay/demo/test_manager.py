"""A whole demo manager against a real relay."""

import json
import os
import signal
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from emitters.events import CATALOGUE, EventName
from relay.core.orphans import ORPHANED_MESSAGE
from relay.demo import server
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.waiting import wait_for

SERVERS = ("survival", "creative")


class Manager:
    """A manager process, and the relay's events as they arrive."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._path = cluster.directory / "events"
        command = python("-m", "emitters", "tail", "--egress", cluster.egress)
        tail = cluster.start_writing(self._path, "tail", command)
        tail.wait_for_output("watching")
        self.process = self.start()

    def start(self) -> ManagedProcess:
        """Start it (again)."""
        options = ["--servers", ",".join(SERVERS), "--user", "alice", "--user", "bob"]
        data_dir = str(self._cluster.directory / "data")
        command = python("-m", "relay.demo", "manager-1", "--data-dir", data_dir, *options)
        self.process = self._cluster.start_forked("manager-1", command)
        return self.process

    def events(self, topic_prefix: str = "") -> list[dict[str, Any]]:
        """The events that have arrived so far."""
        complete = self._path.read_text().rpartition("\n")[0].splitlines()
        events = [json.loads(line) for line in complete]
        return [event for event in events if event["topic"].startswith(topic_prefix)]

    def wait_event(self, topic: str, timeout: float = 15, **data: object) -> dict[str, Any]:
        """Return the first event on `topic` whose data holds `data`."""

        def first() -> dict[str, Any] | None:
            return next(
                (each for each in self.events(topic) if each["data"] | data == each["data"]), None
            )

        found = wait_for(first, f"{topic} with {data}", timeout)
        assert found is not None
        return found

    def children(self) -> list[int]:
        """The server processes."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]


@pytest.fixture
def manager(cluster: Cluster) -> Manager:
    cluster.start_relay()
    return Manager(cluster)


def statuses(event: dict[str, Any]) -> dict[str, str]:
    return {server["name"]: server["status"] for server in event["data"]["servers"]}


def wait_statuses(manager: Manager, **expected: str) -> dict[str, Any]:
    """Return the first statuses that are as expected."""

    def first() -> dict[str, Any] | None:
        told = manager.events("event:after_server_statuses_updated")
        return next((each for each in told if statuses(each) == expected), None)

    found = wait_for(first, f"statuses are told as {expected}")
    assert found is not None
    return found


def test_a_backup_as_a_task_with_progress(manager: Manager) -> None:
    started = manager.wait_event("event:before_server_start")
    task = manager.wait_event("task:", status="in_progress")
    assert task["emitted_at"] - started["emitted_at"] < 3000
    assert (task["username"], task["source"]) == ("alice", "manager-1")
    end = manager.wait_event(task["topic"], status="success")
    fractions = [each["data"].get("progress", 0) for each in manager.events(task["topic"])]
    assert fractions == sorted(fractions)
    assert len(fractions) > 5
    assert end["emitted_at"] - task["emitted_at"] > 2000
    backup = manager._cluster.directory / "data" / "survival" / "backups"
    with zipfile.ZipFile(backup / end["data"]["result"]["file"]) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) >= server.REGIONS
    manager.wait_event("event:after_prune_backups", server_name="survival")


def test_its_events_are_of_the_catalogue_and_fit_their_models(manager: Manager) -> None:
    manager.wait_event("event:after_server_start", server_name="creative")
    manager.wait_event("event:after_command_send")
    manager.wait_event("event:after_allowlist_change")
    for event in manager.events("event:"):
        name = EventName(event["topic"].removeprefix("event:"))
        CATALOGUE[name].model.model_validate(event["data"])


def test_servers_are_measured_while_somebody_watches(manager: Manager) -> None:
    info = manager.wait_event("resource-monitor:survival")["data"]["process_info"]
    assert info["pid"] in manager.children()
    assert info["memory_mb"] > 5


def test_a_killed_server_is_told_within_a_second_and_started_again(manager: Manager) -> None:
    running = wait_statuses(manager, survival="RUNNING", creative="RUNNING")
    pid = next(each["pid"] for each in running["data"]["servers"] if each["name"] == "survival")
    killed_at = time.time() * 1000
    os.kill(pid, signal.SIGKILL)
    crashed = wait_statuses(manager, survival="CRASHED", creative="RUNNING")
    assert crashed["emitted_at"] - killed_at < 1000
    stop = manager.wait_event("event:after_server_stop", server_name="survival")
    assert stop["data"]["result"] == {
        "status": "error",
        "message": "survival ended with exit code -9",
    }
    restart = wait_for(
        lambda: [
            each
            for each in manager.events("event:after_server_start")
            if each["data"]["server_name"] == "survival" and each["offset"] > crashed["offset"]
        ],
        "the server is started again",
    )
    assert restart[0]["data"]["result"]["pid"] != pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_quickly_and_leaves_no_process(manager: Manager, number: signal.Signals) -> None:
    task = manager.wait_event("task:", status="in_progress")
    children = manager.children()
    assert children
    signalled_at = time.monotonic()
    manager.process.signal(number)
    wait_for(lambda: manager.process.returncode is not None, "it ends")
    assert time.monotonic() - signalled_at < 3
    assert manager.process.returncode == 0
    assert not [pid for pid in children if psutil.pid_exists(pid)]
    assert "Traceback" not in manager.process.output()
    end = manager.wait_event(task["topic"], status="error")
    assert end["data"]["message"] == "The backup was stopped with its manager."
    wait_statuses(manager, survival="STOPPED", creative="STOPPED")


def test_a_killed_manager_leaves_no_server_and_its_next_process_keeps_no_task_of_it_open(
    cluster: Cluster,
) -> None:
    cluster.start_relay(RELAY_TASK_GRACE_S="1")
    manager = Manager(cluster)
    task = manager.wait_event("task:", status="in_progress")
    children = manager.children()
    manager.process.kill()
    wait_for(lambda: not [pid for pid in children if psutil.pid_exists(pid)], "the servers end too")
    manager.start()
    end = manager.wait_event(task["topic"], status="error")
    assert end["data"]["message"] == ORPHANED_MESSAGE
    assert end["username"] == task["username"]


def test_a_damaged_file_fails_its_operation_and_not_the_manager(manager: Manager) -> None:
    for name in SERVERS:
        (manager._cluster.directory / "data" / name).mkdir(parents=True, exist_ok=True)
        (manager._cluster.directory / "data" / name / "allowlist.json").write_text("[")
    failed = manager.wait_event("event:after_allowlist_change")
    assert failed["data"]["result"]["status"] == "error"

    def goes_on() -> bool:
        later = manager.events("event:after_command_send")
        return any(each["offset"] > failed["offset"] for each in later)

    wait_for(goes_on, "the manager goes on", 20)


def test_it_stops_quickly_without_a_relay_too(cluster: Cluster) -> None:
    options = ["--servers", "survival", "--user", "alice"]
    data_dir = str(cluster.directory / "data")
    command = python("-m", "relay.demo", "manager-1", "--data-dir", data_dir, *options)
    process = cluster.start_forked("manager-1", command)
    wait_for(lambda: psutil.Process(process.pid).children(), "a server runs")
    signalled_at = time.monotonic()
    process.signal(signal.SIGTERM)
    wait_for(lambda: process.returncode is not None, "it ends")
    assert time.monotonic() - signalled_at < 3
    assert process.returncode == 0


@pytest.mark.process
@pytest.mark.parametrize("names", ["", "a/b", "..", "a\nb", "a*"])
def test_names_that_no_server_can_have(names: str, tmp_path: Path) -> None:
    options = ["--servers", names, "--data-dir", str(tmp_path), "--user", "alice"]
    result = run_cli("relay.demo", "manager-1", *options, env={})
    assert result.returncode == 2
    assert "--servers" in result.stderr
