"""The HTTP of a running edge: HEAD, requests that never end, and the end of the server."""

import http.client
import socket
from contextlib import ExitStack

import pytest

from tests.support.cluster import Cluster, Edge
from tests.support.raw_http import RawSockets
from tests.support.waiting import wait_for

PATHS = (
    "/",
    "/docs",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/static/relay-client.js",
    "/auth/me",
    "/api/tasks",
    "/api/topics",
    "/nowhere",
)
UPLOAD = (
    b"POST /auth/token HTTP/1.1\r\nHost: edge\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
)


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    """One for the tests that do not stop it."""
    return cluster.start_edge()


@pytest.fixture(scope="module")
def plain_edge(cluster: Cluster) -> Edge:
    return cluster.start_plain_edge()


def ask(edge: Edge, method: str, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=20)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("road", ["our server", "another server"])
@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_a_body(
    cluster: Cluster, edge: Edge, plain_edge: Edge, path: str, road: str
) -> None:
    chosen = edge if road == "our server" else plain_edge
    token = cluster.token("alice")
    status, headers, body = ask(chosen, "GET", path, token)
    head_status, head_headers, head_body = ask(chosen, "HEAD", path, token)
    assert (head_status, head_body) == (status, b"")
    assert body
    changing = {"date", "content-length"} if path == "/metrics" else {"date"}
    assert {name: headers[name] for name in headers.keys() - changing} == {
        name: head_headers[name] for name in head_headers.keys() - changing
    }


def test_head_leaves_the_connection_usable(edge: Edge, stack: ExitStack) -> None:
    client = RawSockets(edge, stack).connect()
    for _ in range(3):
        client.send(b"HEAD /healthz HTTP/1.1\r\nHost: edge\r\n\r\n")
        assert b"200 OK" in client.head()
    client.send(b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n")
    assert client.response()[0] == 200


def test_head_of_an_action_is_not_allowed(edge: Edge) -> None:
    assert ask(edge, "HEAD", "/auth/token", "")[0] == 405


@pytest.mark.parametrize("road", ["our server", "another server"])
def test_a_large_upload_is_refused(
    edge: Edge, plain_edge: Edge, stack: ExitStack, road: str
) -> None:
    chosen = edge if road == "our server" else plain_edge
    client = RawSockets(chosen, stack).connect()
    client.send(UPLOAD + b"Content-Length: 70000\r\n\r\nusername=")
    assert client.response()[0] == 413
    assert "Traceback" not in chosen.process.output()


def test_half_an_upload_does_not_delay_the_end_and_leaves_no_traceback(
    cluster: Cluster, stack: ExitStack
) -> None:
    edge = cluster.start_edge()
    client = RawSockets(edge, stack).connect()
    client.send(UPLOAD + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n")
    assert client.response()[0] == 100, "the route waits for the body"
    client.send(b"username=")
    assert edge.process.terminate() == 0
    assert client.response()[0] == 503
    assert client.is_ended()
    lines = edge.process.output().splitlines()
    assert not [line for line in lines if "ERROR" in line or "Traceback" in line]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_half_a_download_leaves_no_traceback(cluster: Cluster, workers: str) -> None:
    """Nobody reads a page that is larger than all buffers."""
    edge = cluster.start_edge(EDGE_WORKERS=workers)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", edge.port))
        page = b"GET /static/vendor/swagger-ui-bundle.js HTTP/1.1\r\nHost: edge\r\n\r\n"
        client.sendall(page * 8)
        client.settimeout(20)
        assert client.recv(1) == b"H"
        wait_for(lambda: edge.status("/healthz") == 200, "the edge goes on")
        assert edge.process.terminate() == 0
    assert "Traceback" not in edge.process.output()
