"""Attacks that need no token, while honest clients go on undisturbed."""

import contextlib
import gzip
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest
import zmq

from tests.support.cluster import Cluster, Edge
from tests.support.honest import Honest
from tests.support.raw_http import RawSockets, request
from tests.support.waiting import wait_for
from tests.support.websocket_frames import CLOSE, TEXT, client_frame

MAX_GROWTH_BYTES = 16 * 2**20
FLOOD_BYTES = 32 * 2**20
KEPT_ALIVE = b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n"
POST = b"POST /auth/token HTTP/1.1\r\nHost: edge\r\nContent-Type: "
CHUNKED = POST + b"application/json\r\nTransfer-Encoding: chunked\r\n\r\n2"
LINES = b"a:b\r\n" * 13_000
FLOODS = {
    "header": (b"GET /healthz HTTP/1.1\r\nHost: edge\r\na: ", b"x" * 65_536),
    "URL": (b"GET /", b"x" * 65_536),
    "short lines": (b"GET /healthz HTTP/1.1\r\nHost: edge\r\n", LINES),
    "short lines of /ws": (b"GET /ws HTTP/1.1\r\nHost: edge\r\n", LINES),
    "trailers": (CHUNKED + b"\r\n{}\r\n0\r\n", LINES),
    "chunk extension": (CHUNKED + b";", b"x" * 65_536),
    "form": (POST + b"application/x-www-form-urlencoded\r\nContent-Length: 400000000\r\n\r\n",) * 2,
    "form of &": (
        POST + b"application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + b"&" * 65_536 + b"\r\n",
    ),
    "multipart": (
        POST + b"multipart/form-data; boundary=x\r\nContent-Length: 400000000\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n',
        b"x" * 65_536,
    ),
    "pipelined requests": (KEPT_ALIVE, KEPT_ALIVE * 100),
}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def memory_bytes(edge: Edge) -> int:
    """The memory of the edge."""
    return int(psutil.Process(edge.process.pid).memory_info().rss)


def flood(edge: Edge, begin: bytes, more: bytes) -> None:
    """Send `more` again and again, and read nothing, until the edge takes no more."""
    with socket.create_connection(("127.0.0.1", edge.port)) as sock, contextlib.suppress(OSError):
        sock.settimeout(2)
        sock.sendall(begin)
        for _ in range(FLOOD_BYTES // len(more) + 1):
            sock.sendall(more)


@pytest.mark.parametrize("before", [b"", KEPT_ALIVE], ids=["first", "kept alive"])
def test_a_request_without_an_end_costs_little_memory(cluster: Cluster, before: bytes) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    with Honest(cluster, edge) as honest:
        memory = memory_bytes(edge)
        for begin, more in FLOODS.values():
            flood(edge, before + begin, more)
            assert memory_bytes(edge) < memory + MAX_GROWTH_BYTES
        honest.is_served()
    metrics = edge.metrics()
    heads = metrics["edge_requests_refused"]["431"] + metrics["edge_handshakes_refused"][""]
    assert heads == 4
    assert metrics["edge_requests_refused"]["413"] == 5
    assert metrics["edge_requests_refused"]["0"] == 1, "the pipelined requests"
    assert "Traceback" not in edge.process.output()


def silent(edge: Edge, stack: ExitStack, said: bytes, count: int) -> list[socket.socket]:
    """Open connections that say so much and no more."""
    opened = []
    for _ in range(count):
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", edge.port)))
        sock.sendall(said)
        opened.append(sock)
    return opened


def test_silent_websockets_keep_nobody_out(cluster: Cluster, stack: ExitStack) -> None:
    most = 20
    cluster.start_relay()
    edge = cluster.start_edge(
        EDGE_MAX_CONNECTIONS=str(most), EDGE_AUTHENTICATION_TIMEOUT_S="60", EDGE_COMPRESSION="no"
    )
    with Honest(cluster, edge) as honest:
        silent(edge, stack, request("/ws"), 2 * most)
        wait_for(
            lambda: edge.metrics()["edge_connections_accepted"][""] >= 2 * most, "all have come"
        )
        for number in range(5):
            with cluster.connect(edge, f"newcomer-{number}") as newcomer:
                newcomer.subscribe("event:honest")
                newcomer.receive_on("event:honest")
            silent(edge, stack, request("/ws"), most)
        honest.is_served()
        metrics = edge.metrics()
    assert metrics["edge_gave_way"][""] >= most
    assert metrics["edge_connections"][""] <= most


def test_the_oldest_unauthenticated_connection_gives_way_with_4013(
    cluster: Cluster, stack: ExitStack
) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_MAX_UNAUTHENTICATED="3", EDGE_AUTHENTICATION_TIMEOUT_S="60")
    raw = RawSockets(edge, stack)
    clients = []
    for _ in range(4):
        client = raw.connect()
        client.send(request("/ws"))
        assert client.response()[0] == 101
        clients.append(client)
    first, second, *_ = clients
    [*_, (_, close)] = first.frames_until(CLOSE)
    assert int.from_bytes(close[:2]) == 4013
    second.send(client_frame(TEXT, b"{"))
    second.frames_until(CLOSE, b"Missing authentication message")


