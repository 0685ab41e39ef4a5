"""`event-emit` against a real relay, as a shell user sees it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.waiting import wait_for

Line = dict[str, Any]


class Tail:
    """A running `event-emit tail`."""

    def __init__(self, cluster: Cluster, *arguments: str) -> None:
        self._path = cluster.directory / "tail.out"
        command = python("-m", "emitters", "tail", "--egress", cluster.egress, *arguments)
        self.process = cluster.start(
            "tail", ["sh", "-c", 'exec "$@" >"$0"', str(self._path), *command]
        )
        self.process.wait_for_output("watching")

    def output(self) -> str:
        """What it has written to standard output so far."""
        return self._path.read_text()

    def lines(self) -> list[Line]:
        """The events so far."""
        complete = self.output().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in complete]

    def wait_lines(self, count: int) -> list[Line]:
        """Return the first `count` events."""
        wait_for(lambda: len(self.lines()) >= count, f"tail prints {count} events")
        return self.lines()[:count]

    def wait_task_end(self) -> list[Line]:
        """Return all updates of the first task that ended."""
        wait_for(
            lambda: any(line["data"]["status"] != "in_progress" for line in self.lines()),
            "a task ends",
        )
        return self.lines()


@pytest.fixture
def relayed(cluster: Cluster) -> Cluster:
    """A cluster whose relay runs."""
    cluster.start_relay()
    return cluster


@pytest.fixture
def tail(relayed: Cluster) -> Tail:
    """What the relay sends out, live topics excepted."""
    return Tail(relayed, "event:")


def emit(
    cluster: Cluster, *arguments: str, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `event-emit` to its end."""
    return run_cli("emitters", *arguments, env=cluster.env | env, stdin=stdin)


def test_one_event(relayed: Cluster, tail: Tail) -> None:
    result = emit(relayed, "event:after_backup", '{"server_name": "survival"}', "--user", "bob")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    [line] = tail.wait_lines(1)
    assert list(line) == [
        "epoch", "offset", "topic", "type", "data", "username", "source", "emitted_at",
        "relayed_at", "id",
    ]  # fmt: skip
    assert line["offset"] == 1
    assert line["topic"] == "event:after_backup"
    assert line["type"] == "event"
    assert line["data"] == {"server_name": "survival"}
    assert line["username"] == "bob"
    assert line["source"] == "event-emit"


def test_options_may_come_first(relayed: Cluster, tail: Tail) -> None:
    assert emit(relayed, "--name", "cron", "--type", "note", "event:x", "{}").returncode == 0
    [line] = tail.wait_lines(1)
    assert (line["source"], line["type"]) == ("cron", "note")


def test_json_lines(relayed: Cluster, tail: Tail) -> None:
    """Wrong lines are named, the others are published in order."""
    lines = [
        '{"topic": "event:a", "data": {"n": 1}}',
        "not json",
        "",
        '{"topic": "event:b"}',
        '{"topic": "eventb", "data": {}}',
        '{"topic": "event:b", "data": {}, "typ": "x"}',
        '{"topic": 5, "data": {}}',
        '{"topic": "event:c", "data": {"n": NaN}}',
        "[1]",
        '{"topic": "event:d", "data": {"n": 2}, "type": "t", "username": "ümit"}',
    ]
    result = emit(relayed, stdin="\n".join(lines))
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "event-emit: line 2: not JSON: Expecting value at character 1",
        "event-emit: line 4: data: is missing",
        "event-emit: line 5: topic: 'eventb' is not a topic: expected kind:name, "
        "the kind of a-z, 0-9 and '-'",
        "event-emit: line 6: typ: unknown field, known are topic, data, type, username",
        "event-emit: line 7: topic: must be text",
        "event-emit: line 8: data.n: nan cannot be carried by JSON",
        'event-emit: line 9: must be an object with "topic" and "data"',
    ]
    first, second = tail.wait_lines(2)
    assert (first["topic"], first["data"]) == ("event:a", {"n": 1})
    assert (second["topic"], second["type"], second["username"]) == ("event:d", "t", "ümit")


def test_many_json_lines_all_arrive_in_order(relayed: Cluster, tail: Tail) -> None:
    count = 3000
    stdin = "".join(f'{{"topic": "event:n", "data": {{"n": {n}}}}}\n' for n in range(count))
    assert emit(relayed, stdin=stdin).returncode == 0
    lines = tail.wait_lines(count)
    assert [line["data"]["n"] for line in lines] == list(range(count))
    assert [line["offset"] for line in lines] == list(range(1, count + 1))


