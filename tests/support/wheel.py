"""The wheel of this checkout, and environments into which it is installed."""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

import pytest

from relay.testing.processes import ManagedProcess
from tests.support.processes import ROOT

BUILD_TIMEOUT_S = 100
INSTALL_TIMEOUT_S = 280
NO_INDEX = "connection broken"
"""Of pip, which cannot reach an index."""


def build_wheel(directory: Path) -> Path:
    """Build the wheel in `directory` and return its path."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=BUILD_TIMEOUT_S,
    )
    [wheel] = directory.glob("*.whl")
    return wheel


class Installed:
    """A bare environment with the wheel and its dependencies, as a user's pip installs them."""

    def __init__(self, directory: Path, wheel: Path, extra: str = "") -> None:
        """Install the wheel with `extra`, such as `[edge]`; skip the test without an index."""
        self.directory = directory
        venv.create(directory, symlinks=True)
        self.python = str(directory / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check"]
        ran = subprocess.run(
            [*pip, "install", "--quiet", f"{wheel}{extra}"],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        if NO_INDEX in ran.stderr and ran.returncode != 0 and os.environ.get("CI") != "true":
            pytest.skip("pip reaches no package index")
        assert ran.returncode == 0, ran.stderr
        [site] = directory.glob("lib/python*/site-packages")
        self.packages = {each.name.lower() for each in distributions(path=[str(site)])}

    def program(self, name: str) -> str:
        """Return the path of an installed program."""
        return str(self.directory / "bin" / name)

    def run(self, *command: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run `command` far from the checkout, to its end."""
        return subprocess.run(
            command,
            env=dict(os.environ) | {"PYTHONPATH": ""} | env,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, env: Mapping[str, str], *command: str) -> ManagedProcess:
        """Start `command` far from the checkout. The caller closes it."""
        process = ManagedProcess(command[0], command, {"PYTHONPATH": "", **env}, cwd=self.directory)
        process.start()
        return process
