"""The demo's parts, and a whole manager against a real relay."""

import json
import os
import queue
import signal
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from demo import backups, server, welcome
from demo.schedule import Do, Schedule, Step
from demo.server_process import ServerError, ServerProcess
from emitters.events import CATALOGUE, EventName
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.waiting import wait_for

SERVERS = ("survival", "creative")


# One server and its process.


@pytest.fixture
def crashes() -> "queue.SimpleQueue[tuple[str, int]]":
    return queue.SimpleQueue()


@pytest.fixture
def survival(
    tmp_path: Path, crashes: "queue.SimpleQueue[tuple[str, int]]"
) -> Iterator[ServerProcess]:
    process = ServerProcess("survival", tmp_path, lambda *crash: crashes.put(crash))
    process.start()
    yield process
    if process.is_running:
        process.stop()


def test_a_server_answers_commands_and_keeps_them(survival: ServerProcess) -> None:
    assert survival.send_command("say hi") == "Done: say hi"
    assert (survival.folder / "world" / "console.log").read_text().endswith("say hi\n")


def test_a_server_changes_its_files(survival: ServerProcess) -> None:
    def contents() -> dict[str, bytes]:
        files = (survival.folder / "world").glob("region-*.dat")
        return {path.name: path.read_bytes() for path in files}

    before = contents()
    assert len(before) == server.REGIONS
    wait_for(lambda: contents() != before, "a file changes")


def test_a_stopped_server_is_gone_and_can_be_started_again(
    survival: ServerProcess, crashes: "queue.SimpleQueue[tuple[str, int]]"
) -> None:
    first = survival.pid
    assert first is not None
    survival.stop()
    assert (survival.status, survival.pid) == ("STOPPED", None)
    assert not psutil.pid_exists(first)
    with pytest.raises(ServerError, match="survival is not running"):
        survival.send_command("say hi")
    survival.start()
    assert survival.pid not in (None, first)
    assert crashes.empty()


def test_a_killed_server_is_noticed(
    survival: ServerProcess, crashes: "queue.SimpleQueue[tuple[str, int]]"
) -> None:
    first = survival.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert crashes.get(timeout=10) == ("survival", first)
    assert survival.note_crash(first) == "survival ended with exit code -9"
    assert not survival.is_running
    survival.start()
    assert survival.note_crash(first) is None, "old news of an earlier process"
    assert survival.is_running


