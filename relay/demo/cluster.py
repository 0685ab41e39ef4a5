"""`DemoCluster`: relay, edge and two demo managers in a temporary directory."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from relay.demo.welcome import is_ready

USERS = {"alice": "admin", "bob": "user"}
MANAGERS = {"manager-1": "survival,creative", "manager-2": "skyblock,lobby"}
PASSWORD_BYTES = 12
STOP_WITHIN_S = 5.0
LOOK_S = 0.1
LONGEST_DIRECTORY = 60
"""Sockets of the relay are in the directory, and the path of a socket has 107 bytes."""
OUR_VARIABLES = ("RELAY_", "EDGE_", "EMITTER_", "EVENT_RELAY_")


class PartError(RuntimeError):
    """A part of the demo has ended by itself."""

    def __init__(self, name: str, exit_code: int) -> None:
        super().__init__(f"{name} has ended with exit code {exit_code}")
        self.exit_code = exit_code


class DemoCluster:
    """Starts the parts at the begin of its `with` block and ends them at its end.

    It leaves nothing behind, and no setting of the user's counts. The page is at `url`.
    """

    def __init__(self, port: int | None = None) -> None:
        """Take `port` for the page, or a free one."""
        self._port = _free_port() if port is None else port
        self.passwords = {user: secrets.token_urlsafe(PASSWORD_BYTES) for user in USERS}
        """By user; new ones for each demo."""
        self.url = f"http://127.0.0.1:{self._port}"
        self._stack = ExitStack()
        self._parts: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "DemoCluster":
        with ExitStack() as stack:
            place = tempfile.gettempdir()
            self._directory = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(
                        prefix="event-relay-demo-",
                        dir="/tmp" if len(os.fsencode(place)) > LONGEST_DIRECTORY else place,
                        # A killed part may still write.
                        ignore_cleanup_errors=True,
                    )
                )
            )
            self._env = _environment(self._directory, self._port)
            self._start(stack, "relay", "relay")
            for user, role in USERS.items():
                self._add_user(user, role)
            self._start(stack, "edge", "edge")
            stack.enter_context(managers := ExitStack())
            for name, servers in MANAGERS.items():
                options = ["--servers", servers, "--data-dir", str(self._directory / name)]
                users = ["--user", "alice", "--user", "bob"]
                self._start(managers, name, "relay.demo", name, *options, *users)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # Told at once, so that they stop side by side.
        for name in MANAGERS:
            self._parts[name].terminate()
        self._stack.close()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the edge follows the relay. Raises `PartError`."""
        give_up_at = time.monotonic() + timeout_s
        while not is_ready(f"{self.url}/readyz"):
            self._check()
            if time.monotonic() > give_up_at:
                return False
            time.sleep(LOOK_S)
        return True

    def wait(self) -> None:
        """Wait until a part ends by itself, and raise `PartError`."""
        while True:
            self._check()
            time.sleep(LOOK_S)

    def _check(self) -> None:
        for name, process in self._parts.items():
            if process.poll() is not None:
                raise PartError(name, process.returncode)

    def _start(self, stack: ExitStack, name: str, *arguments: str) -> None:
        process = subprocess.Popen(
            _python("relay.demo.part", *arguments),
            env=self._env,
            cwd=self._directory,
            stdin=subprocess.PIPE,
            # Ctrl-C in a terminal is for this process, which ends the parts in their order.
            start_new_session=True,
        )
        self._parts[name] = process
        stack.callback(_end, process)

    def _add_user(self, name: str, role: str) -> None:
        subprocess.run(
            _python("edge", "user", "add", name, "--role", role, "--password-stdin"),
            env=self._env,
            cwd=self._directory,
            input=f"{self.passwords[name]}\n".encode(),
            stdout=subprocess.DEVNULL,
            check=True,
        )


def _environment(directory: Path, port: int) -> dict[str, str]:
    ingress, egress, control = (
        f"ipc://{directory / name}" for name in ("ingress", "egress", "control")
    )
    others = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    return others | {
        "RELAY_INGRESS": ingress,
        "RELAY_EGRESS": egress,
        "RELAY_CONTROL": control,
        "RELAY_DATA_DIR": str(directory / "relay"),
        "RELAY_LOG_LEVEL": "WARNING",
        "EDGE_PORT": str(port),
        "EDGE_MAX_CONNECTIONS": "1000",
        "EDGE_RELAY_EGRESS": egress,
        "EDGE_RELAY_CONTROL": control,
        "EDGE_DATA_DIR": str(directory / "edge"),
        "EDGE_LOG_LEVEL": "WARNING",
        "EMITTER_RELAY_INGRESS": ingress,
        "EMITTER_RELAY_CONTROL": control,
    }


def _is_ours(variable: str) -> bool:
    return variable.startswith(OUR_VARIABLES)


def _python(*arguments: str) -> list[str]:
    # With `-P` no folder of the user's is taken for one of ours.
    return [sys.executable, "-P", "-m", *arguments]


def _free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None
    process.stdin.close()
