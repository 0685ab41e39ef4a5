"""Programs that begin in a fork of a process which has their modules already.

Python takes most of a second of CPU to import the modules of an edge, and the suite starts many.
Such a program is a process of its own, with its own session, environment and output. Tests of the
start itself, and programs with other needs, begin with a new interpreter.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import process, reduction
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from relay.shared.program import ALLOCATOR

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("relay", "edge")
LOADED = ["relay.cli", "relay.server", "edge.cli", "edge.worker", "edge.app", "edge.uvicorn"]
_READ_AT_THE_START = ("PYTHON", "LC_", "LANG", "TZ", "MALLOC_", "LD_", "GLIBC_")
"""Of such variables the interpreter, or a library of C, reads the value once."""
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(LOADED)


def can_be_forked(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether the program `command` does the same in a fork: it serves, as one process."""
    is_ours = len(command) == 3 and command[0] == sys.executable and command[1] == "-m"
    loaded = os.environ | {"PYTHONPATH": str(ROOT)}
    differs = any(
        loaded.get(name) != env.get(name)
        for name in loaded.keys() | env.keys()
        if name.startswith(_READ_AT_THE_START)
    )
    has_workers = env.get("EDGE_WORKERS", "1") != "1"
    return is_ours and command[2] in MODULES and not differs and not has_workers


class ForkedProcess:
    """Has those methods of `subprocess.Popen` that tests use."""

    def __init__(self, module: str, env: Mapping[str, str], cwd: Path, output: int) -> None:
        """Begin; `output` is the descriptor that takes the standard output and error."""
        arguments = (module, dict(env), str(cwd), _Descriptor(output))
        self._process: BaseProcess = _context.Process(target=_run, args=arguments)
        self._process.start()
        assert self._process.pid is not None, "it was started"
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit code. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()


class _Descriptor:
    """An open file on its way to the new process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self._number),)


def _received(duplicate: Any) -> int:
    return int(duplicate.detach())


def _run(module: str, env: Mapping[str, str], cwd: str, output: int) -> None:
    """Be the program from here on."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    # A fork cannot begin again.
    os.environ.setdefault(ALLOCATOR, "default")
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # An edge with a parent in this sense is a worker: it leaves Ctrl-C and its own end to it.
    process._parent_process = None  # type: ignore[attr-defined]
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