@pytest.mark.process
def test_a_server_does_not_outlive_who_holds_its_standard_input(tmp_path: Path) -> None:
    process = subprocess.Popen(
        python("-m", "demo.server", str(tmp_path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        assert json.load(answer)["status"] == "running"
    process.communicate("", timeout=5)
    assert process.returncode == 0


@pytest.mark.process
def test_a_server_whose_manager_is_gone_before_it_listens_ends_too(tmp_path: Path) -> None:
    process = subprocess.Popen(
        python("-m", "demo.server", str(tmp_path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.close()
    try:
        assert process.wait(10) == 0
    finally:
        process.kill()
    assert process.stderr.read() == b""


def test_what_a_server_keeps_on_disk_is_bounded(tmp_path: Path) -> None:
    world = server.World(tmp_path)
    for _ in range(3):
        for number in range(server.REGIONS):
            world._grow(world._region(number))
    for number in range(200):
        world.command(f"say {number}")
    for _ in range(20 * server.REGIONS):
        world._grow(world._region(0))
    assert (tmp_path / "region-00.dat").stat().st_size == server.REGION_BYTES
    assert len((tmp_path / "console.log").read_text().splitlines()) == 100


# Backups.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "world").mkdir()
    for number in range(4):
        (tmp_path / "world" / f"file-{number}").write_text(str(number))
    return tmp_path


def test_a_backup_holds_every_file_and_reports_as_it_goes(folder: Path) -> None:
    reports: list[float] = []
    path = backups.create(folder, "b1", lambda done, _: reports.append(done), lambda _: False)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        contents = {name: archive.read(name).decode() for name in archive.namelist()}
    assert contents == {f"file-{number}": str(number) for number in range(4)}
    assert reports == [0.25, 0.5, 0.75, 1.0]


def test_a_stopped_backup_leaves_nothing(folder: Path) -> None:
    with pytest.raises(backups.BackupStopped):
        backups.create(folder, "b1", lambda *_: None, lambda _: True)
    assert list((folder / "backups").iterdir()) == []


def test_pruning_keeps_the_newest(folder: Path) -> None:
    for number in range(5):
        backups.create(folder, f"2026010{number}", lambda *_: None, lambda _: False)
    (folder / "backups" / "20260109.zip.part").touch()
    assert backups.prune(folder, keep=3) == ["20260100.zip", "20260101.zip"]
    kept = sorted(path.name for path in (folder / "backups").iterdir())
    assert kept == ["20260102.zip", "20260103.zip", "20260104.zip"]


# The schedule.


def play(seconds: float, *, down: bool = False) -> list[tuple[float, Step]]:
    """Return what is done in the first `seconds`; every step succeeds at once."""
    schedule = Schedule(SERVERS, ("alice", "bob"), 0.0, Random(1))
    running = set() if down else set(SERVERS)
    played = []
    while (now := schedule.next_at()) <= seconds:
        for step in schedule.take_due(now, running, set()):
            played.append((now, step))
            if step.do is Do.STOP:
                running.discard(step.server_name)
                schedule.start_again(step.server_name, now)
            elif step.do is Do.START:
                running.add(step.server_name)
    return played


def test_everything_happens_within_a_minute() -> None:
    assert {step.do for _, step in play(60)} == set(Do)


def test_something_happens_every_two_seconds_but_not_more_than_one_action_a_second() -> None:
    background = (Do.TELL_STATUSES, Do.BACK_UP, Do.START)
    times = [at for at, step in play(300) if step.do not in background]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert min(pauses) > 1
    assert max(pauses) < 2


def test_users_and_servers_take_turns_in_backups() -> None:
    backed_up = [(at, step) for at, step in play(40) if step.do is Do.BACK_UP]
    assert backed_up[0][0] <= 3
    assert [(step.username, step.server_name) for _, step in backed_up[:3]] == [
        ("alice", "survival"),
        ("bob", "creative"),
        ("alice", "survival"),
    ]
    pauses = [later[0] - earlier[0] for earlier, later in pairwise(backed_up)]
    assert all(8 <= pause <= 10 for pause in pauses)


def test_a_stopped_server_is_started_again_and_only_one_is_down_at_a_time() -> None:
    down: list[str] = []
    for _, step in play(300):
        if step.do is Do.STOP:
            assert down == []
            down.append(step.server_name)
        elif step.do is Do.START:
            down.remove(step.server_name)
        elif step.server_name and step.do is not Do.BACK_UP:
            assert step.server_name not in down


def test_statuses_are_told_every_five_seconds_even_when_all_is_down() -> None:
    steps = play(21, down=True)
    assert [at for at, step in steps if step.do is Do.TELL_STATUSES] == [5, 10, 15, 20]
    assert {step.do for _, step in steps} == {Do.TELL_STATUSES, Do.BACK_UP}


def test_a_server_that_is_being_backed_up_is_left_alone() -> None:
    schedule = Schedule(SERVERS, ("alice",), 0.0, Random(1))
    steps = []
    while (now := schedule.next_at()) < 120:
        steps += schedule.take_due(now, set(SERVERS), {"survival"})
    assert all(
        step.server_name == "creative"
        for step in steps
        if step.do in (Do.STOP, Do.RESTART, Do.BACK_UP)
    )


# A whole manager.


class Manager:
    """A manager process, and the relay's events as they arrive."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._path = cluster.directory / "events"
        command = python("-m", "emitters", "tail", "--egress", cluster.egress)
        tail = cluster.start("tail", ["sh", "-c", 'exec "$@" >"$0"', str(self._path), *command])
        tail.wait_for_output("watching")
        self.process = self.start()

    def start(self) -> ManagedProcess:
        """Start it (again)."""
        options = ["--servers", ",".join(SERVERS), "--user", "alice", "--user", "bob"]
        data_dir = str(self._cluster.directory / "data")
        command = python("-m", "demo", "manager-1", "--data-dir", data_dir, *options)
        self.process = self._cluster.start("manager-1", command)
        return self.process

    def events(self, topic_prefix: str = "") -> list[dict[str, Any]]:
        """What has arrived so far."""
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


def test_a_killed_manager_leaves_no_server_and_its_next_process_closes_its_tasks(
    manager: Manager,
) -> None:
    task = manager.wait_event("task:", status="in_progress")
    children = manager.children()
    manager.process.kill()
    wait_for(lambda: not [pid for pid in children if psutil.pid_exists(pid)], "the servers end too")
    manager.start()
    end = manager.wait_event(task["topic"], status="error")
    assert end["data"]["message"] == "The manager stopped before the task finished."
    assert end["username"] == task["username"]


def test_it_stops_quickly_without_a_relay_too(cluster: Cluster) -> None:
    options = ["--servers", "survival", "--user", "alice"]
    data_dir = str(cluster.directory / "data")
    command = python("-m", "demo", "manager-1", "--data-dir", data_dir, *options)
    process = cluster.start("manager-1", command)
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
    result = run_cli("demo", "manager-1", *options, env={})
    assert result.returncode == 2
    assert "--servers" in result.stderr


# The welcome.


def test_the_welcome_names_the_page_and_the_users(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    process = cluster.start("welcome", python("-m", "demo.welcome"), EDGE_PORT=str(edge.port))
    wait_for(lambda: process.returncode is not None, "the welcome ends")
    assert process.returncode == 0
    assert process.output() == (
        f"Open {edge.url} and sign in as alice, bob or admin "
        "(passwords: alice-demo, bob-demo, admin-demo); Ctrl-C stops everything.\n"
    )


def test_the_welcome_gives_up_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        welcome.main(["--port", "1", "--timeout", "0.1"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
