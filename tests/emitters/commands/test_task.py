"""`event-emit task` runs a command that its user follows."""

import os
import signal
import subprocess
import time

import pytest

from tests.emitters.commands.shell import Line, Tail, emit
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess, python
from tests.support.waiting import wait_for


def run_task(
    cluster: Cluster, *command: str, **env: str
) -> tuple[subprocess.CompletedProcess[str], list[Line]]:
    """Run a command as alice's task; return how it ended and the task's updates."""
    tail = Tail(cluster, "task:")
    result = emit(cluster, "task", "--user", "alice", "--", *command, **env)
    lines = tail.wait_task_end()
    assert {(line["type"], line["username"]) for line in lines} == {("task_update", "alice")}
    assert len({line["topic"] for line in lines}) == 1
    return result, [line["data"] for line in lines]


def test_a_task_that_succeeds(relayed: Cluster) -> None:
    result, updates = run_task(relayed, "sh", "-c", "echo one; echo two; echo note >&2")
    assert result.returncode == 0
    assert (result.stdout, result.stderr) == ("one\ntwo\n", "note\n")
    assert updates[0]["status"] == "in_progress"
    assert updates[0]["message"] == "Task is running."
    assert updates[-1]["status"] == "success"
    assert updates[-1]["message"] == "Task completed successfully."
    assert updates[-1]["result"]["exit_code"] == 0


def test_the_last_line_of_output_is_the_message_while_it_runs(relayed: Cluster) -> None:
    """The command ends only when its last line has been seen as the task's message."""
    tail = Tail(relayed, "task:")
    seen = relayed.directory / "seen"
    seen.mkdir()
    script = f'for i in $(seq 5000); do echo "line $i"; done; while [ -d {seen} ]; do :; done'
    process = relayed.start_forked(
        "task", python("-m", "emitters", "task", "--user", "alice", "--", "sh", "-c", script)
    )
    wait_for(
        lambda: [line for line in tail.lines() if line["data"]["message"] == "line 5000"],
        "the last line is told while the command runs",
    )
    assert len(tail.lines()) < 20, "the lines between are not all told"
    seen.rmdir()
    wait_for(lambda: process.returncode is not None, "the task ends")
    assert process.returncode == 0
    assert process.output().endswith("line 5000\n")


def test_a_task_that_fails(relayed: Cluster) -> None:
    result, updates = run_task(relayed, "sh", "-c", "echo out; echo 'disk full' >&2; exit 3")
    assert result.returncode == 3
    assert updates[-1]["status"] == "error"
    assert updates[-1]["message"] == "disk full"
    assert updates[-1]["result"]["exit_code"] == 3


def test_a_task_that_fails_silently(relayed: Cluster) -> None:
    result, updates = run_task(relayed, "false")
    assert result.returncode == 1
    assert updates[-1]["message"] == "The command ended with exit code 1."


def test_a_command_that_does_not_exist(relayed: Cluster) -> None:
    result, updates = run_task(relayed, "no-such-command")
    assert result.returncode == 127
    assert result.stderr == "event-emit: no-such-command: No such file or directory\n"
    assert updates[-1]["status"] == "error"
    assert updates[-1]["result"] == {"exit_code": 127}


def test_arguments_reach_the_command_unchanged(relayed: Cluster) -> None:
    result, _ = run_task(relayed, "printf", "%s|", "--user", "bob", "a b", "--", "-x")
    assert result.stdout == "--user|bob|a b|--|-x|"


def start_waiting_task(cluster: Cluster, script: str) -> ManagedProcess:
    process = cluster.start_forked(
        "task", python("-m", "emitters", "task", "--user", "alice", "--", "sh", "-c", script)
    )
    process.wait_for_output("ready")
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_to_the_whole_command(
    relayed: Cluster, number: signal.Signals
) -> None:
    tail = Tail(relayed, "task:")
    process = start_waiting_task(relayed, "python3 -c '" + WAITING + "' ; exit 7")
    process.signal(number)
    end = tail.wait_task_end()[-1]["data"]
    assert end["status"] == "error"
    assert end["message"] == f"Stopped by {number.name}."
    wait_for(lambda: process.returncode is not None, "event-emit ends")
    assert process.returncode == end["result"]["exit_code"] == 128 + number
    child = int(process.output().split()[1])
    wait_for(lambda: not _exists(child), "the command's own child ends")


# One write, in case Python does not buffer: the signal comes as soon as "ready" is there. It is not
# left to Python, which would miss one between its last look for signals and `pause`.
WAITING = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.write(1, b"ready %d\\n" % os.getpid())
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_waits_for_the_relay_ends_it(
    cluster: Cluster, number: signal.Signals
) -> None:
    started = cluster.directory / "started"
    command = ["--timeout", "600", "--", "touch", str(started)]
    process = cluster.start_forked(
        "task", python("-m", "emitters", "task", "--user", "alice", *command)
    )
    wait_for(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1, "it waits for the relay")
    process.signal(number)
    process.wait_ended()
    assert process.returncode == 128 + number
    assert process.output() == ""
    assert not started.exists()


def test_a_command_that_ends_well_after_a_signal_is_an_error_all_the_same(
    relayed: Cluster,
) -> None:
    tail = Tail(relayed, "task:")
    process = start_waiting_task(
        relayed, "trap 'exit 0' TERM; echo ready; while true; do sleep 0.05; done"
    )
    process.signal(signal.SIGTERM)
    end = tail.wait_task_end()[-1]["data"]
    assert (end["status"], end["message"]) == ("error", "Stopped by SIGTERM.")
    assert end["result"]["exit_code"] == 0
    wait_for(lambda: process.returncode is not None, "event-emit ends")
    assert process.returncode == 0


def test_something_left_running_does_not_hold_the_task_open(relayed: Cluster) -> None:
    started_at = time.monotonic()
    result, updates = run_task(relayed, "sh", "-c", "sleep 30 & echo $!")
    os.kill(int(result.stdout), signal.SIGKILL)
    assert updates[-1]["status"] == "success"
    assert time.monotonic() - started_at < 20


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
