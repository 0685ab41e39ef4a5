"""`event-relay demo` starts everything, and leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from relay.demo.cluster import DemoCluster
from tests.support.cluster import free_ports
from tests.support.processes import ManagedProcess, python
from tests.support.waiting import wait_for

pytestmark = pytest.mark.process

PARTS = 4
STRANGE = {
    "RELAY_RETENTION_S": "nonsense",
    "EDGE_WORKERS": "none",
    "EMITTER_SPOOL": "/nowhere",
    "EVENT_RELAY_CONFIG": "/nowhere/relay.toml",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory for temporary files, with a path too long for a socket in it."""
    place = tmp_path / ("long" * 30)
    place.mkdir()
    return place


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[ManagedProcess]:
    """A demo, of a user whose own settings are of no use."""
    (tmp_path / "relay.toml").write_text("nonsense")
    [port] = free_ports(1)
    command = python("-m", "relay", "demo", "--port", str(port))
    process = ManagedProcess("demo", command, {"TMPDIR": str(tmp_path), **STRANGE}, tmp_path)
    process.start()
    try:
        process.wait_for_output(f"Open http://127.0.0.1:{port} and sign in as alice", 90)
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if is_up(process) else []
        process.close()
        psutil.wait_procs(children, 20)


def is_up(process: ManagedProcess) -> bool:
    return process.returncode is None


def parts(demo: ManagedProcess) -> list[psutil.Process]:
    return psutil.Process(demo.pid).children(recursive=True)


def sign_in(demo: ManagedProcess) -> str:
    """Sign in as the line says, and return the user's name."""
    url = demo.output().partition("Open ")[2].split()[0]
    [password] = re.findall(r"bob \(password ([\w-]{16})\)", demo.output())
    form = urllib.parse.urlencode({"username": "bob", "password": password}).encode()
    with urllib.request.urlopen(f"{url}/auth/token", form, timeout=20) as reply:
        token = json.load(reply)["access_token"]
    request = urllib.request.Request(
        f"{url}/api/topics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return str(reply.status)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(demo: ManagedProcess, tmp_path: Path, number: int) -> None:
    assert sign_in(demo) == "200"
    started = parts(demo)
    assert len(started) >= PARTS
    directory = Path(started[0].cwd())
    demo.signal(number)
    demo.wait_ended(30)
    assert demo.returncode == 0
    assert not [process for process in started if process.is_running()]
    assert not directory.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["relay.toml"]
    assert len(demo.output().splitlines()) == 2, demo.output()


def test_a_killed_demo_leaves_no_process(demo: ManagedProcess) -> None:
    started = parts(demo)
    directory = Path(started[0].cwd())
    demo.kill()
    wait_for(lambda: not [each for each in started if each.is_running()], "all parts end", 30)
    # Nobody is left to do it.
    shutil.rmtree(directory)


def test_a_part_that_dies_ends_the_demo_with_its_name(demo: ManagedProcess) -> None:
    [edge] = [each for each in parts(demo) if each.cmdline()[-1] == "edge"]
    edge.kill()
    demo.wait_ended(30)
    assert demo.returncode == 1
    assert demo.output().splitlines()[-1] == ("event-relay demo: edge has ended with exit code -9")


def test_a_taken_port_is_refused(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = python("-m", "relay", "demo", "--port", port)
        process = ManagedProcess("demo", command, {"TMPDIR": str(place)})
        process.start()
        try:
            process.wait_ended(90)
            assert process.returncode == 2
            assert f"EDGE_PORT: cannot listen on 127.0.0.1:{port}" in process.output()
            assert "Traceback" not in process.output()
        finally:
            process.close()
    assert os.listdir(place) == []


def test_no_demo_has_the_passwords_of_another() -> None:
    first, second = DemoCluster(1).passwords, DemoCluster(1).passwords
    assert first.keys() == second.keys()
    assert len({*first.values(), *second.values()}) == 2 * len(first)
