"""The start of a connection, byte by byte, at a running edge (RFC 6455, section 4; protocol 7)."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.raw_http import KEY, RawSockets, assert_served, request, subscribe
from tests.support.waiting import wait_for
from tests.support.websocket_frames import CLOSE, PONG, TEXT, client_frame


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    """One cluster for all tests here: none of them stops a process."""
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge()


@pytest.fixture
def raw(edge: Edge) -> Iterator["RawSockets"]:
    with ExitStack() as stack:
        yield RawSockets(edge, stack)


def test_a_request_may_come_byte_by_byte(cluster: Cluster, raw: RawSockets) -> None:
    client = raw.connect()
    for byte in request(f"/ws?token={cluster.token('alice')}"):
        client.send(bytes([byte]))
    assert_served(client)


@pytest.mark.parametrize("split", [1, 7, 8, 20, -4, -3, -1])
def test_a_request_may_come_in_two_parts(cluster: Cluster, raw: RawSockets, split: int) -> None:
    client = raw.connect()
    whole = request(f"/ws?token={cluster.token('alice')}")
    client.send(whole[:split])
    client.send(whole[split:])
    assert_served(client)


def test_frames_that_follow_the_request_at_once_are_not_lost(
    cluster: Cluster, raw: RawSockets
) -> None:
    """Also when it is a message and a half, and the edge has not answered yet."""
    client = raw.connect()
    more = subscribe("event:a") + client_frame(0x89, b"!") + subscribe("event:b")
    client.send(request(f"/ws?token={cluster.token('alice')}") + more[:-5])
    client.send(more[-5:])
    assert client.response()[0] == 101
    frames = client.frames_until(TEXT, b"event:b")
    assert (PONG, b"!") in frames
    replies = [json.loads(payload) for first, payload in frames if first == TEXT]
    asked = [reply["topic"] for reply in replies if reply.get("action") == "subscribe"]
    assert asked == ["event:a", "event:b"]


def test_the_answer_to_the_handshake_is_the_first_that_comes(
    cluster: Cluster, edge: Edge, raw: RawSockets
) -> None:
    """While events arrive, to which the client has subscribed in the same breath."""
    emitter = cluster.emitter("counting")
    accepted = edge.metrics()["edge_connections_accepted"][""]
    for number in range(50):
        client = raw.connect()
        client.send(request(f"/ws?token={cluster.token('alice')}") + subscribe("event:*"))
        emitter.emit("event:counted", {"number": number})
        assert client.response()[0] == 101
        client.frames_until(TEXT, b"Subscribed")
    assert edge.metrics()["edge_connections_accepted"] == {"": accepted + 50}


def test_headers_may_come_more_than_once_and_in_any_case(cluster: Cluster, raw: RawSockets) -> None:
    client = raw.connect()
    token = cluster.token("alice")
    lines = [
        "GET /ws HTTP/1.1",
        "hOST: edge",
        "CONNECTION: keep-alive",
        "connection: upgrade",
        "UPGRADE: WebSocket",
        f"SEC-WEBSOCKET-KEY: {KEY}",
        "sec-websocket-version:13",
        "Sec-WebSocket-Extensions: foo",
        "Sec-WebSocket-Extensions: bar",
        f"AUTHORIZATION: Bearer {token}",
    ]
    client.send("\r\n".join(lines).encode() + b"\r\n\r\n")
    assert_served(client)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ([f"Sec-WebSocket-Key: {KEY}"], 400),
        (["Sec-WebSocket-Version: 13"], 426),
    ],
)
def test_a_header_that_may_come_once_is_not_valid_twice(
    cluster: Cluster, edge: Edge, raw: RawSockets, more: list[str], status: int
) -> None:
    client = raw.connect()
    refused = edge.metrics()["edge_handshakes_refused"][""]
    client.send(request("/ws", *more, Authorization=f"Bearer {cluster.token('alice')}"))
    answer = client.response()
    assert answer[0] == status
    assert "detail" in json.loads(answer[2])
    assert client.is_ended()
    assert edge.metrics()["edge_handshakes_refused"] == {"": refused + 1}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Authorization": "Bearer nonsense"}, 401),
    ],
)
def test_a_request_that_cannot_be_served_is_answered_and_the_connection_ends(
    raw: RawSockets, headers: dict[str, str], status: int
) -> None:
    client = raw.connect()
    client.send(request("/ws", **headers))
    answer = client.response()
    assert (answer[0], answer[1]["connection"]) == (status, "close")
    assert client.is_ended()
    if status == 426:
        assert answer[1]["sec-websocket-version"] == "13"


def test_a_wrong_position_is_refused_with_400(cluster: Cluster, raw: RawSockets) -> None:
    client = raw.connect()
    client.send(request(f"/ws?token={cluster.token('alice')}&task=1"))
    status, _, body = client.response()
    assert (status, json.loads(body)) == (400, {"detail": "task and addressed need the epoch."})


def test_headers_that_are_too_large_are_refused_with_431(edge: Edge, raw: RawSockets) -> None:
    client = raw.connect()
    client.send(b"GET /ws HTTP/1.1\r\nHost: edge\r\nCookie: " + b"x" * 40_000)
    assert client.response()[0] == 431
    assert client.is_ended()
    assert edge.status("/healthz") == 200


def test_without_an_upgrade_ws_is_a_page_that_is_not_there(raw: RawSockets) -> None:
    client = raw.connect()
    client.send(b"GET /ws HTTP/1.1\r\nHost: edge\r\n\r\n")
    status, _, body = client.response()
    assert (status, json.loads(body)) == (404, {"detail": "Not Found"})
    client.send(b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n")
    assert client.response()[0] == 200, "the connection goes on"


@pytest.mark.parametrize("path", ["/wsx", "/ws/", "/", "/healthz", "/wss?token=x"])
def test_elsewhere_there_is_no_websocket(raw: RawSockets, path: str) -> None:
    client = raw.connect()
    client.send(request(path))
    assert client.response()[0] == 403


def test_ordinary_requests_share_a_connection(edge: Edge, raw: RawSockets) -> None:
    client = raw.connect()
    for byte in b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n":
        client.send(bytes([byte]))
    assert json.loads(client.response()[2]) == {"status": "alive"}
    for path, kind in (("/", "text/html"), ("/static/relay-client.js", "text/javascript")):
        client.send(f"GET {path} HTTP/1.1\r\nHost: edge\r\n\r\n".encode())
        status, headers, body = client.response()
        assert status == 200
        assert headers["content-type"].startswith(kind)
        assert len(body) > 500
    client.send(b"HEAD /healthz HTTP/1.1\r\nHost: edge\r\n\r\n")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"GET /ws HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /ws \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n\r\n\r\nNONSENSE\r\n\r\n",
    ],
    ids=lambda data: repr(data[:16]),
)
def test_bytes_that_are_no_request_are_refused_and_harm_nobody(
    cluster: Cluster, edge: Edge, raw: RawSockets, garbage: bytes
) -> None:
    client = raw.connect()
    client.send(garbage)
    assert client.response()[0] in (400, 505)
    assert client.is_ended()
    other = cluster.connect(edge, "alice")
    assert other.subscribe("event:x")["status"] == "success"
    other.close()
    assert "Traceback" not in edge.process.output()


def test_a_client_that_goes_before_it_has_asked_leaves_nothing_behind(
    cluster: Cluster, edge: Edge, raw: RawSockets
) -> None:
    client = cluster.connect(edge, "alice")
    for part in (b"", b"GET /w", request("/ws")[:-2], request("/ws")):
        with socket.create_connection(("127.0.0.1", edge.port)) as sock:
            sock.sendall(part)
    client.subscribe("event:x")
    client.close()
    wait_for(lambda: edge.metrics()["edge_connections"] == {"": 0.0}, "all have left")
    assert "Traceback" not in edge.process.output()


class TestCookies:
    """The cookie in the handshake."""

    @pytest.mark.parametrize("where", ["alone", "among others", "in a second header"])
    def test_a_cookie_is_found(
        self, cluster: Cluster, edge: Edge, raw: RawSockets, where: str
    ) -> None:
        cookie = f"access_token_cookie={cluster.token('alice')}"
        cookies = {
            "alone": [f"Cookie: {cookie}"],
            "among others": [f'Cookie: a=1; {cookie}; b="x;y"'],
            "in a second header": ["Cookie: a=1", f"Cookie: {cookie}"],
        }
        client = raw.connect()
        client.send(request("/ws", *cookies[where], Origin=edge.url, Host=edge.url[7:]))
        assert_served(client)

    def test_an_invalid_cookie_is_ignored(self, edge: Edge, raw: RawSockets) -> None:
        client = raw.connect()
        client.send(request("/ws", 'Cookie: ;;="\\x=\xff; =', Origin=edge.url, Host=edge.url[7:]))
        assert client.response()[0] == 101
        client.send(client_frame(TEXT, b'{"action":"authenticate","token":""}'))
        assert client.frames_until(CLOSE)[-1][1][2:] == b"Missing token"


def test_a_library_reports_a_refusal(cluster: Cluster, edge: Edge) -> None:
    with pytest.raises(InvalidStatus) as refused:
        Client(f"ws://127.0.0.1:{edge.port}/ws?token=x", compression=None)
    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"
