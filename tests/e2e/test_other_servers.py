"""The edge under ASGI servers that are not ours: which protections hold, and what comes instead.

docs/operations.md, "Other ASGI servers", states the differences that are tested here.
"""

import json
import struct
from contextlib import ExitStack
from typing import NamedTuple

import psutil
import pytest

from tests.support.cluster import Cluster, Edge
from tests.support.raw_http import RawSocket, RawSockets, assert_served, request, subscribe
from tests.support.waiting import wait_for
from tests.support.websocket_frames import CLOSE, PING, PONG, TEXT, client_frame

NO_CLOSE_FRAME = 1006
NO_CODE = 1005
MAX_QUEUED_BYTES = 1_000_000
MAX_GROWTH_BYTES = 60 * 2**20
MAX_STRANGERS_LINES = 30


class Server(NamedTuple):
    """A server, and how it differs from our own."""

    module: str
    options: tuple[str, ...] = ()
    broken_frame: int = 1002
    bad_text: int = 1007
    huge_message: int = 1009
    """20 MiB: more than the server itself takes."""
    shutdown: int = 1001
    compression: bool = True
    bounds_pings: bool = True
    """Whether a client that pings and does not read leaves the memory as it is."""
    counts_pings: bool = False


SERVERS = {
    "uvicorn with our HTTP": Server(
        "uvicorn",
        ("--http", "edge.uvicorn:http"),
        compression=False,
        counts_pings=True,
    ),
    "uvicorn": Server("uvicorn", shutdown=1012, bounds_pings=False),
    "hypercorn": Server(
        "hypercorn",
        broken_frame=NO_CLOSE_FRAME,
        bad_text=NO_CLOSE_FRAME,
    ),
    "granian": Server(
        "granian",
        broken_frame=NO_CODE,
        bad_text=NO_CODE,
        huge_message=NO_CODE,
        shutdown=NO_CLOSE_FRAME,
        compression=False,
        bounds_pings=False,
    ),
}


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Server:
    return SERVERS[request.param]


@pytest.fixture(scope="module")
def edge(server: Server, shared_cluster: Cluster) -> Edge:
    return start(shared_cluster, server)


@pytest.fixture
def client(shared_cluster: Cluster, edge: Edge, stack: ExitStack) -> RawSocket:
    return opened(shared_cluster, edge, stack)


def start(cluster: Cluster, server: Server) -> Edge:
    return cluster.start_plain_edge(
        server.module, *server.options, EDGE_MAX_QUEUED_BYTES=str(MAX_QUEUED_BYTES)
    )


def opened(cluster: Cluster, edge: Edge, stack: ExitStack) -> RawSocket:
    """A client whose handshake is done."""
    client = RawSockets(edge, stack).connect()
    client.send(request(f"/ws?token={cluster.token('alice')}"))
    assert_served(client)
    return client


def close_code(client: RawSocket) -> int:
    """The code of the close frame that comes next; `NO_CLOSE_FRAME` if the connection just ends."""
    try:
        payload = client.frames_until(CLOSE)[-1][1]
    except AssertionError:
        return NO_CLOSE_FRAME
    return struct.unpack("!H", payload[:2])[0] if payload else NO_CODE


def memory_bytes(edge: Edge) -> int:
    root = psutil.Process(edge.process.pid)
    return sum(process.memory_info().rss for process in (root, *root.children(recursive=True)))


def closed(edge: Edge, code: int) -> float:
    return edge.metrics()["edge_closed"].get(str(code), 0.0)


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        (b"\x81\x01x", "broken_frame"),
        (b"\x83\x80\0\0\0\0", "broken_frame"),
        (client_frame(CLOSE, b"\0"), "broken_frame"),
        (client_frame(TEXT, b'{"action":"\xff"}'), "bad_text"),
        (client_frame(TEXT, b"x" * 20_000_000), "huge_message"),
    ],
    ids=["unmasked", "unknown opcode", "bad close frame", "bad UTF-8", "20 MB"],
)
def test_a_violation_ends_the_connection_and_harms_nobody(
    shared_cluster: Cluster,
    edge: Edge,
    server: Server,
    client: RawSocket,
    stack: ExitStack,
    frames: bytes,
    kind: str,
) -> None:
    other = opened(shared_cluster, edge, stack)
    try:
        client.send(frames)
    except OSError:
        assert kind == "huge_message"
    assert close_code(client) == getattr(server, kind)
    if kind != "huge_message":  # hypercorn waits until the client hangs up.
        assert client.is_ended()
    other.send(subscribe("event:y"))
    other.frames_until(TEXT, b"Subscribed to topic 'event:y'")
    assert "Traceback" not in edge.process.output()


def test_a_message_in_pieces_is_taken_and_measured(client: RawSocket) -> None:
    text = json.dumps({"action": "subscribe", "topic": "event:pieces"}).encode()
    client.send(client_frame(1, text[:9]) + client_frame(PING, b"!") + client_frame(0x80, text[9:]))
    came = client.frames_until(TEXT, b"Subscribed to topic 'event:pieces'")
    assert (PONG, b"!") in came
    client.send(client_frame(1, b"x" * 40_000) + client_frame(0x80, b"x" * 40_000))
    assert close_code(client) == 1009


