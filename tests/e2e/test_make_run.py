"""`make run`: starts a whole cluster, restarts parts that die, and ends them all."""

import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil
import pytest

from edge.http.users import UsersFile
from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.processes import ROOT, ManagedProcess
from tests.support.waiting import wait_for

NEEDED = (
    "Makefile",
    "cluster.conf",
    "relay",
    "edge",
    "emitters",
    "pyproject.toml",
    "requirements.lock",
    "package.json",
    "package-lock.json",
    "node_modules",
    ".venv",
)

pytestmark = pytest.mark.timeout(120)


@contextmanager
def new_checkout() -> Iterator[Path]:
    """A directory that looks like the repository, so that no running cluster is disturbed.

    Its path is long: a Unix socket's has at most 107 bytes, and supervisord puts one there.
    """
    if not (ROOT / ".venv/.installed").exists():
        pytest.fail("run the tests with `make test`, which makes the environment first")
    with TemporaryDirectory(prefix="make-run-") as directory:
        checkout = Path(directory) / ("long" * 30)
        checkout.mkdir()
        for name in NEEDED:
            (checkout / name).symlink_to(ROOT / name)
        yield checkout


@pytest.fixture
def checkout() -> Iterator[Path]:
    with new_checkout() as checkout:
        yield checkout


def processes_in(directory: Path) -> list[psutil.Process]:
    """The processes that work in `directory`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(directory)):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


class Running(NamedTuple):
    """`make run` on free ports, after it has printed how to sign in."""

    make: ManagedProcess
    edge: Edge
    checkout: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """For the tests of this file in their order; the last one stops it."""
    given = Cluster(tmp_path_factory.mktemp("make-run")).env
    [port] = free_ports(1)
    env = {name: value for name, value in given.items() if not name.endswith("_DATA_DIR")}
    with new_checkout() as checkout:
        make = ManagedProcess("make run", ["make", "run"], env | {"EDGE_PORT": str(port)}, checkout)
        make.start()
        try:
            make.wait_for_output(f"Open http://127.0.0.1:{port} and sign in as alice", 60)
            yield Running(make, Edge(make, port, 1), checkout)
        finally:
            make.close()
            for process in processes_in(checkout):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.mark.parametrize("part", ["relay", "edge", "relay.demo manager-1"])
def test_a_killed_part_is_started_again(running: Running, part: str) -> None:
    def pid_of_part() -> int:
        for process in processes_in(running.checkout):
            with suppress(psutil.NoSuchProcess):
                if f"-m {part} " in " ".join([*process.cmdline(), ""]):
                    return process.pid
        return 0

    first = wait_for(pid_of_part, f"{part} runs")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: pid_of_part() not in (0, first), f"{part} runs again")
    wait_for(lambda: running.edge.status("/readyz") == 200, "the edge is ready")


def test_of_two_in_one_directory_the_second_ends_and_harms_nothing(running: Running) -> None:
    second = subprocess.run(
        ["make", "run"],
        cwd=running.checkout,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert second.returncode == 2
    assert "already listening" in second.stdout + second.stderr
    assert running.make.returncode is None
    assert running.edge.status("/readyz") == 200


def password_of(make: ManagedProcess) -> str:
    """The password of alice that `make run` has shown."""
    [password] = re.findall(r"password of alice is ([\w-]{16}) ", make.output())
    return str(password)


def may_sign_in(edge: Edge, username: str, password: str) -> bool:
    form = urllib.parse.urlencode({"username": username, "password": password}).encode()
    try:
        with urllib.request.urlopen(f"{edge.url}/auth/token", form, timeout=20) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        return False


def start_again(cluster: Cluster, checkout: Path, edge: Edge, **env: str) -> ManagedProcess:
    env = cluster.env | {"EDGE_PORT": str(edge.port)} | env
    kept = {name: value for name, value in env.items() if value}
    make = ManagedProcess("make run again", ["make", "run"], kept, checkout)
    make.start()
    make.wait_for_output("and sign in as alice", 60)
    return make


def end(make: ManagedProcess, checkout: Path) -> None:
    """Press Ctrl-C, which leaves no process behind."""
    assert len(processes_in(checkout)) >= 6
    os.killpg(make.pid, signal.SIGINT)  # as a terminal does
    make.wait_ended()
    wait_for(lambda: not processes_in(checkout), "no process is left")
    assert "Traceback" not in make.output()


def test_ctrl_c_leaves_nothing_behind_and_the_next_start_changes_no_user(
    running: Running, cluster: Cluster
) -> None:
    """The first start has shown a random password."""
    make, edge, checkout = running
    assert edge.status("/readyz") == 200
    first = password_of(make)
    assert may_sign_in(edge, "alice", first)
    for name in ("alice", "bob", "admin"):
        assert not may_sign_in(edge, name, f"{name}-demo")
    users = checkout / ".run" / "edge" / "users.json"
    before = users.read_bytes()
    end(make, checkout)
    again = start_again(cluster, checkout, edge, EDGE_DATA_DIR="", RELAY_DATA_DIR="")
    try:
        assert users.read_bytes() == before
        assert "has users already; none is changed." in again.output()
        assert first not in again.output()
        assert "is not shown again" not in again.output()
    finally:
        end(again, checkout)
        again.close()


@pytest.mark.parametrize("setting", ["EDGE_DATA_DIR", "EDGE_USERS_FILE"])
def test_users_whom_the_caller_has_stay_as_they_are(
    cluster: Cluster, checkout: Path, tmp_path: Path, setting: str
) -> None:
    mine = tmp_path / "mine"
    users = UsersFile(mine / "users.json")
    users.add("alice", "my own secret")
    before = (mine / "users.json").read_bytes()
    where = str(mine if setting == "EDGE_DATA_DIR" else mine / "users.json")
    [port] = free_ports(1)
    edge = Edge(ManagedProcess("none", [], {}), port, 1)
    make = start_again(cluster, checkout, edge, **{setting: where})
    try:
        assert (mine / "users.json").read_bytes() == before
        assert may_sign_in(edge, "alice", "my own secret")
    finally:
        end(make, checkout)
        make.close()


def test_a_taken_port_ends_make_run_with_the_reason(cluster: Cluster, checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = {name: value for name, value in cluster.env.items() if "_DATA_DIR" not in name}
        make = ManagedProcess("make run", ["make", "run"], env | {"EDGE_PORT": port}, checkout)
        make.start()
        try:
            make.wait_ended(60)
            wait_for(lambda: not processes_in(checkout), "no process is left")
            assert f"EDGE_PORT: cannot listen on 127.0.0.1:{port}" in make.output()
            assert "edge could not be started" in make.output()
        finally:
            make.close()
