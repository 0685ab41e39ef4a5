"""`EventRelay`: a relay and an edge as processes on free ports, for tests of applications."""

import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from emitters import Emitter
from relay.testing.client import EventClient
from relay.testing.places import Places, free_ports
from relay.testing.processes import ManagedProcess, python
from relay.testing.waiting import wait_for

START_TIMEOUT_S = 30.0
SHOWN_LINES = 20


class EventRelay:
    """Starts relay and edge, and ends them with everything that was opened by its methods.

    `settings` are variables such as `RELAY_JOURNALED_KINDS` or `EDGE_WORKERS`. Raises
    `AssertionError` with the output of the programs if they do not start.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        [port] = free_ports(1)
        places = Places(directory)
        self._tokens = places.tokens
        self.env: dict[str, str] = places.env | {"EDGE_PORT": str(port)} | dict(settings)
        """The environment of a program that is to use this relay; `Emitter()` needs no more."""
        self.url = f"http://127.0.0.1:{self.env['EDGE_PORT']}"
        """Of the edge."""
        self.egress = self.env["EDGE_RELAY_EGRESS"]
        self._stack = ExitStack()
        # Both at once: the edge waits for its relay.
        programs = ("relay", "edge")
        # With `-P` a folder `relay` of the application is not taken for ours.
        self._processes = [
            ManagedProcess(each, python("-P", "-m", each), self.env) for each in programs
        ]
        try:
            for process in self._processes:
                self._stack.callback(process.close)
                process.start()
            wait_for(self._is_ready, "relay and edge start", START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    @property
    def ws_url(self) -> str:
        """The address of the WebSocket."""
        return f"{self.url.replace('http', 'ws', 1)}/ws"

    def token(self, username: str, role: str = "user", ttl_s: float = 3600) -> str:
        """Return a token of the edge for `username`, valid for `ttl_s` seconds."""
        now = time.time()
        return self._tokens.issue(username, role, int(now + ttl_s), now)

    def emitter(self, name: str = "test") -> Emitter:
        """Return an emitter that has reached the relay. It is closed with the relay."""
        emitter = Emitter(
            name=name,
            ingress=self.env["EMITTER_RELAY_INGRESS"],
            control=self.env["EMITTER_RELAY_CONTROL"],
        )
        self._stack.callback(emitter.close, timeout=0)
        assert emitter.wait_connected(START_TIMEOUT_S), emitter.state.reason
        return emitter

    def connect(self, username: str, role: str = "user") -> EventClient:
        """Return a WebSocket client that is signed in as `username`. The caller closes it."""
        return EventClient(f"{self.ws_url}?token={self.token(username, role)}")

    def output(self) -> str:
        """Return the last lines of both programs, for failure messages."""
        return "\n".join(
            f"--- {each.name}\n" + "\n".join(each.output().splitlines()[-SHOWN_LINES:])
            for each in self._processes
        )

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def _is_ready(self) -> bool:
        for process in self._processes:
            assert process.returncode is None, f"{process.name} ended:\n{process.output()}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


ConnectClient = Callable[..., EventClient]
"""Takes a user name and a role."""
