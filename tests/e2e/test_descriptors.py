"""Too few file descriptors: refusals that are seen, and health and metrics that go on."""

import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
import zmq
from websockets.exceptions import ConnectionClosed, InvalidMessage

from edge.process import LONGEST_BACKLOG
from relay.shared.descriptor_room import DescriptorRoom
from relay.shared.transport import Socket, connect, open_socket
from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.limits import limited
from tests.support.processes import ROOT, ManagedProcess, python, run_cli
from tests.support.waiting import wait_for

LIMIT = 300
ROOM = DescriptorRoom(LIMIT, 20_000, LONGEST_BACKLOG)


def start_limited(cluster: Cluster, limit: str, **env: str) -> Edge:
    """Start an edge under `ulimit limit`."""
    [port] = free_ports(1)
    command = limited(limit, python("-m", "edge"))
    process = cluster.start("edge", command, EDGE_PORT=str(port), **env)
    edge = Edge(process, port, int(env.get("EDGE_WORKERS", "1")))
    edge.wait_ready()
    return edge


@pytest.fixture
def idle() -> Iterator[ExitStack]:
    """Connections that send nothing, closed after the test."""
    with ExitStack() as stack:
        yield stack


def connect_idle(edge: Edge, count: int, idle: ExitStack) -> None:
    for _ in range(count):
        idle.enter_context(closing(socket.create_connection(("127.0.0.1", edge.port), 10)))


def close_code(cluster: Cluster, edge: Edge) -> int | None:
    """Return the code with which a new client is closed at once, 0 for one that is served."""
    try:
        client = cluster.connect(edge, "alice")
        client.send({"action": "subscribe", "topic": "event:a"})
        client.receive()
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code
    except (OSError, InvalidMessage):
        return None
    return 0


