"""`AsgiTransport` alone, and the application on a server that is not ours."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocket

from edge.core.websocket.close_codes import Close, CloseCode
from edge.websocket.asgi import serve_websocket
from edge.worker import WORKER
from tests.edge.websocket.stage import FILLING, close_payload, play_on
from tests.edge.wire import MAX_MESSAGE_BYTES, Server, text, turn
from tests.support.cluster import Cluster, Edge
from tests.support.websocket_frames import CLOSE, TEXT


@pytest.fixture
def plain_edge(cluster: Cluster) -> Edge:
    """A relay, and the edge under plain uvicorn."""
    cluster.start_relay()
    return cluster.start_plain_edge()


def test_events_arrive_in_order(cluster: Cluster, plain_edge: Edge) -> None:
    client = cluster.connect(plain_edge, "alice")
    assert client.subscribe("event:*")["position"] == {"event": 0}
    emitter = cluster.emitter()
    for number in range(200):
        emitter.emit("event:counted", {"number": number})
    received = [client.receive_on("event:counted") for _ in range(200)]
    assert [message["data"]["number"] for message in received] == list(range(200))
    assert [message["offset"] for message in received] == list(range(1, 201))


def test_missed_events_come_before_new_ones(cluster: Cluster, plain_edge: Edge) -> None:
    """More than the client may have waiting at a time, so that the pass has to wait for it."""
    emitter = cluster.emitter()
    client = cluster.connect(plain_edge, "alice")
    epoch = client.subscribe("event:counted")["epoch"]
    for number in range(1, 3001):
        emitter.emit("event:counted", {"number": number, "ballast": "x" * 1000})
    client.receive_until(lambda message: message.get("offset") == 3000, "the last event")
    again = cluster.connect(plain_edge, "alice")
    again.send(
        {"action": "subscribe", "topic": "event:counted", "since": {"event": 10}, "epoch": epoch}
    )
    emitter.emit("event:counted", {"number": 3001})
    again.receive_until(lambda message: message.get("offset") == 3001, "the last event")
    offsets = [message["offset"] for message in again.received if "offset" in message]
    assert offsets == list(range(11, 3002))


def test_a_task_reaches_its_user_alone(cluster: Cluster, plain_edge: Edge) -> None:
    alice, admin = (
        cluster.connect(plain_edge, "alice"),
        cluster.connect(plain_edge, "root", "admin"),
    )
    for client in (alice, admin):
        client.subscribe("event:marker")
    assert admin.ask({"action": "subscribe", "topic": "*"})["status"] == "success"
    emitter = cluster.emitter()
    emitter.emit("task:1", {"status": "in_progress"}, username="alice")
    assert alice.receive_on("task:1")["data"] == {"status": "in_progress"}
    before = admin.drain_until(lambda: emitter.emit("event:marker", {}))
    assert [message for message in before if message.get("topic") == "task:1"] == []


def test_a_client_that_does_not_answer_a_close_is_cut_off() -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        client.send(text(b"last words"))
        client.close(CloseCode.TOKEN_EXPIRED.close())
        await server.until(lambda: server.departed == [client])
        assert await peer.to_the_end() == [
            (TEXT, b"last words"),
            (CLOSE, close_payload(4001, "token expired")),
        ]

    play_on("asyncio", scenario, road="asgi", close_timeout_s=0.1)


def test_a_stalled_client_is_cut_off_when_it_does_not_answer_a_close() -> None:
    async def scenario(server: Server) -> None:
        _, client = await server.connect(unix=True)
        await server.stall(client, FILLING)
        client.close(CloseCode.TRY_AGAIN_LATER.close())
        await server.until(lambda: server.departed == [client])
        assert (server.budget.used_bytes, len(server.budget)) == (0, 0)

    play_on("asyncio", scenario, road="asgi", close_timeout_s=0.1)


def test_keepalive_is_left_to_the_server() -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        for _ in range(5):
            client.check_alive()
        client.send(text(b"no ping before this"))
        assert await peer.frame() == (TEXT, b"no ping before this")
        assert not client.closed

    play_on("asyncio", scenario, road="asgi")


def test_a_message_that_is_too_large_is_closed_with_1009() -> None:
    async def scenario(server: Server) -> None:
        peer, _ = await server.connect()
        await peer.send(TEXT, b"x" * (MAX_MESSAGE_BYTES + 1))
        assert await peer.frame() == (CLOSE, close_payload(1009, "message too large"))
        await peer.send(CLOSE, close_payload(1009))
        await server.until(lambda: len(server.departed) == 1)
        assert server.received_messages == []

    play_on("asyncio", scenario, road="asgi")


def test_a_client_that_sends_too_much_is_closed_with_4029_and_not_read_any_more() -> None:
    async def scenario(server: Server) -> None:
        server.most_frames = 10
        peer, client = await server.connect()
        for _ in range(50):
            await peer.send(TEXT, b"x")
        assert await peer.frame() == (CLOSE, close_payload(4029, "too many messages"))
        await server.until(lambda: server.departed == [client])
        assert (server.frames_heard, len(server.received_messages)) == (11, 10)

    play_on("asyncio", scenario, road="asgi", close_timeout_s=0.1)


def test_a_client_that_is_paused_is_not_read() -> None:
    async def scenario(server: Server) -> None:
        peer, client = await server.connect()
        await peer.send(TEXT, b"1")
        await server.until(lambda: len(server.received_messages) == 1)
        client.pause_reading()
        await peer.send(TEXT, b"2")
        await peer.send(TEXT, b"3")
        for _ in range(20):
            await turn()
        # One message may be on its way already.
        assert len(server.received_messages) <= 2
        client.resume_reading()
        await server.until(lambda: len(server.received_messages) == 3)

    play_on("asyncio", scenario, road="asgi")


class OverloadedEndpoint:
    """Knows every visitor, and has no time for any."""

    def __init__(self) -> None:
        self.closes: list[int] = []

    def identify(self, *credentials: Any) -> None:
        """Let anybody in."""

    def overload_s(self) -> float:
        """The wait of the oldest request."""
        return 7.5

    def turned_away(self, close: Close) -> Close:
        """Remember."""
        self.closes.append(close.code)
        return close


def test_an_overloaded_edge_turns_clients_away_with_4013() -> None:
    endpoint = OverloadedEndpoint()
    worker = SimpleNamespace(endpoint=endpoint, cutter=None)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "headers": [], "query_string": b"", "state": {WORKER: worker}}
    asyncio.run(serve_websocket(WebSocket(scope, receive, send)))
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert (sent[1]["code"], sent[1]["reason"]) == (4013, "overloaded, retry in 8 s")
    assert endpoint.closes == [4013]


def test_a_wrong_first_message_is_closed_with_the_reason(
    cluster: Cluster, plain_edge: Edge
) -> None:
    client = cluster.connect(plain_edge)
    client.send({"action": "subscribe", "topic": "event:a"})
    assert client.wait_closed() == (1008, "Missing authentication message")


def test_a_binary_message_is_closed_with_1003(cluster: Cluster, plain_edge: Edge) -> None:
    client = cluster.connect(plain_edge, "alice")
    client.send(b"\x00")
    assert client.wait_closed()[0] == 1003
