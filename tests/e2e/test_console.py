"""No command answers a user's terminal, pipe, signal or number with a traceback."""

import contextlib
import json
import os
import signal
import subprocess
import time
from contextlib import ExitStack
from tempfile import TemporaryFile

import pytest

from tests.emitters.commands.shell import emit
from tests.support.cluster import Cluster
from tests.support.forked import ForkedProcess, run_forked
from tests.support.processes import ROOT, python, run_cli
from tests.support.waiting import wait_for

TIMEOUT_S = 30.0

COMMANDS = {
    "stats": ["relay", "stats"],
    "journal list": ["relay", "journal", "list"],
    "journal tail": ["relay", "journal", "tail", "event"],
    "token": ["edge", "token", "alice"],
    "publish": ["emitters", "live:x", "{}"],
    "tail": ["emitters", "tail", "--count", "1"],
    "task": ["emitters", "task", "--user", "alice", "--", "echo", "done"],
    "emit help": ["emitters", "--help"],
}
SILENT = {"publish"}
"""Commands that write nothing."""
STREAMS = {
    "stdout is full": ">/dev/full",
    "all are closed": "<&- >&- 2>&-",
    "the reader is gone": "| true",
}


@pytest.fixture(scope="module")
def running(shared_cluster: Cluster) -> Cluster:
    """A relay, and somebody who emits an event every moment for `tail`."""
    source = 'while echo \'{"topic": "event:✓", "data": {"t": "é 日 🎉"}}\'; do sleep 0.1; done'
    shared_cluster.start(
        "source", ["sh", "-c", f'({source}) | exec "$@"', "-", *python("-m", "emitters")]
    )
    shared_cluster.env["EMITTER_RELAY_EGRESS"] = shared_cluster.egress
    tail = COMMANDS["journal tail"]
    wait_for(lambda: run_in_shell(shared_cluster, tail, "").stdout, "the journal has an event")
    return shared_cluster


