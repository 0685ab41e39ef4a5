"""A reloader, a container without init, a read-only file system, and a bare locale."""

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.processes import python, run_cli
from tests.support.waiting import wait_for

needs_namespaces = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("unshare") is None, reason="unshare needs root"
)
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_the_application_is_reloaded(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start_relay()
    watched = tmp_path / "watched"
    watched.mkdir()
    (watched / "changed.py").write_text("")
    [port] = free_ports(1)
    command = python("-m", "uvicorn", "--factory", "edge.app:create_app", "--port", str(port))
    process = cluster.start("uvicorn", [*command, "--reload", "--reload-dir", str(watched)])
    edge = Edge(process, port, 1)
    edge.wait_ready()
    [before] = edge.connections_by_worker()
    (watched / "changed.py").write_text("changed = True")
    wait_for(lambda: process.output().count("following the relay") == 2, "it is reloaded")
    wait_for(lambda: edge.status("/readyz") == 200, "it is ready again")
    [after] = edge.connections_by_worker()
    assert before != after
    assert process.terminate() in (0, -signal.SIGTERM)
    assert "Traceback" not in process.output()
    wait_for(lambda: not psutil.pid_exists(int(after)), "no process is left")


@needs_namespaces
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_first_process_of_a_container_stops_and_leaves_none(
    cluster: Cluster, workers: str
) -> None:
    """The kernel delivers to it only the signals that it handles."""
    [port] = free_ports(1)
    contained = ("unshare", "--pid", "--fork", "--mount-proc")
    relay = cluster.start("relay", [*contained, *python("-m", "relay")])
    relay.wait_for_output("relaying")
    env = {"EDGE_PORT": str(port), "EDGE_WORKERS": workers}
    edge = cluster.start("edge", [*contained, *python("-m", "edge")], **env)
    Edge(edge, port, int(workers)).wait_ready()
    for process in (edge, relay):
        [first] = psutil.Process(process.pid).children()
        inside = first.children(recursive=True)
        assert all(each.status() != psutil.STATUS_ZOMBIE for each in inside)
        first.terminate()
        process.wait_ended()
        assert process.returncode == 0, process.output()
        assert "Traceback" not in process.output()


def read_only(directory: Path, command: list[str]) -> list[str]:
    """Return `command` with `directory` on a read-only file system."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mount, str(directory), *command]


@needs_namespaces
@pytest.mark.parametrize("program", ["relay", "edge"])
def test_a_read_only_directory_is_refused_with_one_line(cluster: Cluster, program: str) -> None:
    directory = cluster.directory / "fixed"
    directory.mkdir()
    variable = f"{program.upper()}_DATA_DIR"
    env = {variable: str(directory), "EDGE_JWT_SECRET": "", "EDGE_PORT": str(free_ports(1)[0])}
    process = cluster.start(program, read_only(directory, python("-m", program)), **env)
    process.wait_ended()
    assert process.returncode == 2, process.output()
    [line] = process.output().splitlines()
    assert "ead-only file system" in line


@needs_namespaces
def test_an_edge_with_a_given_secret_writes_nothing(cluster: Cluster) -> None:
    directory = cluster.directory / "fixed"
    directory.mkdir()
    cluster.start_relay()
    [port] = free_ports(1)
    env = {"EDGE_DATA_DIR": str(directory), "EDGE_PORT": str(port)}
    process = cluster.start("edge", read_only(directory, python("-m", "edge")), **env)
    Edge(process, port, 1).wait_ready()


def test_names_beyond_ascii_are_shown_in_a_bare_locale(cluster: Cluster) -> None:
    added = run_cli(
        "edge", "user", "add", "Zoë", "--password-stdin", env=cluster.env, stdin="a long secret\n"
    )
    assert added.returncode == 0, added.stderr
    listed = run_cli("edge", "user", "list", env=cluster.env | BARE)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout == "Zoë\tuser\n", "in UTF-8: the terminal's encoding is not known"


@pytest.mark.parametrize("program", ["relay", "edge"])
def test_programs_start_in_a_bare_locale(cluster: Cluster, program: str) -> None:
    directory = cluster.directory / "Zoë"
    env = BARE | {"RELAY_DATA_DIR": str(directory), "EDGE_DATA_DIR": str(directory)}
    cluster.start_relay(**env)
    if program == "edge":
        cluster.env |= env | {"EDGE_JWT_SECRET": ""}
        cluster.start_edge()
        assert (directory / "jwt-secret").exists()
