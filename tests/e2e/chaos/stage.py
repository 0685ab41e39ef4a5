"""The system under test with its load: one relay, two edges, four emitters, fifty clients.

Most clients are bare sockets, which cost little; some are those that applications use.
"""

import resource
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from emitters import Emitter
from tests.conformance.told import Wish
from tests.e2e.chaos.judge import Watcher
from tests.e2e.chaos.lives import EMITTERS, LoadEmitter
from tests.e2e.chaos.our_clients import (
    OurClient,
    OurNodeClient,
    OurPythonClient,
    OurPythonClients,
    OurStreamClient,
)
from tests.e2e.chaos.probes import Probes
from tests.e2e.chaos.traffic import USERS, Subscriber, population
from tests.e2e.chaos.wires import Wires
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.processes import ManagedProcess
from tests.support.relay_peer import RelayPeer
from tests.support.swarm import Swarm
from tests.support.swarm_client import ConnectionAccount, SwarmClient
from tests.support.swarm_record import PERSONAL_STREAMS, Record
from tests.support.waiting import wait_for

EDGES = 2
PROXIED_EVERY = 5
"""One client of an edge in `PROXIED_EVERY` reaches it through a proxy."""
SLOW_RECEIVE_BUFFER_BYTES = 128 * 1024

RELAY_SETTINGS = {"RELAY_RETENTION_BYTES": str(4 * 1024**3), "RELAY_HEARTBEAT_S": "0.5"}
EDGE_SETTINGS = {
    # So small that the edge soon closes a client that does not read.
    "EDGE_MAX_QUEUED_BYTES": str(256 * 1024),
    # Positions move on soon past events that are not for a client.
    "EDGE_POSITION_INTERVAL_S": "0.5",
}

LITTLE_ROOM_BYTES = 64 * 1024
"""Less than the journal needs for a second, and enough for the relay's log."""

RECOVERY_S = 60.0
"""The limit from the end of the faults until each client has all of its events."""