def run_in_shell(
    cluster: Cluster, command: list[str], redirection: str, **env: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirection}', "-", *python("-m", *command)],
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)} | cluster.env | env,
        cwd=ROOT,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def run_with_output(
    cluster: Cluster, command: list[str], streams: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a fork with the output that the shell would give it."""
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)} | cluster.env
    with ExitStack() as stack:
        nothing = stack.enter_context(open(os.devnull)).fileno()
        errors = stack.enter_context(TemporaryFile())
        if streams == "stdout is full":
            output = stack.enter_context(open("/dev/full", "wb")).fileno()
        else:
            reader, writer = (stack.enter_context(open(end, mode)) for end, mode in open_pipe())
            reader.close()
            output = writer.fileno()
        process = ForkedProcess(
            python("-m", *command), env, ROOT, [nothing, output, errors.fileno()]
        )
        stack.callback(process.kill)
        code = process.wait(TIMEOUT_S)
        errors.seek(0)
        return subprocess.CompletedProcess(command, code, b"", errors.read())


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("name", COMMANDS)
def test_streams_that_cannot_be_used(running: Cluster, name: str, streams: str) -> None:
    if name == "stats" or streams == "all are closed":
        result = run_in_shell(running, COMMANDS[name], STREAMS[streams])
    else:
        result = run_with_output(running, COMMANDS[name], streams)
    text = result.stderr.decode()
    assert "Traceback" not in text
    assert "Exception ignored" not in text
    assert len(text.splitlines()) <= 2
    if streams == "stdout is full" and name not in SILENT | {"task"}:
        assert result.returncode == 1
        assert "cannot write the output: No space left on device" in text
    elif streams != "the reader is gone":
        assert result.returncode == 0, text


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("name", ["tail", "tail --pretty", "journal tail"])
def test_terminals_of_other_encodings(running: Cluster, name: str, encoding: str) -> None:
    command = ["emitters", "tail", "event:", "--count", "1"]
    if name == "tail --pretty":
        command.append("--pretty")
    elif name == "journal tail":
        wait_for(lambda: journaled(running), "an event is journaled")
        command = ["relay", "journal", "tail", "event", "-n", "1"]
    result = run_in_shell(running, command, "", PYTHONIOENCODING=encoding)
    assert b"Traceback" not in result.stderr
    assert result.returncode == 0
    text = result.stdout.decode(encoding)
    if name == "tail --pretty":
        assert ("日" if encoding == "utf-8" else "\\u65e5") in text
    else:
        # Whoever reads the bytes as JSON, which is UTF-8, finds the same event.
        event = json.loads(result.stdout.decode())
        assert (event["topic"], event["data"]) == ("event:✓", {"t": "é 日 🎉"})


def journaled(cluster: Cluster) -> bool:
    result = run_cli("relay", "journal", "tail", "event", "-n", "1", env=cluster.env)
    return "event:" in result.stdout


BOM = "\ufeff"


def test_a_mark_of_utf_8_before_the_text_is_no_error(running: Cluster) -> None:
    """Some editors and shells write it; files that are concatenated have it in the middle."""
    line = '{"topic": "live:bom", "data": {}}\n'
    for stdin in (f"{BOM}{line}", f"{BOM}{line}{BOM}\n{BOM}{line}", f"{BOM}"):
        result = emit(running, stdin=stdin)
        assert (result.returncode, result.stderr) == (0, "")
    assert emit(running, "live:bom", f"{BOM}{{}}").returncode == 0


@pytest.mark.parametrize(
    ("stdin", "problem"),
    [
        (b'{"topic": "event:\xff", "data": {}}\n', "line 1: not UTF-8: invalid start byte"),
        ('{"topic": "event:x"}\n'.encode("utf-16"), "line 1: not UTF-8: invalid start byte"),
        (b"\xff\xff\n\x00\n", "line 2: not JSON"),
    ],
)
def test_input_that_is_not_utf_8_is_named(running: Cluster, stdin: bytes, problem: str) -> None:
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)} | running.env
    result = run_forked(python("-m", "emitters"), env, stdin, TIMEOUT_S)
    assert result.returncode == 2
    assert problem in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("stdin", "code", "text"),
    [
        ("\ufeffpässword".encode(), 0, "Added"),
        (b"\xff\xfe\n", 1, "the password is not UTF-8"),
    ],
)
def test_passwords_on_standard_input(running: Cluster, stdin: bytes, code: int, text: str) -> None:
    name = f"user{code}"
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)} | running.env
    command = python("-m", "edge", "user", "add", name, "--password-stdin")
    result = run_forked(command, env, stdin, TIMEOUT_S)
    output = result.stdout + result.stderr
    assert result.returncode == code, output
    assert text in output
    assert "Traceback" not in output


INTERRUPTED = {
    "publish": (["emitters", "event:x", "{}", "--timeout", "60"], False),
    "lines": (["emitters"], True),
    "tail": (["emitters", "tail"], True),
    "tail without a relay": (["emitters", "tail", "--timeout", "60"], False),
    "stats": (["relay", "stats", "--timeout", "60"], False),
    "journal tail": (["relay", "journal", "tail", "-f"], True),
    "relay": (["relay"], False),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", INTERRUPTED)
def test_several_interrupts(running: Cluster, cluster: Cluster, name: str, count: int) -> None:
    """The commands that wait get them while they wait, and while they end."""
    arguments, needs_relay = INTERRUPTED[name]
    used = running if needs_relay else cluster
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)} | used.env
    with ExitStack() as stack:
        stdin, lines = (stack.enter_context(open(end, mode)) for end, mode in open_pipe())
        output = stack.enter_context(TemporaryFile())
        streams = [stdin.fileno(), output.fileno(), output.fileno()]
        process = ForkedProcess(python("-m", *arguments), env, ROOT, streams)
        stack.callback(process.kill)
        wait_for(lambda: handles_interrupts(process.pid), "it has begun")
        for _ in range(count):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
            time.sleep(0)
        lines.close()
        process.wait(TIMEOUT_S)
        output.seek(0)
        text = output.read()
    assert b"Traceback" not in text
    assert b"Exception ignored" not in text


def open_pipe() -> list[tuple[int, str]]:
    """Return both ends of a pipe, with their modes."""
    reader, writer = os.pipe()
    return [(reader, "rb"), (writer, "wb")]


def handles_interrupts(pid: int) -> bool:
    """Whether the process has the sockets or files that it works with."""
    with open(f"/proc/{pid}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt:"))
    catches = int(caught.split()[1], 16) & 1 << (signal.SIGINT - 1)
    # The first threads are those of ZeroMQ; `journal tail` has none.
    threads = len(os.listdir(f"/proc/{pid}/task"))
    return bool(catches) and (threads > 1 or opened(pid, "journal.db"))


def opened(pid: int, name: str) -> bool:
    """Whether the process has a file of that name open."""
    folder = f"/proc/{pid}/fd"
    links = []
    for each in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"{folder}/{each}"))
    return any(link.endswith(f"/{name}") for link in links)
