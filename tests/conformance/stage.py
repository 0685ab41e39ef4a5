"""The servers of one scenario, and the same client once for each driver."""

import contextlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from emitters import Emitter
from tests.conformance.told import Driver, Wish
from tests.support.cluster import Cluster, Edge
from tests.support.processes import ManagedProcess
from tests.support.relay_peer import RelayPeer
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_for

PATIENCE_S = 30.0

DriverClass = Callable[[Wish], Driver]


class Stage:
    """Plays one scenario. A client that does not keep up ends nothing: its own test fails."""

    def __init__(self, cluster: Cluster, drivers: dict[str, DriverClass]) -> None:
        self.cluster = cluster
        self.clients: dict[str, Driver] = {}
        self.tokens = TokenIssuer(cluster)
        self._drivers = drivers
        self._stack = ExitStack()
        self._relay: ManagedProcess | None = None
        self._edge: Edge | None = None
        self._emitter: Emitter | None = None

    # Servers.

    @property
    def edge(self) -> Edge:
        """An edge of this scenario alone."""
        if self._edge is None:
            self._edge = self.cluster.start_edge()
        return self._edge

    def start_relay(self, **settings: str) -> None:
        """Start the relay; after `kill_relay` another one takes its place."""
        self._relay = self.cluster.start_relay(**settings)

    def kill_relay(self) -> None:
        """`kill -9`."""
        assert self._relay is not None
        self._relay.kill()

    def kill_edge(self) -> None:
        """`kill -9`."""
        self.edge.process.kill()

    def restart_edge(self) -> None:
        """Start another edge at the same port."""
        self._edge = self.cluster.start_edge(port=self.edge.port)

    def proxy(self) -> TcpProxy:
        """A proxy before the edge."""
        return self._stack.enter_context(TcpProxy(self.edge.port))

    def emit(self, topic: str, *numbers: int, **options: Any) -> None:
        """Emit an event for each number."""
        if self._emitter is None:
            self._emitter = self.cluster.emitter()
        for number in numbers:
            self._emitter.emit(topic, {"n": number}, **options)

    def wait_acknowledged(self) -> None:
        """Wait until the relay has acknowledged all that was emitted."""
        assert self._emitter is not None
        assert self._emitter.wait_acknowledged(PATIENCE_S)

    def fill_beyond_retention(self) -> None:
        """Emit until the journal has removed early events."""
        with RelayPeer(self.cluster.control) as peer:
            for _ in range(1000):
                self.emit("event:filler", 0, type="x" * 200)
                if peer.page("event").low > 100:
                    break
            wait_for(lambda: peer.page("event").low > 100, "retention removes events")

    # Clients.

    def watch(
        self,
        *patterns: str,
        username: str = "alice",
        role: str = "user",
        last: int | None = None,
        through: TcpProxy | None = None,
        ttls_s: tuple[float, ...] = (),
    ) -> None:
        """Connect a client of each driver. The first tokens of each expire after `ttls_s`."""
        port = self.edge.port if through is None else urlsplit(through.endpoint).port
        for name, driver in self._drivers.items():
            token = self.tokens.of(username, role, ttls_s)
            client = driver(Wish(f"ws://127.0.0.1:{port}/ws", token, patterns, last))
            self._stack.callback(client.close)
            self.clients[name] = client
        self.until(lambda client: client.connections > 0)

    def until(self, condition: Callable[[Driver], bool]) -> None:
        """Wait until the condition holds for each client, but not for ever."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: all(map(condition, self.clients.values())), "all agree", PATIENCE_S)

    def until_heard(self, via: str, *numbers: int) -> None:
        """Wait until each client has heard the numbers."""
        self.until(lambda client: set(numbers) <= set(client.numbers(via)))

    def close(self) -> None:
        """End the clients, and this scenario's own servers."""
        if self._edge is not None:
            self._stack.callback(self._edge.process.close)
        if self._emitter is not None:
            self._emitter.close(0)
        self._stack.close()


class TokenIssuer:
    """Issues the tokens of the clients."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.expires_at = 0.0
        """Unix time at which every token of limited time has expired."""

    def of(self, username: str, role: str, ttls_s: tuple[float, ...]) -> Callable[[], str]:
        """Return a function that issues one token after another."""
        left = list(ttls_s)

        def token() -> str:
            if not left:
                return self._cluster.token(username, role)
            ttl_s = left.pop(0)
            self.expires_at = max(self.expires_at, time.time() + ttl_s)
            return self._cluster.token(username, role, ttl_s)

        return token