class TestOneAddress:
    """Loopback is a trusted proxy by default, so here it is none."""

    def start(self, cluster: Cluster, env: dict[str, str]) -> Edge:
        cluster.start_relay()
        cluster.env["EDGE_TRUSTED_PROXIES"] = "192.0.2.1"
        cluster.env.update(env)
        return cluster.start_edge()

    def test_it_has_so_many_connections(self, cluster: Cluster, stack: ExitStack) -> None:
        edge = self.start(cluster, {"EDGE_MAX_CONNECTIONS_PER_ADDRESS": "12"})
        with Honest(cluster, edge) as honest:
            taken = silent(edge, stack, b"", 8)
            raw = RawSockets(edge, stack)

            def is_refused() -> bool:
                client = raw.connect()
                client.send(b"GET /auth/me HTTP/1.1\r\nHost: edge\r\n\r\n")
                status, headers, _ = client.response()
                if status == 503:
                    assert "retry-after" in headers
                return status == 503

            wait_for(is_refused, "there is one connection too many")
            client = raw.connect()
            client.send(request("/ws"))
            assert client.response()[0] == 101
            [*_, (_, close)] = client.frames_until(CLOSE)
            assert int.from_bytes(close[:2]) == 4009
            # Others may come.
            other = stack.enter_context(
                socket.create_connection(
                    ("127.0.0.1", edge.port), source_address=("127.0.0.9", 0), timeout=20
                )
            )
            other.sendall(KEPT_ALIVE)
            assert other.recv(100).startswith(b"HTTP/1.1 200 ")
            for sock in taken:
                sock.close()
            wait_for(lambda: edge.status("/healthz") == 200, "there is room again")
            honest.is_served()
        assert edge.metrics()["edge_address_refusals"]["connections"] >= 2

    def test_it_connects_so_often(self, cluster: Cluster, stack: ExitStack) -> None:
        env = {"EDGE_CONNECTION_BURST": "200", "EDGE_CONNECTIONS_PER_S": "0.001"}
        edge = self.start(cluster, env)
        with Honest(cluster, edge) as honest:
            raw = RawSockets(edge, stack)

            for _ in range(200):
                raw.connect_and_leave(b"")
            client = raw.connect()
            client.send(request(f"/ws?token={cluster.token('alice')}"))
            assert client.response()[0] == 101
            [*_, (_, close)] = client.frames_until(CLOSE)
            assert int.from_bytes(close[:2]) == 4013
            assert close.endswith(b"retry in 5 s")
            honest.is_served()


def test_bad_requests_do_not_flood_the_log(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    said: list[Callable[[int], bytes]] = [
        lambda number: b"\0\1 %d\r\n\r\n" % number,
        lambda number: request(f"/ws?token={number}", Origin=f"http://{number}"),
        lambda number: request(f"/ws{number}"),
        lambda number: b"GET /\xff%d HTTP/1.1\r\nHost: edge\r\n\r\n" % number,
        lambda number: b"GET /a HTTP/1.1\r\n\r\n",
    ]
    with Honest(cluster, edge) as honest, ExitStack() as stack:
        raw = RawSockets(edge, stack)
        before = len(edge.process.output().splitlines())
        for number in range(1_000):
            raw.connect_and_leave(said[number % len(said)](number))
        honest.is_served()
    lines = edge.process.output().splitlines()[before:]
    assert len(lines) < 20, lines


def test_nested_and_compressed_bodies_are_refused_without_a_traceback(
    cluster: Cluster, stack: ExitStack
) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    raw = RawSockets(edge, stack)
    memory = memory_bytes(edge)
    client = raw.connect()
    bomb = gzip.compress(b'{"username":"' + b"a" * FLOOD_BYTES + b'"}')
    client.send(
        POST + b"application/json\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: %d\r\n\r\n" % len(bomb) + bomb
    )
    assert client.response()[0] in (400, 415, 422)
    assert memory_bytes(edge) < memory + MAX_GROWTH_BYTES
    for body in (b"[" * 60_000, b'{"username":' * 5_000, b'{"username":' + b"9" * 60_000 + b"}"):
        client = raw.connect()
        client.send(POST + b"application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.response()[0] in (400, 422)
    for body in (b"&" * 60_000, b"a=1&" * 15_000, b"username=a&password=b&" * 20):
        client = raw.connect()
        head = POST + b"application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
        client.send(head % len(body) + body)
        assert client.response()[0] == 400
    assert "Traceback" not in edge.process.output()


def test_kinds_of_a_publisher_do_not_fill_the_metrics(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge()
    with Honest(cluster, edge) as honest:
        watcher = cluster.connect(edge, "admin", "admin")
        watcher.subscribe("*")
        with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
            publisher.linger = 0
            publisher.sndhwm = 10_000
            publisher.connect(cluster.ingress)
            wait_for(
                lambda: (
                    publisher.send_multipart([b"begin:x", b"\x81\xa4data\x01"]) is None
                    and any(each.get("topic") == "begin:x" for each in [watcher.receive()])
                ),
                "the publisher is connected",
            )
            for number in range(2_000):
                publisher.send_multipart([b"kind%d:x" % number, b"\x81\xa4data\x01"])
            watcher.receive_on("kind1999:x")
        received = edge.metrics()["edge_events_received"]
        honest.is_served()
    assert len(received) < 300
    assert received["other"] > 1_000
    assert received["event"] > 0
    assert relay.returncode is None