@pytest.fixture
def open_pipe(relayed: Cluster) -> Iterator[subprocess.Popen[str]]:
    """An `event-emit` that reads lines until its input is closed."""
    process = subprocess.Popen(
        python("-m", "emitters"),
        env=dict(os.environ) | relayed.env,
        stdin=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_several_programs_publish_under_one_name_at_once(
    relayed: Cluster, tail: Tail, open_pipe: subprocess.Popen[str]
) -> None:
    """A pipe that stays open for days must not keep the others waiting."""
    assert open_pipe.stdin is not None
    open_pipe.stdin.write('{"topic": "event:piped", "data": {}}\n')
    open_pipe.stdin.flush()
    tail.wait_lines(1)
    assert emit(relayed, "event:x", "{}").returncode == 0
    assert open_pipe.poll() is None
    open_pipe.stdin.write('{"topic": "event:piped", "data": {}}\n')
    open_pipe.stdin.close()
    assert open_pipe.wait(10) == 0
    lines = tail.wait_lines(3)
    assert [line["topic"] for line in lines] == ["event:piped", "event:x", "event:piped"]
    assert {line["source"] for line in lines} == {"event-emit"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("event:x",), 'JSON: is missing; for example \'{"server_name": "survival"}\''),
        (("event:x", "{"), "JSON: not JSON: "),
        (("event:x", "[" * 100_000), "JSON: not usable JSON: "),
        (("event:x", "[1]"), "data: must be a map, not list"),
        (("event:x", '{"a": [Infinity]}'), "data.a[0]: inf cannot be carried by JSON"),
        (("event:x", '{"a": ' + "[" * 50 + "]" * 50 + "}"), "data: nested deeper than 32"),
        (("event:x", json.dumps({"a": 2**64})), "data.a: an integer must fit 64 bits"),
        (("event:a*", "{}"), "topic: 'event:a*': '*' is allowed only at the end"),
        (("task:1", "{}"), "username: a task event is always addressed to one user"),
        (("event:x", "{}", "--type", ""), "type: must have 1 to 255 characters"),
        (("event:x", "{}", "--ingress", "x"), "EMITTER_RELAY_INGRESS: must be tcp://"),
        (("task", "--user", "", "--", "true"), "username: must have 1 to 255 characters"),
    ],
)
def test_bad_input(relayed: Cluster, arguments: tuple[str, ...], problem: str) -> None:
    result = emit(relayed, *arguments)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"event-emit: {problem}")


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("--timeout", "0.3", "event:x", "{}"), ""),
        (("publish", "--timeout", "0.3"), '{"topic": "event:x", "data": {}}'),
        (("tail", "--timeout", "0.3", "event:"), ""),
        (("task", "--timeout", "0.3", "--user", "alice", "--", "touch", "{}"), ""),
    ],
)
def test_a_relay_that_cannot_be_reached(
    cluster: Cluster, arguments: tuple[str, ...], stdin: str
) -> None:
    started = cluster.directory / "started"
    given = [str(started) if each == "{}" and "task" in arguments else each for each in arguments]
    result = emit(cluster, *given, stdin=stdin, EMITTER_RELAY_EGRESS=cluster.egress)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("event-emit: the relay cannot be reached within 0.3 s; ")
    assert not started.exists()


def test_help_shows_every_form(cluster: Cluster) -> None:
    result = emit(cluster, "--help")
    assert result.returncode == 0
    for form in ("TOPIC JSON", "< EVENTS.jsonl", "tail [PREFIX]", "task --user NAME -- COMMAND"):
        assert form in result.stdout
    assert emit(cluster, "tial").returncode == 2


def test_tail_shows_only_its_prefix_and_ends_after_count(relayed: Cluster) -> None:
    tail = Tail(relayed, "event:b*", "--count", "1")
    emit(relayed, "event:a", "{}")
    emit(relayed, "event:b1", "{}")
    [line] = tail.wait_lines(1)
    assert line["topic"] == "event:b1"
    wait_for(lambda: tail.process.returncode is not None, "tail ends")
    assert tail.process.returncode == 0


def test_tail_without_prefix_shows_everything_but_the_relays_own_words(relayed: Cluster) -> None:
    tail = Tail(relayed)
    emit(relayed, "resource-monitor:lobby", '{"process_info": null}')
    emit(relayed, "event:x", "{}")
    assert {line["topic"] for line in tail.wait_lines(2)} == {"resource-monitor:lobby", "event:x"}


def test_tail_for_people_obeys_no_control_characters(relayed: Cluster) -> None:
    tail = Tail(relayed, "event:", "--pretty")
    emit(relayed, "--name", "evil\x1b[2J", "event:x", '{"text": "\\u009b2J", "name": "é"}')
    wait_for(lambda: '"name": "é"' in tail.output(), "tail prints the event")
    assert "event:x #1 from evil�[2J" in tail.output()
    assert "\x1b" not in tail.output()
    assert "\x9b" not in tail.output()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_ends_cleanly_on_a_signal(tail: Tail, number: signal.Signals) -> None:
    tail.process.signal(number)
    wait_for(lambda: tail.process.returncode is not None, "tail ends")
    assert tail.process.returncode == 0
    assert len(tail.process.output().splitlines()) == 1


@pytest.fixture
def piped_tail(relayed: Cluster) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        python("-m", "emitters", "tail", "--egress", relayed.egress),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_tail_ends_when_its_reader_does(piped_tail: subprocess.Popen[str]) -> None:
    """Without waiting for the next event, and without a complaint."""
    assert piped_tail.stdout is not None
    assert piped_tail.stderr is not None
    assert "watching" in piped_tail.stderr.readline()
    piped_tail.stdout.close()
    assert piped_tail.wait(5) == 0
    assert piped_tail.stderr.read() == ""


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
    process = relayed.start(
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
    process = cluster.start(
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


# One write, in case Python does not buffer: the signal comes as soon as "ready" is there.
WAITING = 'import os, signal; os.write(1, b"ready %d\\n" % os.getpid()); signal.pause()'


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
