"""Requests for `/ws` that are not the first bytes of their connection: one way for all of them."""

import json
import struct
from contextlib import ExitStack
from pathlib import Path

import pytest

from emitters import Emitter
from tests.support.cluster import Cluster, Edge
from tests.support.nginx import start_nginx
from tests.support.raw_http import RawSocket, RawSockets, assert_served, request, subscribe
from tests.support.waiting import wait_for
from tests.support.websocket_frames import CLOSE, PING, PONG, TEXT, client_frame

GET = b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n"
WAYS = ["behind a page", "with a percent sign", "behind a line break", "as an absolute URL"]


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    """One for all tests; those that stop an edge start their own."""
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge(EDGE_MESSAGE_BURST="50", EDGE_MESSAGES_PER_S="0.001")


@pytest.fixture(scope="module")
def emitter(cluster: Cluster) -> Emitter:
    return cluster.emitter()


@pytest.fixture(params=WAYS)
def client(
    request: pytest.FixtureRequest, cluster: Cluster, edge: Edge, stack: ExitStack
) -> RawSocket:
    return opened(RawSockets(edge, stack).connect(), request.param, cluster.token("alice"))


def opened(client: RawSocket, way: str, token: str) -> RawSocket:
    """Open a WebSocket in this way."""
    query = f"?token={token}"
    match way:
        case "behind a page":
            for _ in range(2):
                client.send(GET)
                assert client.response()[0] == 200
            client.send(request(f"/ws{query}"))
        case "with a percent sign":
            client.send(request(f"/%77s{query}"))
        case "behind a line break":
            client.send(b"\r\n" + request(f"/ws{query}"))
        case "as an absolute URL":
            client.send(request(f"http://edge/ws{query}"))
    assert_served(client)
    return client


def close_code(client: RawSocket) -> int:
    payload = client.frames_until(CLOSE)[-1][1]
    code: int = struct.unpack("!H", payload[:2])[0]
    return code


def test_events_arrive_and_pings_are_answered(emitter: Emitter, client: RawSocket) -> None:
    client.send(client_frame(PING, b"are you there?"))
    client.frames_until(PONG, b"are you there?")
    emitter.emit("event:x", {"n": "and on"})
    client.frames_until(TEXT, b'"n":"and on"')
    client.send(client_frame(CLOSE, b"\x03\xe8"))
    assert close_code(client) == 1000
    assert client.is_ended()


def test_a_flood_of_pings_is_closed_with_4029_and_cut(client: RawSocket, edge: Edge) -> None:
    client.send(client_frame(PING, b"") * 1000)
    assert close_code(client) == 4029
    assert client.is_ended(), "the closing deadline cuts a client that does not answer"
    assert "Traceback" not in edge.process.output()


def test_a_violation_is_answered_and_the_reason_arrives(client: RawSocket) -> None:
    client.send(b"\x81\x01x")
    assert close_code(client) == 1002
    assert client.is_ended()


def test_frames_behind_the_request_are_not_lost(
    cluster: Cluster, edge: Edge, stack: ExitStack
) -> None:
    """Also when the request is itself behind another, and nothing was answered yet."""
    client = RawSockets(edge, stack).connect()
    upgrade = request(f"/ws?token={cluster.token('alice')}")
    client.send(GET + upgrade + subscribe("event:a") + subscribe("event:b")[:9])
    client.send(subscribe("event:b")[9:])
    assert json.loads(client.response()[2]) == {"status": "alive"}, "responses keep their order"
    assert client.response()[0] == 101
    client.frames_until(TEXT, b"Subscribed to topic 'event:b'")


@pytest.mark.parametrize("path", ["/wsx", "/ws/", "/%2577s", "/healthz", "//:::/ws", "*"])
def test_elsewhere_there_is_no_websocket(edge: Edge, stack: ExitStack, path: str) -> None:
    client = RawSockets(edge, stack).connect()
    client.send(GET)
    assert client.response()[0] == 200
    client.send(request(path))
    assert client.response()[0] in (400, 403)
    assert client.is_ended()
    assert "Traceback" not in edge.process.output()


def test_a_bad_handshake_is_refused_alike(edge: Edge, stack: ExitStack) -> None:
    refused = edge.metrics()["edge_handshakes_refused"][""]
    for headers, status in (
        ({"Authorization": "Bearer nonsense"}, 401),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Key": "short"}, 400),
    ):
        client = RawSockets(edge, stack).connect()
        client.send(GET)
        assert client.response()[0] == 200
        client.send(request("/ws", **headers))
        answer = client.response()
        assert (answer[0], answer[1]["connection"]) == (status, "close")
        assert "detail" in json.loads(answer[2])
        assert client.is_ended()
    assert edge.metrics()["edge_handshakes_refused"] == {"": refused + 3}


def test_compression_is_offered(cluster: Cluster, stack: ExitStack) -> None:
    edge = cluster.start_edge(EDGE_COMPRESSION="true")
    client = RawSockets(edge, stack).connect()
    client.send(GET)
    assert client.response()[0] == 200
    token = cluster.token("alice")
    client.send(request(f"/ws?token={token}", Sec_WebSocket_Extensions="permessage-deflate"))
    status, headers, _ = client.response()
    assert status == 101
    assert headers["sec-websocket-extensions"].startswith("permessage-deflate")
    client.send(subscribe("event:x"))
    client.frames_until(TEXT | 0x40)


def test_a_client_that_does_not_read_is_closed_with_4008(
    cluster: Cluster, stack: ExitStack
) -> None:
    edge = cluster.start_edge(EDGE_MAX_QUEUED_BYTES="300000")
    client = RawSockets(edge, stack).connect()
    opened(client, "behind a page", cluster.token("alice"))
    emitter = cluster.emitter("fast")

    def is_closed() -> bool:
        emitter.emit("event:x", {"ballast": "x" * 500_000})
        return edge.metrics()["edge_closed"].get("4008") == 1

    wait_for(is_closed, "the client is too slow")
    assert close_code(client) == 4008


def test_a_shutdown_is_told_with_1001(cluster: Cluster, stack: ExitStack) -> None:
    edge = cluster.start_edge()
    sockets, token = RawSockets(edge, stack), cluster.token("alice")
    clients = [opened(sockets.connect(), way, token) for way in WAYS]
    edge.process.terminate()
    assert [close_code(client) for client in clients] == [1001] * len(WAYS)


def test_a_proxy_that_keeps_connections_open(
    cluster: Cluster, edge: Edge, stack: ExitStack, tmp_path: Path
) -> None:
    front = start_nginx(cluster, edge, tmp_path, "proxy_set_header Host $http_host;")
    for _ in range(3):
        assert front.status("/healthz") == 200
        client = RawSockets(front, stack).connect()
        client.send(request(f"/ws?token={cluster.token('alice')}"))
        assert_served(client)
        client.send(client_frame(PING, b"!"))
        client.frames_until(PONG, b"!")
