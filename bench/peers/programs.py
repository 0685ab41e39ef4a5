"""Finds the programs of peers, runs them, and reads their versions."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import ManagedProcess

VERSION = re.compile(r"\d+\.\d+[\w.]*")
ELSEWHERE = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/sbin:/sbin"
"""Directories to search besides the user's path."""


def find_program(name: str) -> str | None:
    """Return the path of a program; None if it is not installed."""
    return shutil.which(name) or shutil.which(name, path=ELSEWHERE)


def program(name: str) -> str:
    """Return the path of an installed program."""
    path = find_program(name)
    assert path is not None, f"{name} is not installed"
    return path


def program_version(*command: str) -> str:
    """Return the first version number in the output of an installed program."""
    said = subprocess.run(
        [program(command[0]), *command[1:]], capture_output=True, text=True, check=False
    )
    found = VERSION.search(said.stdout + said.stderr)
    return found[0] if found else ""


@contextmanager
def run_program(name: str, command: Sequence[str], ready: str) -> Iterator[int]:
    """Run a server, wait until it prints `ready`, and yield its process id."""
    process = ManagedProcess(name, command, {})
    process.start()
    try:
        process.wait_for_output(ready)
        yield process.pid
    finally:
        process.close()
