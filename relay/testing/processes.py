"""Real processes under test. The code that starts a process also ends it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from relay.testing.waiting import wait_for

STOP_TIMEOUT_S = 20.0


class Process(Protocol):
    """Those parts of `subprocess.Popen` that are needed here."""

    pid: int

    def poll(self) -> int | None:
        """See `subprocess.Popen`, also for the other methods."""

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...

    def terminate(self) -> None: ...


class ManagedProcess:
    """A child process whose output is kept for failure messages."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        """Run `command` with `env` beside the environment of this process."""
        self.name = name
        self._command = list(command)
        self._cwd = cwd
        self._env = dict(os.environ) | dict(env)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, in a process group of its own."""
        self._process = subprocess.Popen(
            self._command,
            env=self._env,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def output(self) -> str:
        """Return its output so far."""
        # `pread`, not `seek`: the child shares the file position and writes there.
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def wait_for_output(self, text: str, timeout: float = 30.0) -> None:
        """Wait until it has printed `text`."""

        def printed() -> bool:
            # Asked first: a process that has ended has printed all that it will.
            has_ended = self.returncode is not None
            is_printed = text in self.output()
            assert is_printed or not has_ended, f"{self.name} ended early:\n{self.output()}"
            return is_printed

        wait_for(printed, f"{self.name} prints {text!r}", timeout)

    def wait_ended(self, timeout: float = STOP_TIMEOUT_S) -> None:
        """Wait until it has ended by itself."""
        try:
            wait_for(lambda: self.returncode is not None, f"{self.name} ends", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.output()}") from None

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`, and wait for the end."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_S)

    def terminate(self, timeout: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM; return the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        return self._process.wait(timeout)

    def close(self) -> None:
        """Kill the process and all processes of its group."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # It has its group a moment after it was started.
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_S)
        self._output.close()


def python(*arguments: str) -> list[str]:
    """Return the command that runs Python with `arguments`."""
    return [sys.executable, *arguments]
