"""One small server and its process, as its manager sees them."""

import json
import os
import queue
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from relay.demo import server
from relay.demo.server_process import ServerError, ServerProcess
from tests.support.processes import python
from tests.support.waiting import wait_for


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
        python("-m", "relay.demo.server", str(tmp_path)),
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
        python("-m", "relay.demo.server", str(tmp_path)),
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
