"""One server of a manager: a child process to start, command and stop."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Literal

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 0.8
COMMAND_TIMEOUT_S = 2.0

Status = Literal["RUNNING", "STOPPED", "CRASHED"]


class ServerError(RuntimeError):
    """The server did not execute a request; the text has the reason."""


class ServerProcess:
    """One server process. Used by one thread at a time.

    `on_crash` gets name and process id of a server that ended by itself. It is called from another
    thread; the thread that uses the server then passes the id to `note_crash`.
    """

    def __init__(self, name: str, folder: Path, on_crash: Callable[[str, int], None]) -> None:
        self.name = name
        self.folder = folder
        self.status: Status = "STOPPED"
        self._asked_to_end = False
        self._on_crash = on_crash
        self._process: subprocess.Popen[str] | None = None
        self._port: int | None = None
        self._interrupted: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    @property
    def pid(self) -> int | None:
        """The id of the running process."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether the process was started, and has not been stopped or found ended."""
        return self.status == "RUNNING"

    def start(self) -> None:
        """Start the process and wait until it listens, or raise `ServerError`."""
        if self.is_running:
            raise ServerError(f"{self.name} is running already")
        process = subprocess.Popen(
            [sys.executable, "-m", "relay.demo.server", str(self.folder / "world")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # The manager alone reacts to a signal for its process group.
            start_new_session=True,
        )
        ports: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._interrupted = ports
        self._process = process
        self._asked_to_end = False
        threading.Thread(target=self._attend, args=(process, ports), daemon=True).start()
        with contextlib.suppress(queue.Empty):
            self._port = ports.get(timeout=START_TIMEOUT_S)
        if self._port is None:
            self._asked_to_end = True
            _end(process)
            raise ServerError(f"{self.name} did not start")
        self.status = "RUNNING"

    def interrupt(self) -> None:
        """Cancel a waiting `start`. Safe to call from a signal handler."""
        self._interrupted.put(None)

    def stop(self) -> None:
        """Stop the process and wait for its end, or raise `ServerError`."""
        if self._process is None or not self.is_running:
            raise ServerError(f"{self.name} is not running")
        self.status = "STOPPED"
        self._asked_to_end = True
        self._port = None
        _end(self._process)

    def send_command(self, command: str) -> str:
        """Return the answer of the server's console, or raise `ServerError`."""
        if self._port is None:
            raise ServerError(f"{self.name} is not running")
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/command",
            data=json.dumps({"command": command}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=COMMAND_TIMEOUT_S) as response:
                return str(json.load(response)["output"])
        except OSError as error:
            raise ServerError(f"{self.name} does not answer: {error}") from None

    def note_crash(self, pid: int) -> str | None:
        """Record the end of process `pid`; return how it ended, or None if that is known."""
        if self._process is None or self.pid != pid:
            return None
        self.status = "CRASHED"
        self._port = None
        return f"{self.name} ended with exit code {self._process.returncode}"

    def _attend(
        self, process: "subprocess.Popen[str]", ports: "queue.SimpleQueue[int | None]"
    ) -> None:
        """Pass on the port, then wait for the end of the process."""
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        ports.put(int(line) if line.isdigit() else None)
        process.wait()
        if not self._asked_to_end:
            self._on_crash(self.name, process.pid)


def _end(process: "subprocess.Popen[str]") -> None:
    """End the process by closing its standard input; after a time by force."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
