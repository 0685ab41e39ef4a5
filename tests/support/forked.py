"""Programs that begin in a fork of a process which has their modules already.

Python takes most of a second of CPU to import the modules of an edge, and the suite starts many.
Such a program is a process of its own, with its own session, environment and standard streams.
Tests of the start itself, and programs with other needs, begin with a new interpreter.
"""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import connection, reduction
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.support.fork import FLAGS, run

ROOT = Path(__file__).resolve().parents[2]
_READ_AT_THE_START = ("PYTHON", "LC_", "LANG", "TZ", "MALLOC_", "LD_", "GLIBC_")
"""Of such variables the interpreter, or a library of C, reads the value once."""
_ENDS_WITHIN_S = 5.0
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.loaded"])
_lock = threading.Lock()
"""A start asks for the exit codes of all others; of two threads that read one, one gets it."""


def can_be_forked(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether the program `command` does the same in a fork."""
    is_ours = len(command) > 1 and command[0] == sys.executable
    has_options = is_ours and command[1].startswith("-") and command[1] not in FLAGS
    differs = any(
        os.environ.get(name) != env.get(name)
        for name in (os.environ.keys() | env.keys()) - {"PYTHONPATH"}
        if name.startswith(_READ_AT_THE_START)
    )
    return is_ours and not has_options and not differs


class ForkedProcess:
    """Has those methods of `subprocess.Popen` that tests use."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, streams: Sequence[int]
    ) -> None:
        """Begin; `streams` are the descriptors of the standard input, output and error."""
        descriptors = tuple(map(_Descriptor, streams))
        arguments = (list(command), dict(env), str(cwd), descriptors)
        self._process: BaseProcess = _context.Process(target=run, args=arguments)
        with _lock:
            self._process.start()
        assert self._process.pid is not None, "it was started"
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        with _lock:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit code. Raises `subprocess.TimeoutExpired`."""
        connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()


def run_forked(
    command: Sequence[str], env: Mapping[str, str], stdin: bytes, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, as `subprocess.run` does, in the directory of this checkout."""
    (input_r, input_w), (output_r, output_w), (error_r, error_w) = [os.pipe() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        try:
            process = ForkedProcess(command, env, ROOT, [input_r, output_w, error_w])
        finally:
            for theirs in (input_r, output_w, error_w):
                os.close(theirs)
            pool.submit(_write, input_w, stdin)
            output, error = pool.submit(_read, output_r), pool.submit(_read, error_r)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
            process.wait(_ENDS_WITHIN_S)
        return subprocess.CompletedProcess(command, code, output.result(), error.result())


def _write(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb", buffering=0) as stream, suppress(BrokenPipeError):
        while data:
            data = data[stream.write(data) :]


def _read(descriptor: int) -> str:
    with open(descriptor, "rb") as stream:
        return stream.read().decode().replace("\r\n", "\n").replace("\r", "\n")


class _Descriptor:
    """An open file on its way to the new process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self._number),)


def _received(duplicate: Any) -> int:
    return int(duplicate.detach())