def test_the_soft_limit_is_raised_for_the_clients_that_are_configured(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = start_limited(cluster, "-Sn 256", EDGE_MAX_CONNECTIONS="260")
    clients = [cluster.connect(edge, "alice") for _ in range(260)]
    clients[-1].subscribe("event:a")
    assert close_code(cluster, edge) == 4009
    assert edge.metrics()["edge_short_of_descriptors"] == {"": 0}
    assert edge.metrics()["edge_max_connections"] == {"": 260}
    assert "file descriptors" not in edge.process.output()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hard_limit_that_is_too_low_is_said_at_start(cluster: Cluster, workers: str) -> None:
    cluster.start_relay()
    edge = start_limited(cluster, f"-n {LIMIT}", EDGE_WORKERS=workers)
    said = f"{LIMIT} file descriptors allow {ROOM.max_connections} connections only"
    assert edge.process.output().count(said) == 1, "once, and not in each worker"
    assert edge.metrics()["edge_max_connections"] == {"": ROOM.max_connections}


def test_clients_beyond_the_descriptors_are_closed_with_4009(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = start_limited(cluster, f"-n {LIMIT}")
    for _ in range(ROOM.max_connections):
        assert close_code(cluster, edge) == 0
    assert close_code(cluster, edge) == 4009
    assert edge.status("/metrics") == 200


def test_health_and_metrics_are_served_when_connections_have_taken_the_descriptors(
    cluster: Cluster, idle: ExitStack
) -> None:
    """Beside as many clients as there may be, a flood of others is cut, counted and logged once.

    Each condition is waited for under new connections: silent ones are cut after some seconds.
    """
    cluster.start_relay()
    edge = start_limited(cluster, f"-n {LIMIT}")

    def wait_when_full(condition: Callable[[], bool], what: str) -> None:
        def met() -> bool:
            if condition():
                return True
            connect_idle(edge, ROOM.backlog, idle)
            return condition()

        wait_for(met, what, 60)

    for _ in range(ROOM.max_connections):
        assert close_code(cluster, edge) == 0
    connect_idle(edge, ROOM.backlog, idle)
    wait_when_full(lambda: page_is_refused(edge), "a page is refused")
    wait_when_full(lambda: close_code(cluster, edge) == 4009, "a client is closed with 4009")
    for path in ("/metrics", "/healthz", "/readyz"):
        wait_when_full(lambda path=path: edge.status(path) == 200, path)  # type: ignore[misc]
    assert edge.metrics()["edge_short_of_descriptors"][""] > 0
    said = f"a connection was refused: this process may open {LIMIT} file descriptors"
    logged = [line for line in edge.process.output().splitlines() if said in line]
    assert len(logged) < edge.metrics()["edge_short_of_descriptors"][""] / 10
    assert "Traceback" not in edge.process.output()


def test_silent_connections_give_way_when_descriptors_run_out(
    cluster: Cluster, idle: ExitStack
) -> None:
    cluster.start_relay()
    edge = start_limited(cluster, f"-n {LIMIT}")
    connect_idle(edge, LIMIT, idle)
    wait_for(lambda: edge.status("/auth/me") == 401, "a page is served")
    wait_for(lambda: close_code(cluster, edge) == 0, "a client is served")
    assert edge.metrics()["edge_gave_way"][""] > 0


def page_is_refused(edge: Edge) -> bool:
    """Return whether the edge answers 503 and says when to come again."""
    try:
        with urllib.request.urlopen(f"{edge.url}/", timeout=10):
            return False
    except urllib.error.HTTPError as refused:
        return refused.code == 503 and "Retry-After" in refused.headers
    except OSError:
        return False


def test_an_edge_without_room_for_clients_does_not_start(cluster: Cluster) -> None:
    command = limited("-n 100", python("-m", "edge"))
    process = cluster.start("edge", command, EDGE_PORT=str(free_ports(1)[0]))
    process.wait_ended()
    assert process.returncode == 2
    [line] = process.output().splitlines()
    assert line.startswith("event-edge: EDGE_MAX_CONNECTIONS: this process may open 100 file desc")


class TestRelay:
    """The relay cuts connections before its last descriptors are taken."""

    LIMIT = 128

    @pytest.fixture
    def relay(self, cluster: Cluster) -> ManagedProcess:
        relay = cluster.start("relay", limited(f"-n {self.LIMIT}", python("-m", "relay")))
        relay.wait_for_output("relaying")
        return relay

    def test_it_refuses_connections_and_keeps_those_it_has(
        self, cluster: Cluster, relay: ManagedProcess, caplog: pytest.LogCaptureFixture
    ) -> None:
        emitter = cluster.emitter()
        context: zmq.Context[Socket] = zmq.Context()
        try:
            many = [open_socket(context, zmq.PUB) for _ in range(self.LIMIT)]
            for each in many:
                connect(each, cluster.ingress)
            said = f"connections are refused: this process may open {self.LIMIT} file descriptors"
            relay.wait_for_output(said)
            emitter.emit("event:a", {})
            assert emitter.wait_acknowledged(20)
            assert "has lost the relay" not in caplog.text
            wait_for(lambda: refused_by_relay(cluster) > 0, "refusals are counted, and shown")
        finally:
            context.destroy(linger=0)
        # With the others gone there is room again.
        cluster.emitter("another").emit("event:a", {})

    def test_it_does_not_start_without_room(self, cluster: Cluster) -> None:
        relay = cluster.start("relay", limited("-n 40", python("-m", "relay")))
        relay.wait_ended()
        assert relay.returncode == 2
        [line] = relay.output().splitlines()
        assert line.startswith("event-relay: this process may not open 80 more file descriptors")


def refused_by_relay(cluster: Cluster) -> int:
    """Return the relay's counter, 0 if the relay did not answer."""
    counters = run_cli("relay", "stats", env=cluster.env)
    return int(json.loads(counters.stdout)["connections_refused"]) if counters.stdout else 0


def test_an_emitter_outlives_a_time_without_descriptors(cluster: Cluster) -> None:
    """The relay is started anew while the emitter's process has no descriptor to connect."""
    code = """
import os, resource
from emitters import Emitter
from relay.shared.descriptors import are_left
emitter = Emitter()
assert emitter.wait_connected(20)
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
held = []
while are_left(1):
    held.append(os.dup(0))
print("full", flush=True)
while emitter.wait_connected(0):
    emitter.emit("event:a", {})
input()
for descriptor in held:
    os.close(descriptor)
assert emitter.wait_acknowledged(20)
print(emitter.close(5))
"""
    first = cluster.start_relay()
    with subprocess.Popen(
        python("-c", code),
        cwd=ROOT,
        env=dict(os.environ) | cluster.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "full\n"
        first.kill()
        cluster.start_relay()
        output, _ = program.communicate("\n", timeout=60)
    assert (program.returncode, output) == (0, "0\n")
