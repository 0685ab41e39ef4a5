"""Real processes under test, with the packages of this checkout."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from relay.testing import processes
from relay.testing.processes import STOP_TIMEOUT_S, python
from tests.support.forked import ROOT, ForkedProcess, can_be_forked, run_forked

__all__ = ["ROOT", "STOP_TIMEOUT_S", "ManagedProcess", "python", "run_cli", "run_new"]


class ManagedProcess(processes.ManagedProcess):
    """A child process that finds the packages of this checkout."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], cwd: Path = ROOT
    ) -> None:
        super().__init__(name, command, {"PYTHONPATH": str(ROOT)} | dict(env), cwd)

    def start_forked(self, stdout: Path | None = None) -> None:
        """Start it with its modules loaded, if that makes no other difference.

        With `stdout`, its standard output goes to that file, and `output` has its errors.
        """
        if self._cwd is None or not can_be_forked(self._command, self._env):
            assert stdout is None, "only a fork has a standard output of its own"
            self.start()
            return
        with ExitStack() as stack:
            nothing = stack.enter_context(open(os.devnull)).fileno()
            error = output = self._output.fileno()
            if stdout is not None:
                output = stack.enter_context(stdout.open("wb")).fileno()
            streams = [nothing, output, error]
            self._process = ForkedProcess(self._command, self._env, self._cwd, streams)


def run_cli(
    *arguments: str, env: Mapping[str, str], stdin: str = "", timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run `python -m arguments…` to its end, in a fork if that makes no other difference."""
    command, env = python("-m", *arguments), _environment(env)
    if can_be_forked(command, env):
        return run_forked(command, env, stdin.encode(), timeout)
    return run_new(*arguments, env=env, stdin=stdin, timeout=timeout)


def run_new(
    *arguments: str, env: Mapping[str, str], stdin: str = "", timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run `python -m arguments…` to its end, in a new interpreter."""
    return subprocess.run(
        python("-m", *arguments),
        env=_environment(env),
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": str(ROOT)} | dict(env)
