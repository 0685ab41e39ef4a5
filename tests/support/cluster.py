"""A relay, edges and managers on free ports, as a fixture for multi-process tests."""

import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from emitters import Emitter
from relay.testing.places import Places, free_ports
from tests.support.clients import Client
from tests.support.processes import ManagedProcess, python
from tests.support.waiting import wait_for

__all__ = ["Cluster", "Edge", "asgi_options", "free_ports"]


def asgi_options(server: str, port: int) -> list[str]:
    """Return the options with which an ASGI server serves the edge on `port`."""
    match server:
        case "uvicorn":
            # The application reads the headers of proxies itself.
            return ["--factory", "edge.app:create_app", "--port", str(port), "--no-proxy-headers"]
        case "hypercorn":
            return ["edge.app:create_app()", "--bind", f"127.0.0.1:{port}"]
        case "granian":
            return ["--interface", "asgi", "--factory", "edge.app:create_app", "--port", str(port)]
    raise ValueError(f"no such server: {server}")


class Cluster:
    """Starts relays, edges, emitters and clients on demand, and ends them all."""

    forks = False
    """Whether programs may begin in a fork (`tests.support.forked`); not in benchmarks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        places = Places(directory)
        self.ingress, self.egress, self.control = places.ingress, places.egress, places.control
        self.tokens = places.tokens
        self.token_ttl_s = 600.0
        """Of tokens that say nothing else."""
        self.env = places.env
        self._processes: list[ManagedProcess] = []
        self._emitters: list[Emitter] = []
        self._clients: list[Client] = []

    def configure(self, text: str) -> None:
        """Have the programs that are started from now on read `text` as their `relay.toml`."""
        path = self.directory / "relay.toml"
        path.write_text(text)
        self.env["EVENT_RELAY_CONFIG"] = str(path)

    # Processes.

    def start(self, name: str, command: Sequence[str], **env: str) -> ManagedProcess:
        """Start any command with the cluster's settings in its environment."""
        process = self._new(name, command, env)
        process.start()
        return process

    def start_forked(self, name: str, command: Sequence[str], **env: str) -> ManagedProcess:
        """Start a program of Python's, in a fork if that makes no other difference."""
        process = self._new(name, command, env)
        if self.forks:
            process.start_forked()
        else:
            process.start()
        return process

    def start_writing(self, path: Path, name: str, command: Sequence[str]) -> ManagedProcess:
        """Start a program of Python's whose standard output, but not its errors, goes to `path`."""
        process = self._new(name, command, {})
        process.start_forked(path)
        return process

    def _new(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> ManagedProcess:
        process = ManagedProcess(name, command, self.env | dict(env))
        self._processes.append(process)
        return process

    def start_relay(self, **env: str) -> ManagedProcess:
        """Start the relay and wait until it listens."""
        relay = self.start_forked("relay", python("-m", "relay"), **env)
        relay.wait_for_output("relaying")
        return relay

    def start_edge(self, *, ready: bool = True, port: int | None = None, **env: str) -> "Edge":
        """Start an edge, and wait until it follows the relay unless `ready` is False."""
        port = free_ports(1)[0] if port is None else port
        command = python("-m", "edge")
        process = self.start_forked(f"edge-{port}", command, EDGE_PORT=str(port), **env)
        edge = Edge(process, port, int(env.get("EDGE_WORKERS", "1")))
        if ready:
            edge.wait_ready()
        else:
            wait_for(lambda: edge.status("/healthz") == 200, "the edge answers")
        return edge

    def start_plain_edge(self, server: str = "uvicorn", *options: str, **env: str) -> "Edge":
        """Start the same application under another ASGI server, with that server's WebSockets."""
        port = free_ports(1)[0]
        command = python("-m", server, *asgi_options(server, port), *options)
        process = self.start_forked(f"{server}-{port}", command, **env)
        edge = Edge(process, port, 1)
        edge.wait_ready()
        return edge

    def emitter(self, name: str = "test-manager") -> Emitter:
        """Return a connected emitter in this process."""
        emitter = Emitter(name=name, ingress=self.ingress, control=self.control)
        self._emitters.append(emitter)
        assert emitter.wait_connected(20), "the emitter does not reach the relay"
        return emitter

    # Clients.

    def token(self, username: str, role: str = "user", ttl_s: float | None = None) -> str:
        """Return a valid token."""
        now = time.time()
        ttl_s = self.token_ttl_s if ttl_s is None else ttl_s
        return self.tokens.issue(username, role, int(now + ttl_s), now)

    def connect(self, edge: "Edge", username: str | None = None, role: str = "user") -> Client:
        """Return a WebSocket client of `edge`, authenticated if a username is given."""
        query = "" if username is None else f"?token={self.token(username, role)}"
        client = Client(f"ws://127.0.0.1:{edge.port}/ws{query}")
        self._clients.append(client)
        return client

    def tails(self, lines: int = 12) -> str:
        """The last lines of output of each process, for failure messages."""
        return "\n".join(
            f"--- {process.name} ({_state(process)})\n"
            + "\n".join(process.output().splitlines()[-lines:])
            for process in tuple(self._processes)
        )

    def close(self) -> None:
        """End everything that was started."""
        # One that fails to close must not leave the others behind.
        with ExitStack() as stack:
            for process in self._processes:
                stack.callback(process.close)
            for emitter in self._emitters:
                stack.callback(emitter.close, timeout=0)
            for client in self._clients:
                stack.callback(client.close)


class Edge:
    """A running edge."""

    def __init__(self, process: ManagedProcess, port: int, workers: int) -> None:
        self.process = process
        self.port = port
        self.workers = workers

    @property
    def url(self) -> str:
        """The base URL of its pages."""
        return f"http://127.0.0.1:{self.port}"

    def is_listening(self) -> bool:
        """Return whether any process still accepts connections at the port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def status(self, path: str) -> int:
        """Return the HTTP status of a GET, 0 without an answer."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def connections_by_worker(self) -> dict[str, float]:
        """Return the number of open WebSocket connections of each worker, by process id."""
        found: dict[str, float] = {}

        def all_workers_answered() -> bool:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as response:
                text = response.read().decode()
            pattern = r'^edge_connections\{worker="(\d+)"\} (\S+)'
            found.clear()
            found.update(
                (worker, float(value)) for worker, value in re.findall(pattern, text, re.MULTILINE)
            )
            return len(found) >= self.workers

        wait_for(all_workers_answered, "every worker answers")
        return found

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return the metrics of an edge with one worker, by metric and then by label.

        The label is `kind`, `code` or `reason`; where there is none, it is `""`.
        """
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as response:
            text = response.read().decode()
        found: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(text):
            values = found.setdefault(family.name, {})
            for sample in family.samples:
                labels = [value for label, value in sample.labels.items() if label != "worker"]
                values["".join(labels)] = sample.value
        return found

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until every worker follows the relay."""

        def ready() -> bool:
            assert self.process.returncode is None, f"edge ended:\n{self.process.output()}"
            followed = self.process.output().count("following the relay")
            return followed >= self.workers and self.status("/readyz") == 200

        wait_for(ready, "the edge is ready", timeout)


def _state(process: ManagedProcess) -> str:
    code = process.returncode
    return "running" if code is None else f"ended with {code}"