class Stage:
    """Starts all processes in an order in which no client can miss an event."""

    def __init__(self, directory: Path, events_per_s: float) -> None:
        self._stack = ExitStack()
        self.cluster = Cluster(directory)
        self.peer = RelayPeer(self.cluster.control)
        self.swarm = Swarm()
        self.our_clients: list[OurClient] = []
        self._python_clients = OurPythonClients()
        self.emitters: list[LoadEmitter] = []
        self.probe_problems: list[str] = []
        """The findings of the probes, complete after `wait_until_quiet`."""
        edge_ports = free_ports(EDGES)
        self.wires = Wires(self.cluster, edge_ports)
        for each in (self.cluster, self.peer, self.swarm, self.wires, self._python_clients):
            self._stack.callback(each.close)
        try:
            self._directory = directory
            self.relay = self.cluster.start_relay(**RELAY_SETTINGS)
            self.edge_began_at = [time.monotonic()] * EDGES
            """The start of the present process of each edge, by the monotonic clock."""
            self.edges = [self._start_edge(index, port) for index, port in enumerate(edge_ports)]
            self._let_clients_in()
            for index in range(EMITTERS):
                rate, settings = events_per_s / EMITTERS, self.wires.emitter_settings
                self.emitters.append(LoadEmitter(self.cluster, directory, index, rate, settings))
            self.probes = self._start_probes()
        except BaseException:
            self.close()
            raise

    # Faults.

    def kill_and_restart_relay(self) -> None:
        """`kill -9`, and start it on the same journal."""
        self.relay.kill()
        self.relay = self.cluster.start_relay(**RELAY_SETTINGS)

    def kill_and_restart_edge(self, index: int) -> None:
        """`kill -9`, and start it on the same port."""
        self.edges[index].process.kill()
        self.edge_began_at[index] = time.monotonic()
        self.edges[index] = self._start_edge(index, self.edges[index].port)

    def move(self, client: SwarmClient) -> None:
        """Cut a client's connection; it resumes at another edge."""
        ports = [edge.port for edge in self.edges if edge.port != client.port]
        self.swarm.call(client.move, ports[0])

    def stop(self, process: ManagedProcess) -> Callable[[], None]:
        """Send SIGSTOP; return a function that sends SIGCONT."""
        process.signal(signal.SIGSTOP)
        return lambda: process.signal(signal.SIGCONT)

    def limit_relay_files(self) -> None:
        """Let no file of the relay's journal grow; writes inside its present size still work."""
        sizes = [file.stat().st_size for file in (self.cluster.directory / "relay").iterdir()]
        limit_file_size(self.relay, max(sizes) + 1)

    def fill_relay_disk(self) -> None:
        """Let almost every write to the relay's journal fail."""
        limit_file_size(self.relay, LITTLE_ROOM_BYTES)

    def make_room(self) -> None:
        """Remove the limit of the relay's files."""
        limit_file_size(self.relay, resource.RLIM_INFINITY)

    # Observations from outside.

    def is_journaling(self) -> bool:
        """Whether the relay reports that it can write its journal."""
        return bool(self.peer.stats()["journaling"])

    @property
    def watchers(self) -> list[Watcher]:
        """The clients in the judge's form."""
        return [Watcher(client.name, client.username, client.record) for client in self._clients]

    @property
    def _clients(self) -> list[SwarmClient | OurClient]:
        return [*self.swarm.clients, *self.our_clients]

    def wait_until_quiet(self) -> dict[str, dict[str, int]]:
        """Wait, after all faults, until emitters, relay, edges and clients agree.

        Returns what the emitters, by name, said of themselves in the end.
        """
        for edge in self.edges:
            edge.wait_ready(RECOVERY_S)
        self.probe_problems = self.probes.finish()
        told = {emitter.name: emitter.finish() for emitter in self.emitters}
        tips = {name: stream["tip"] for name, stream in self.peer.stats()["streams"].items()}
        try:
            wait_for(lambda: not self.behind(tips), "every client is at the tips", RECOVERY_S)
        except AssertionError:
            raise AssertionError(
                f"not at the tips {tips} within {RECOVERY_S} s: {', '.join(self.behind(tips))}"
            ) from None
        return told

    def behind(self, tips: dict[str, int]) -> list[str]:
        """Describe the clients that are not at `tips`, with their positions."""
        return [
            f"{client.name} ({'settled' if client.is_settled else 'not settled'},"
            f" {client.record.positions})"
            for client in self._clients
            if not client.is_settled
            or any(
                client.record.positions[stream] < tips[stream] for stream in client.record.follows
            )
        ]

    def connections_to(self, index: int) -> list[ConnectionAccount]:
        """Return the accounts of all connections to the present process of an edge."""
        ports = (self.edges[index].port, self.wires.client_port(index))
        return [
            # The probes and the clients that applications use count no frames.
            ConnectionAccount(0.0, self.edges[index].port, is_whole=False),
            *(
                account
                for client in self.swarm.clients
                for account in client.accounts
                if account.port in ports and account.began_at >= self.edge_began_at[index]
            ),
        ]

    def report(self) -> str:
        """Describe the clients that are not settled, and quote the last lines of each process."""
        unsettled = [
            f"{client.name} at port {client.port}: {client.record.replies} subscriptions answered,"
            f" {len(client.record)} events, positions {client.record.positions},"
            f" {client.connections} connections, closes {dict(client.closes)},"
            f" close frames {dict(client.close_reasons)}"
            for client in self.swarm.clients
            if not client.is_settled
        ]
        return "\n".join(["--- clients that are not settled", *unsettled, self.cluster.tails()])

    def close(self) -> None:
        """End all clients and processes."""
        # One that fails to close must not leave the others behind: they would load the machine.
        self._stack.close()

    def _start_edge(self, index: int, port: int) -> Edge:
        settings = EDGE_SETTINGS | self.wires.edge_settings(index)
        return self.cluster.start_edge(port=port, ready=False, **settings)

    def _start_probes(self) -> Probes:
        settings = self.wires.emitter_settings
        emitter = Emitter(
            name="live",
            ingress=settings["EMITTER_RELAY_INGRESS"],
            control=settings["EMITTER_RELAY_CONTROL"],
        )
        self._stack.callback(emitter.close, timeout=0)
        token = self.cluster.token("prober", ttl_s=86400)

        def connect(number: int) -> Client:
            port = self.edges[number].port
            return Client(f"ws://127.0.0.1:{port}/ws?token={token}", compression=None)

        probes = Probes(lambda: self.edges, connect, emitter)
        self._stack.callback(probes.close)
        return probes

    def _port_of(self, number: int) -> int:
        """The port of a client's edge, or of the proxy before it."""
        index = number % EDGES
        is_proxied = number // EDGES % PROXIED_EVERY == PROXIED_EVERY - 1
        return self.wires.client_port(index) if is_proxied else self.edges[index].port

    def _let_clients_in(self) -> None:
        """Connect all clients; return when each is subscribed and knows the epoch."""
        for edge in self.edges:
            edge.wait_ready()
        clients = []
        for number, subscriber in enumerate(population()):
            username = USERS[number % len(USERS)]
            if subscriber.runs_in:
                self._let_in(f"client-{number}", username, subscriber, self._port_of(number))
                continue
            clients.append(
                SwarmClient(
                    f"client-{number}",
                    self._port_of(number),
                    self.cluster.token(username, subscriber.role, ttl_s=86400),
                    Record(subscriber.patterns, personal_position=0),
                    username=username,
                    receive_buffer_bytes=(
                        SLOW_RECEIVE_BUFFER_BYTES if subscriber.reads_slowly else None
                    ),
                )
            )
        self.swarm.add(clients)
        wait_for(
            lambda: all(client.is_settled and client.record.epoch for client in self._clients),
            "every client is subscribed",
            RECOVERY_S,
        )
        for stream in PERSONAL_STREAMS:
            assert all(client.record.positions[stream] == 0 for client in self._clients)

    def _let_in(self, name: str, username: str, subscriber: Subscriber, port: int) -> None:
        """Connect a client that applications use."""
        url = f"ws://127.0.0.1:{port}/ws"
        patterns = subscriber.patterns

        def token() -> str:
            return self.cluster.token(username, subscriber.role)

        client: OurClient
        match subscriber.runs_in:
            case "python":
                client = OurPythonClient(name, username, next(iter(patterns), None), url, token)
                self._python_clients.start(client)
            case "node":
                client = OurNodeClient(name, username, patterns[0], url, token)
                self._stack.callback(client.close)
            case _:
                client = OurStreamClient(name, username, Wish(url, token, patterns))
                self._stack.callback(client.close)
        self.our_clients.append(client)


def limit_file_size(process: ManagedProcess, size_bytes: int) -> None:
    """Let writes of `process` beyond `size_bytes` of any file fail, as on a disk that is full."""
    if process.returncode is None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