def test_who_does_not_answer_a_close_frame_is_cut_off_within_seconds(
    shared_cluster: Cluster, edge: Edge, stack: ExitStack
) -> None:
    """One that reads nothing, one that sends too much, one that sends too large a message."""
    stalled, talker, large = (opened(shared_cluster, edge, stack) for _ in range(3))
    stalled.send(subscribe("event:big"))
    stalled.frames_until(TEXT, b"Subscribed to topic 'event:big'")
    emitter = shared_cluster.emitter(f"manager-{edge.port}")
    before = memory_bytes(edge)
    slow = closed(edge, 4008)

    def is_too_slow() -> bool:
        emitter.emit("event:big", {"ballast": "x" * 200_000})
        return closed(edge, 4008) > slow

    wait_for(is_too_slow, "the client is too slow")
    assert memory_bytes(edge) - before < MAX_GROWTH_BYTES
    talker.send(client_frame(TEXT, b"{}") * 6000)
    large.send(client_frame(TEXT, b"x" * 70_000))
    assert close_code(large) == 1009
    assert close_code(talker) == 4029
    for client in (large, talker):
        assert client.is_ended()
    # Only the end of the socket at the edge counts here: its own end is not read.
    wait_for(lambda: not edge_holds(edge, stalled), "the client that does not read is cut off")
    assert "Traceback" not in edge.process.output()


def edge_holds(edge: Edge, client: RawSocket) -> bool:
    """Whether the edge's end of this connection exists."""
    return any(
        each.pid is not None and each.laddr[1:] == (edge.port,) and each.raddr[1:] == (client.port,)
        for each in psutil.net_connections("tcp")
    )


@pytest.mark.parametrize("has_token", [True, False], ids=["a user", "a stranger"])
def test_pings_of_a_client_that_does_not_read(
    shared_cluster: Cluster, server: Server, edge: Edge, stack: ExitStack, has_token: bool
) -> None:
    if not server.bounds_pings:
        pytest.skip("this server keeps an answer to each ping, which an application cannot see")
    client = RawSockets(edge, stack).connect()
    query = f"?token={shared_cluster.token('alice')}" if has_token else ""
    client.send(request(f"/ws{query}"))
    assert client.response()[0] == 101
    before = memory_bytes(edge)
    client.send_while_taken(client_frame(PING, b"x" * 125) * 500, MAX_GROWTH_BYTES * 2)
    assert memory_bytes(edge) - before < MAX_GROWTH_BYTES
    if server.counts_pings:
        wait_for(lambda: closed(edge, 4029) > 0, "the pings are too many")


def test_a_hundred_strangers_leave_few_lines(edge: Edge) -> None:
    before = len(edge.process.output().splitlines())
    refused = edge.metrics()["edge_handshakes_refused"][""]
    strangers = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"GET /ws HTTP/1.1\r\nno colon\r\n\r\n",
        request("/ws?token=nonsense"),
        request("/ws", Authorization="Bearer nonsense"),
        request("/ws", Sec_WebSocket_Version="8"),
        request("/ws", Sec_WebSocket_Key="short"),
        request("/elsewhere"),
        request("/ws") + b"\x81\x01x",
        request("/ws") + client_frame(TEXT, b"\xff"),
        request("/ws") + client_frame(CLOSE, b""),
    ]
    with ExitStack() as stack:
        sockets = RawSockets(edge, stack)
        for data in strangers * 10:
            sockets.connect().send(data)
        for data in (b"", b"GET /w", request("/ws")[:-2], request("/ws")):
            sockets.connect_and_leave(data)
        wait_for(
            lambda: edge.metrics()["edge_handshakes_refused"][""] >= refused + 20,
            "the bad tokens are refused",
        )
    wait_for(lambda: edge.metrics()["edge_connections"][""] == 0, "all have left")
    output = edge.process.output()
    assert "Traceback" not in output
    assert len(output.splitlines()) - before <= MAX_STRANGERS_LINES, output
    assert "nonsense" not in output
    assert edge.status("/healthz") == 200


def test_compression_is_the_servers_own(
    shared_cluster: Cluster, server: Server, edge: Edge, stack: ExitStack
) -> None:
    client = RawSockets(edge, stack).connect()
    token = shared_cluster.token("alice")
    client.send(request(f"/ws?token={token}", Sec_WebSocket_Extensions="permessage-deflate"))
    offered = client.response()[1].get("sec-websocket-extensions", "")
    assert offered.startswith("permessage-deflate") == server.compression


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_shutdown_is_told(cluster: Cluster, stack: ExitStack, name: str) -> None:
    cluster.start_relay()
    edge = start(cluster, SERVERS[name])
    clients = [opened(cluster, edge, stack) for _ in range(3)]
    edge.process.signal(15)
    assert [close_code(client) for client in clients] == [SERVERS[name].shutdown] * 3
    for client in clients:
        assert client.is_ended()
    edge.process.wait_ended()
    assert cluster.token("alice").partition(".")[0] not in edge.process.output()
