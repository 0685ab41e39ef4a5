"""The start of a connection, byte by byte, at a running edge (RFC 6455, section 4; protocol 7)."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
from playwright.sync_api import sync_playwright
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from edge.websocket.front_door import FrontDoor
from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for
from tests.support.websocket_frames import CLOSE, PONG, TEXT, client_frame, split_frames

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TIMEOUT_S = 10.0

pytestmark = pytest.mark.xdist_group("front door")


class RawSocket:
    """A TCP connection to the edge on which the test writes each byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """Read an HTTP response: status, headers in lower case, body."""
        while b"\r\n\r\n" not in self._buffer:
            assert self._read(), f"the edge ended after {self._buffer!r}"
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        size = int(headers.get("content-length", 0))
        while len(self._buffer) < size:
            assert self._read(), "the body is not whole"
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return int(first.split()[1]), headers, body

    def frames_until(self, opcode_byte: int, text: bytes = b"") -> list[tuple[int, bytes]]:
        """Read frames up to one with this first byte and with `text` in it; return all of them."""
        came: list[tuple[int, bytes]] = []
        while True:
            frames, self._buffer = split_frames(self._buffer)
            came += frames
            for index, (first, payload) in enumerate(came):
                if first == opcode_byte and text in payload:
                    return came[: index + 1]
            assert self._read(), f"the edge ended after {came}"

    def is_ended(self) -> bool:
        """Read to the end of the connection; fail after `TIMEOUT_S` without it."""
        while self._read():
            pass
        return True

    def _read(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here: none of them stops a process."""
    cluster = Cluster(tmp_path_factory.mktemp("front-door"))
    try:
        cluster.start_relay()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge()


@pytest.fixture(scope="module")
def compressing(cluster: Cluster) -> Edge:
    return cluster.start_edge(EDGE_COMPRESSION="true")


@pytest.fixture
def raw(edge: Edge) -> Iterator["RawSockets"]:
    with ExitStack() as stack:
        yield RawSockets(edge, stack)


class RawSockets:
    """Opens connections to an edge."""

    def __init__(self, edge: Edge, stack: ExitStack) -> None:
        self._edge = edge
        self._stack = stack

    def connect(self) -> RawSocket:
        """Return a new connection."""
        address = ("127.0.0.1", self._edge.port)
        sock = self._stack.enter_context(socket.create_connection(address, TIMEOUT_S))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return RawSocket(sock)


def request(path: str, *more: str, **headers: str) -> bytes:
    """Return an upgrade request. `headers` replace those of the same name, or are added."""
    fields = {
        "Host": "edge",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), *more]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def subscribe(topic: str) -> bytes:
    return client_frame(TEXT, json.dumps({"action": "subscribe", "topic": topic}).encode())


def assert_served(client: RawSocket) -> None:
    """The handshake is done, and a request is answered."""
    status, headers, _ = client.response()
    assert status == 101
    assert headers["sec-websocket-accept"] == ACCEPT.decode().partition(": ")[2]
    client.send(subscribe("event:x"))
    client.frames_until(TEXT, b"Subscribed to topic 'event:x'")


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


def test_what_follows_the_request_at_once_is_not_lost(cluster: Cluster, raw: RawSockets) -> None:
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
        (["Authorization: Bearer x"], 401),
    ],
)
def test_what_may_come_once_is_not_valid_twice(
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
    assert (status, json.loads(body)) == (400, {"detail": "task needs the epoch."})


def test_headers_that_are_too_large_are_refused_with_431(edge: Edge, raw: RawSockets) -> None:
    client = raw.connect()
    client.send(b"GET /ws HTTP/1.1\r\nHost: edge\r\nCookie: " + b"x" * 20_000)
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


def test_a_websocket_may_be_opened_on_a_connection_that_had_a_page(
    cluster: Cluster, raw: RawSockets
) -> None:
    """As some clients do. It is served through ASGI then, and knows no difference."""
    client = raw.connect()
    client.send(b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n")
    assert client.response()[0] == 200
    client.send(request(f"/ws?token={cluster.token('alice')}"))
    assert_served(client)
    cluster.emitter("another").emit("event:x", {"n": "and on"})
    client.frames_until(TEXT, b'"n":"and on"')
    client.send(client_frame(CLOSE, b"\x03\xe8"))
    assert client.frames_until(CLOSE)[-1][1][:2] == b"\x03\xe8"


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
def test_what_is_no_request_is_refused_and_harms_nobody(
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


class SilentTransport:
    """As much of a transport as silence needs."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.is_aborted = False

    def get_protocol(self) -> Any:
        """Who reads."""
        return self.protocol

    def abort(self) -> None:
        """Remember."""
        self.is_aborted = True

    def write(self, data: bytes) -> None:
        """Nothing is said to somebody who says nothing."""
        raise AssertionError(data)


@pytest.mark.parametrize("said", [b"", b"G", b"GET /ws?", request("/ws")[:-2]])
def test_who_does_not_say_what_it_wants_is_cut_off(said: bytes) -> None:
    """As it is told when the time is over; to wait for that would take 10 s."""

    config: Any = None
    endpoint, state = SimpleNamespace(arriving=set()), SimpleNamespace(connections=set())
    door = FrontDoor(config, cast(Any, state), {"client_endpoint": endpoint})
    transport: Any = SilentTransport()
    transport.protocol = door
    door.connection_made(transport)
    assert endpoint.arriving == {door.abort_if_silent}
    if said:
        door.data_received(said)
    assert not transport.is_aborted
    door.abort_if_silent()
    assert transport.is_aborted


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

    def test_a_cookie_that_cannot_be_read_is_as_good_as_none(
        self, edge: Edge, raw: RawSockets
    ) -> None:
        client = raw.connect()
        client.send(request("/ws", 'Cookie: ;;="\\x=\xff; =', Origin=edge.url, Host=edge.url[7:]))
        assert client.response()[0] == 101
        client.send(client_frame(TEXT, b'{"action":"authenticate","token":""}'))
        assert client.frames_until(CLOSE)[-1][1][2:] == b"Missing token"


OPEN_WEBSOCKET = """
(token) => new Promise((opened, failed) => {
  window.came = [];
  const socket = new WebSocket(`ws://${location.host}/ws?token=${token}`);
  const request = { action: "subscribe", topic: "event:browsed", id: "x".repeat(250) };
  socket.onopen = () => socket.send(JSON.stringify(request));
  socket.onclose = ({ code, reason }) => failed(new Error(`${code} ${reason}`));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.id === request.id) opened(socket.extensions);
    if (message.topic === request.topic && message.data) window.came.push(message);
  };
})
"""


class TestCompression:
    """`EDGE_COMPRESSION`."""

    def connect(self, cluster: Cluster, edge: Edge, compression: str | None) -> Client:
        url = f"ws://127.0.0.1:{edge.port}/ws?token={cluster.token('alice')}"
        return Client(url, compression=compression)

    def test_events_arrive_alike_with_and_without(
        self, cluster: Cluster, compressing: Edge
    ) -> None:
        small = self.connect(cluster, compressing, "deflate")
        plain = self.connect(cluster, compressing, None)
        assert len(small.extensions) == 1
        assert plain.extensions == []
        # No more than may wait for a client, for they are read one after the other.
        texts = ["händler " * size for size in (0, 1, 90, 128, 1_000, 20_000)] * 6
        texts.append("händler " * 110_000)
        for client in (small, plain):
            client.subscribe("event:*")
        emitter = cluster.emitter("large")
        for text in texts:
            emitter.emit("event:counted", {"text": text})
        for client in (small, plain):
            came = [client.receive_on("event:counted")["data"]["text"] for _ in texts]
            assert came == texts
        late = self.connect(cluster, compressing, "deflate")
        late.send({"action": "subscribe", "topic": "event:counted", "last": len(texts)})
        late.receive_until(lambda message: message.get("recovered") is True, "the reply")
        replayed = [message["data"]["text"] for message in late.received if "offset" in message]
        assert replayed == texts

    def test_what_clients_send_may_be_compressed(self, cluster: Cluster, compressing: Edge) -> None:
        client = self.connect(cluster, compressing, "deflate")
        for number in range(3):
            request = {"action": "subscribe", "topic": "event:x", "id": f"{number}" + "x" * 200}
            assert client.ask(request)["id"] == request["id"]
        client.send({"action": "subscribe", "topic": "event:" + "x" * 1_000_000})
        assert client.wait_closed()[0] == 1009, "it is small only on its way"

    def test_an_edge_that_does_not_compress_accepts_no_offer(
        self, cluster: Cluster, edge: Edge
    ) -> None:
        client = self.connect(cluster, edge, "deflate")
        assert client.extensions == []
        client.subscribe("event:x")

    def test_who_wants_a_smaller_window_is_served_plainly(
        self, cluster: Cluster, compressing: Edge
    ) -> None:
        url = f"ws://127.0.0.1:{compressing.port}/ws?token={cluster.token('alice')}"
        wish = ClientPerMessageDeflateFactory(server_max_window_bits=9)
        client = Client(url, compression=None, extensions=[wish])
        assert client.extensions == []
        client.subscribe("event:x")

    def test_a_browser_gets_the_events_as_well(self, cluster: Cluster, compressing: Edge) -> None:
        path = require_chromium()
        emitter = cluster.emitter("for-the-browser")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
            page = browser.new_page()
            page.goto(compressing.url)
            extensions = page.evaluate(OPEN_WEBSOCKET, cluster.token("alice"))
            assert "permessage-deflate" in extensions
            texts = ["ä" * size for size in (0, 1, 100, 5_000, 300_000)] * 3
            for text in texts:
                emitter.emit("event:browsed", {"text": text})
            page.wait_for_function("count => window.came.length >= count", arg=len(texts))
            assert page.evaluate("window.came.map((event) => event.data.text)") == texts
            browser.close()

    def test_it_is_for_websockets_only(self, compressing: Edge) -> None:
        with urllib.request.urlopen(f"{compressing.url}/healthz", timeout=TIMEOUT_S) as response:
            assert response.status == 200


def test_who_is_refused_is_told_so_by_a_library_as_well(cluster: Cluster, edge: Edge) -> None:
    with pytest.raises(InvalidStatus) as refused:
        Client(f"ws://127.0.0.1:{edge.port}/ws?token=x", compression=None)
    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"
