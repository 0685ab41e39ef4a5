"""An emitter needs neither POSIX nor a web framework; relay and edge say that they need POSIX."""

import subprocess
import sys
from pathlib import Path

import pytest

from relay.testing.emitted import EmittedEvents
from tests.emitters.relay_control import read_journal
from tests.support.cluster import Cluster
from tests.support.processes import ROOT, python, run_cli

HEAVY = {
    "argon2",
    "click",
    "edge",
    "fastapi",
    "httptools",
    "jwt",
    "multipart",
    "prometheus_client",
    "psutil",
    "starlette",
    "uvicorn",
    "uvloop",
    "websockets",
}
NEEDED = {"msgpack", "pydantic", "pydantic_core", "pydantic_settings", "zmq"}
ON_WINDOWS = "from tests.support.windows import become\nbecome()\n"
NEEDS_POSIX = "needs a POSIX system, such as Linux, macOS, or WSL under Windows"


def run(script: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        python("-c", script),
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.process
def test_importing_emitters_loads_little() -> None:
    result = run(
        "import sys, emitters\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert loaded >= NEEDED
    # `subprocess` itself loads `fcntl`.
    assert loaded & (HEAVY | {"resource", "termios"}) == set()


@pytest.mark.process
@pytest.mark.parametrize("module", ["emitters.tasks", "emitters.decorators", "emitters.resources"])
def test_the_rest_of_the_emitter_side_needs_no_web_framework(module: str) -> None:
    result = run(f"import sys, {module}\nprint(*{{n.partition('.')[0] for n in sys.modules}})")
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) & (HEAVY - {"psutil"}) == set()


def test_an_emitter_works_without_posix(cluster: Cluster) -> None:
    cluster.start_relay()
    # Libraries first: theirs look for modules of Linux, or then for those of Windows.
    script = (
        "import asyncio, multiprocessing.util, sys, psutil, pydantic_settings, zmq\n"
        + ON_WINDOWS
        + "sys.platform = 'win32'\n"
        "from emitters import Emitter\n"
        "from emitters.tasks import TaskManager\n"
        "from emitters.resources import ResourceMonitor\n"
        "with Emitter(name='windows') as emitter:\n"
        "    for n in range(1, 1001):\n"
        "        emitter.emit('event:x', {'n': n})\n"
        "    tasks = TaskManager(emitter)\n"
        "    tasks.run_task(int, 'alice')\n"
        "    assert tasks.shutdown() == 0\n"
        "    assert emitter.close(30) == 0\n"
        "assert 'fcntl' not in sys.modules\n"
    )
    process = cluster.start("windows", python("-c", script))
    process.wait_ended(60)
    assert process.output() == ""
    assert process.returncode == 0
    numbers = [event.data["n"] for event in read_journal(cluster.control)]
    assert numbers == list(range(1, 1001))
    assert len(read_journal(cluster.control, "task")) == 2


@pytest.mark.usefixtures("event_relay")
def test_event_emit_works_without_posix(emitted: EmittedEvents) -> None:
    script = ON_WINDOWS + (
        "import sys\n"
        "sys.argv[1:] = ['event:x', '{\"n\": 1}']\n"
        "from emitters.__main__ import main\n"
        "main()\n"
    )
    ran = run(script)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
    assert emitted("event:x") == {"n": 1}
    emitted.none("*", within=0)


@pytest.mark.process
def test_a_spool_without_posix_is_refused_in_one_line(tmp_path: Path) -> None:
    result = run(
        ON_WINDOWS + "from emitters import Emitter, SpoolRefused\n"
        "try:\n"
        f"    Emitter(spool={str(tmp_path / 'spool')!r})\n"
        "except SpoolRefused as error:\n"
        "    print(error)\n"
    )
    assert result.stdout == f"EMITTER_SPOOL: this part of Event Relay {NEEDS_POSIX}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("relay", []),
        ("relay", ["stats"]),
        ("edge", []),
        ("edge", ["user", "list"]),
        ("emitters", ["task", "--user", "alice", "--", "true"]),
    ],
)
def test_the_others_say_that_they_need_posix(program: str, arguments: list[str]) -> None:
    result = run(
        ON_WINDOWS + f"import sys\nsys.argv[1:] = {arguments!r}\n"
        f"from {program}.__main__ import main\nmain()\n"
    )
    assert result.returncode == 2
    name = {"relay": "event-relay", "edge": "event-edge", "emitters": "event-emit task"}[program]
    assert result.stderr == f"{name}: {NEEDS_POSIX}\n"


@pytest.mark.process
def test_the_application_for_other_servers_says_it_in_the_last_line() -> None:
    result = run(ON_WINDOWS + "import edge.app")
    last = result.stderr.splitlines()[-1]
    assert last == f"ImportError: this part of Event Relay {NEEDS_POSIX}"


@pytest.mark.process
def test_the_programs_run_here() -> None:
    """The tests above could pass if nothing ran anywhere."""
    assert sys.platform != "win32"
    assert run_cli("relay", "--help", env={}).returncode == 0
