"""Signals at any moment, closed streams, and a process without memory: no traceback."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.limits import limited
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.waiting import wait_for

SIGNALS = [signal.SIGTERM, signal.SIGINT]


def wait_loaded(process: ManagedProcess, library: str) -> None:
    """Wait until the process has loaded a library, so that its start is at that point."""
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: library in maps.read_text(), f"{library} is loaded")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("program", "library"),
    [
        ("relay", "pydantic_core"),
        ("relay", "_zmq"),
        ("relay", "_sqlite3"),
        ("edge", "pydantic_core"),
        ("edge", "httptools"),
        ("edge", "uvloop"),
    ],
)
def test_a_signal_during_the_start_is_a_clean_end(
    cluster: Cluster, program: str, library: str, number: signal.Signals
) -> None:
    process = cluster.start(program, python("-m", program), EDGE_PORT=str(free_ports(1)[0]))
    wait_loaded(process, library)
    process.signal(number)
    process.wait_ended()
    assert process.returncode == 0, process.output()
    assert "Traceback" not in process.output()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_start_of_a_command_ends_it(
    cluster: Cluster, number: signal.Signals
) -> None:
    process = cluster.start("token", python("-m", "edge", "token", "alice"))
    wait_loaded(process, "pydantic_core")
    process.signal(number)
    process.wait_ended()
    # Perhaps it was done already.
    assert process.returncode in (0, 128 + number, -number, 1), process.output()
    assert "Traceback" not in process.output()


@pytest.fixture(autouse=True)
def _from_the_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs begin with a new interpreter."""
    monkeypatch.setattr(Cluster, "forks", False)


def start_helping_relay(cluster: Cluster) -> None:
    """Start a relay for an edge that is tested."""
    cluster.forks = True
    cluster.start_relay()
    cluster.forks = False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_edge_ends_once_however_often_ctrl_c_is_pressed(cluster: Cluster, workers: str) -> None:
    """A terminal sends each to the whole group; with a client, the end takes a moment."""
    start_helping_relay(cluster)
    edge = cluster.start_edge(EDGE_WORKERS=workers)
    client = cluster.connect(edge, "alice")
    client.subscribe("event:a")
    while edge.process.returncode is None:
        try:
            os.killpg(edge.process.pid, signal.SIGINT)
        except ProcessLookupError:
            break
    assert edge.process.returncode == 0, edge.process.output()
    assert "Traceback" not in edge.process.output()
    assert client.wait_closed()[0] == 1001


def test_workers_that_start_are_spared_from_ctrl_c(cluster: Cluster) -> None:
    start_helping_relay(cluster)
    command = python("-m", "edge")
    edge = cluster.start("edge", command, EDGE_PORT=str(free_ports(1)[0]), EDGE_WORKERS="2")
    edge.wait_for_output("serving")
    while edge.returncode is None:
        try:
            os.killpg(edge.pid, signal.SIGINT)
        except ProcessLookupError:
            break
    assert edge.returncode == 0, edge.output()
    assert "Traceback" not in edge.output()


def test_a_relay_ends_once_however_often_ctrl_c_is_pressed(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    while relay.returncode is None:
        relay.signal(signal.SIGINT)
    assert relay.returncode == 0, relay.output()
    assert "Traceback" not in relay.output()


REDIRECTIONS = [">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", "2>&1 | true"]


def redirected(redirection: str, command: list[str]) -> list[str]:
    """Return `command` with other streams, and its process id in the file `pid`."""
    return ["sh", "-c", f'sh -c \'echo $$ > "$0"; exec "$@"\' "$@" {redirection}', "sh", *command]


@pytest.mark.parametrize(
    ("redirection", "workers"), [*((each, "1") for each in REDIRECTIONS), (REDIRECTIONS[0], "2")]
)
def test_programs_work_without_streams(cluster: Cluster, redirection: str, workers: str) -> None:
    [port] = free_ports(1)
    pids = {}
    for program in ("relay", "edge"):
        path = cluster.directory / f"{program}.pid"
        command = redirected(redirection, [str(path), *python("-m", program)])
        cluster.start(program, command, EDGE_PORT=str(port), EDGE_WORKERS=workers)
        wait_for(lambda path=path: path.exists() and path.read_text(), "it starts")  # type: ignore[misc]
        pids[program] = int(path.read_text())
    edge = Edge(cluster.start("-", ["true"]), port, int(workers))
    wait_for(lambda: edge.status("/readyz") == 200, "the edge is ready")
    cluster.emitter().emit("event:a", {})
    for program in ("edge", "relay"):
        os.kill(pids[program], signal.SIGTERM)
        wait_for(lambda pid=pids[program]: has_ended(pid), f"the {program} ends")  # type: ignore[misc]
    journal = run_cli("relay", "journal", "verify", env=cluster.env)
    assert journal.returncode == 0, journal.stderr


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("program", ["relay", "edge"])
@pytest.mark.parametrize("redirection", [">&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_refusal_has_its_exit_code_without_a_reader(
    cluster: Cluster, program: str, redirection: str, unbuffered: str
) -> None:
    """Also when the interpreter writes what the stream still holds at its end."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *python("-m", program)]
    wrong = {"EDGE_PORT": "none", "RELAY_INGRESS": "none", "PYTHONUNBUFFERED": unbuffered}
    process = cluster.start(program, command, **wrong)
    process.wait_ended()
    assert process.returncode == 2


@pytest.mark.parametrize("program", ["relay", "edge"])
def test_a_process_without_memory_does_not_start(cluster: Cluster, program: str) -> None:
    process = cluster.start(program, limited("-v 150000", python("-m", program)))
    process.wait_ended()
    assert process.returncode == 2
    [line] = process.output().splitlines()
    assert line.startswith(f"event-{program}: this process may not reserve")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_crash_in_a_library_is_not_silent(cluster: Cluster, workers: str) -> None:
    """As a crash for lack of memory, which cannot be brought about at a known moment."""
    start_helping_relay(cluster)
    edge = cluster.start_edge(EDGE_WORKERS=workers)
    worker = int(next(iter(edge.connections_by_worker())))
    os.kill(worker, signal.SIGSEGV)
    wait_for(lambda: "Fatal Python error: Segmentation fault" in edge.process.output(), "a line")


def test_bounds_above_the_address_space_are_said_at_start(cluster: Cluster) -> None:
    start_helping_relay(cluster)
    command = limited("-v 1500000", python("-m", "edge"))
    port = str(free_ports(1)[0])
    edge = cluster.start("edge", command, EDGE_PORT=port, EDGE_HISTORY_BYTES=str(2**31))
    edge.wait_for_output("EDGE_HISTORY_BYTES and EDGE_MAX_QUEUED_TOTAL_BYTES allow 2304 MiB")
