"""A program in a fork does what it does in a new interpreter."""

import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.forked import ROOT, can_be_forked, run_forked
from tests.support.processes import python
from tests.support.waiting import wait_for

PROGRAMS = {
    "arguments": "import sys; print(sys.argv, sys.orig_argv, sys.path[0])",
    "modules": "import sys; print(__name__, sys.modules['__main__'].__dict__ is globals())",
    "input": "import sys; print(sys.stdin.read().upper(), sys.stdin.encoding, sys.stdin.errors)",
    "unread input": "import sys; print(sys.stdin.readline())",
    "output": "import sys; print('out', end=''); print('\\udcff', file=sys.stderr)",
    "streams": "import sys; [print(s.name, s.encoding, s.errors, s.isatty()) for s in"
    " (sys.stdin, sys.stdout, sys.stderr)]",
    "code": "raise SystemExit(7)",
    "text": "raise SystemExit('a text')",
    "large code": "raise SystemExit(256 + 9)",
    "crash": "import os; os.kill(os.getpid(), 11)",
    "interrupt": "raise KeyboardInterrupt",
    "interrupted": "import os; os.kill(os.getpid(), 2); input()",
    "terminated": "import os; os.kill(os.getpid(), 15)",
    "at exit": "import atexit; atexit.register(print, 'at the end'); print('first')",
    "thread": "import threading as t; t.Timer(0.1, lambda: print('later')).start()",
    "destructor": "class A:\n def __del__(self): print('gone')\na = A(); b = [a]; b.append(b)",
    "signals": "import signal; print([signal.getsignal(n) for n in range(1, 32)])",
    "parent": "import multiprocessing as m; print(m.parent_process(), m.get_start_method(),"
    " m.current_process().name)",
    "environment": "import os; print(os.environ['WHO'], os.getcwd(), os.getpgrp() == os.getpid())",
    "not writable": "import os; os.close(1); os.open('/dev/full', 1); print('lost')",
}
MODULES = {
    "relay": ["relay", "--version"],
    "a wrong option": ["relay", "--wrong"],
    "no such module": ["relay.none"],
}


def both(command: Sequence[str], stdin: str = "") -> list[tuple[int, str, str]]:
    """Return exit code, output and errors in a fork, and in a new interpreter."""
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT), "WHO": "ann"}
    assert can_be_forked(command, env)
    ran = [
        run_forked(command, env, stdin.encode(), 30),
        subprocess.run(
            command,
            env=env,
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            start_new_session=True,
        ),
    ]
    return [(each.returncode, each.stdout, each.stderr) for each in ran]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_a_line(name: str) -> None:
    stdin = "ä" * 200_000 if "input" in name else ""
    forked, new = both(python("-c", PROGRAMS[name], "--an", "argument"), stdin)
    assert forked == new


@pytest.mark.parametrize("name", MODULES)
def test_a_module(name: str) -> None:
    forked, new = both(python("-m", *MODULES[name]))
    assert forked == new


@pytest.mark.parametrize("output", ["print", "sys.stdout.buffer.write"])
def test_without_buffers(output: str) -> None:
    written = "'a'" if output == "print" else "b'a'"
    program = f"import os, sys; {output}({written}); os.write(1, b'b'); os._exit(0)"
    forked, new = both(python("-u", "-c", program))
    assert forked == new


def test_an_error_is_told_where_it_was_raised(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.argv, __file__, sys.path[0])\n1 / 0\n")
    forked, new = both(python(str(script), "argument"))
    assert forked[:2] == new[:2]
    for _, _, error in (forked, new):
        assert error.endswith("ZeroDivisionError: division by zero\n")
        assert f'File "{script}", line 3, in <module>' in error


def test_it_has_the_modules_already(cluster: Cluster) -> None:
    script = "import sys; print('edge.app' in sys.modules, 'emitters.cli' in sys.modules)"
    process = cluster.start_forked("loaded", python("-c", script))
    process.wait_ended()
    assert process.output() == "True True\n"


def test_options_of_the_interpreter_and_its_variables_need_a_new_one() -> None:
    env = dict(os.environ)
    assert can_be_forked(python("-m", "relay"), env)
    assert not can_be_forked(python("-I", "-m", "relay"), env)
    assert not can_be_forked(["sh", "-c", "true"], env)
    assert not can_be_forked(python("-m", "relay"), env | {"PYTHONMALLOC": "malloc"})


def test_threads_start_and_end_programs() -> None:
    """Each gets the exit code of its own."""
    codes = [*range(1, 9)] * 4
    with ThreadPoolExecutor(8) as pool:
        ran = pool.map(lambda code: both(python("-c", f"raise SystemExit({code})"))[0], codes)
        assert [each[0] for each in ran] == codes


def test_workers_end_with_their_supervisor(cluster: Cluster) -> None:
    """They are in its session, and keep its port open no longer than a real supervisor's."""
    edge = cluster.start_edge(ready=False, EDGE_WORKERS="2")
    wait_for(lambda: len(edge.connections_by_worker()) == 2, "both workers answer")
    workers = [int(pid) for pid in edge.connections_by_worker()]
    assert {os.getpgid(pid) for pid in workers} == {edge.process.pid}
    edge.process.signal(signal.SIGKILL)
    wait_for(lambda: not edge.is_listening(), "the workers end", 10)
