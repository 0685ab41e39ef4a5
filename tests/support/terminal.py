"""A shell in a directory, for the commands of a page in the order in which it has them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import ROOT, ManagedProcess

PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
_END = "that is the end of"
_CONTINUED = re.compile(r"\\\n\s*")


def typed(block: str) -> list[tuple[str, str]]:
    """Return the commands of a block, each with the text that its comment says it prints."""
    found = []
    for line in _CONTINUED.sub("", block).splitlines():
        command, _, printed = line.partition("   #")
        if command.strip() and not command.startswith("#"):
            found.append((command.strip(), printed.strip()))
    return found


class Terminal:
    """A machine of its own to the commands: a home, and none of our variables."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.env: Mapping[str, str] = {
            "HOME": str(home),
            "PATH": PATH,
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }
        self.home = home
        self._shell = subprocess.Popen(
            ("/bin/sh",),
            cwd=home,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._programs: dict[str, ManagedProcess] = {}

    def type(self, command: str) -> tuple[int, str]:
        """Type a command; return its exit status and output."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\ncode=$?; echo; echo {_END} $code\n")
        self._shell.stdin.flush()
        output = ""
        for line in self._shell.stdout:
            if line.startswith(_END):
                return int(line.removeprefix(_END)), output.removesuffix("\n")
            output += line
        raise AssertionError(f"the shell has ended: {output}")

    def start(self, command: str) -> ManagedProcess:
        """Type a command in a terminal of its own; Ctrl-C ends the one like it before."""
        if (before := self._programs.get(command)) is not None:
            os.killpg(before.pid, signal.SIGINT)
            before.wait_ended()
        program = ManagedProcess(command, ("/bin/sh", "-c", command), self.env, self.home)
        self._programs[command] = program
        program.start()
        return program

    def close(self) -> None:
        """End the shell and all programs."""
        for program in self._programs.values():
            program.close()
        self._shell.kill()
        self._shell.communicate()
