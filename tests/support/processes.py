"""Real processes under test, with the packages of this checkout."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from relay.testing import processes
from relay.testing.processes import STOP_TIMEOUT_S, python
from tests.support.forked import ROOT, ForkedProcess, can_be_forked

__all__ = ["ROOT", "STOP_TIMEOUT_S", "ManagedProcess", "python", "run_cli"]


class ManagedProcess(processes.ManagedProcess):
    """A child process that finds the packages of this checkout."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], cwd: Path = ROOT
    ) -> None:
        super().__init__(name, command, {"PYTHONPATH": str(ROOT)} | dict(env), cwd)

    def start_forked(self) -> None:
        """Start it with its modules loaded, if that makes no other difference."""
        if self._cwd is not None and can_be_forked(self._command, self._env):
            module, output = self._command[-1], self._output.fileno()
            self._process = ForkedProcess(module, self._env, self._cwd, output)
        else:
            self.start()


def run_cli(
    *arguments: str, env: Mapping[str, str], stdin: str = "", timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run `python -m arguments…` to its end."""
    return subprocess.run(
        python("-m", *arguments),
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)} | dict(env),
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
