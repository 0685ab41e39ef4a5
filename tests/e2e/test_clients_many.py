"""Many clients at once: a storm of handshakes, and slow clients (protocol section 7)."""

import asyncio
import base64
import json
import os
import re
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for
from tests.support.websocket_frames import CLOSE, PING, PONG, TEXT, client_frame, split_frames

MANY = 2_000
LAST = 10**9
STORM_TIMEOUT_S = 60.0
CONNECTING = asyncio.Semaphore(100)
"""The edge cuts connections that send nothing: so few wait at a time to send their request."""
SENT_AWAY = re.compile(r"overloaded, retry in (\d+) s\Z")

pytestmark = pytest.mark.timeout(180)


class StormClient:
    """One of many: subscribes together with its handshake, and records the events it receives."""

    def __init__(self, port: int, token: str, topic: str) -> None:
        self._port = port
        self._topic = topic
        self._token = token
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._rest = b""
        self._listening: asyncio.Task[None] | None = None
        self._something_came = asyncio.Event()
        self.numbers: list[int] = []
        """The numbers in the received events."""
        self.closed_with: tuple[int, str] | None = None
        self.is_served = False

    async def come(self) -> None:
        """Connect; return after the reply to the subscription, or after a close by the edge."""
        self.closed_with, self._rest = None, b""
        key = base64.b64encode(os.urandom(16)).decode()
        ask = json.dumps({"action": "subscribe", "topic": self._topic, "id": 1}).encode()
        async with CONNECTING:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writer.write(
                f"GET /ws?token={self._token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n".encode()
                + client_frame(TEXT, ask)
            )
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        while not self.is_served and self.closed_with is None:
            await self._read()
        if self.is_served:
            self._listening = asyncio.create_task(self._listen())

    async def has_got(self, number: int) -> None:
        """Wait for the event with this number."""
        while self.numbers[-1:] != [number]:
            assert self._listening is not None
            assert not self._listening.done(), self.closed_with
            self._something_came.clear()
            await self._something_came.wait()

    def leave(self) -> None:
        """Cut the connection."""
        if self._listening is not None:
            self._listening.cancel()
        if self._writer is not None:
            self._writer.transport.abort()

    async def _listen(self) -> None:
        """Read and answer pings in a task of its own."""
        try:
            while self.closed_with is None:
                await self._read()
        finally:
            self._something_came.set()

    async def _read(self) -> None:
        assert self._reader is not None
        assert self._writer is not None
        data = await self._reader.read(65536)
        assert data, "the edge has cut the connection without a close frame"
        frames, self._rest = split_frames(self._rest + data)
        for first, payload in frames:
            if first == CLOSE:
                self.closed_with = int.from_bytes(payload[:2]), payload[2:].decode()
            elif first == PING:
                self._writer.write(client_frame(PONG, payload))
            elif first == TEXT:
                self._take(json.loads(payload))

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("action") == "subscribe":
            assert message["status"] == "success", message
            self.is_served = True
        elif message.get("topic") == self._topic:
            self.numbers.append(message["data"]["n"])
            self._something_came.set()


def test_in_a_storm_everybody_is_served_or_told_when_to_come_back(cluster: Cluster) -> None:
    """Clients that were connected before get each event meanwhile, in order."""
    cluster.start_relay()
    edge = cluster.start_edge(
        EDGE_ADMISSION_WAIT_S="0.05", EDGE_MAX_CONNECTIONS_PER_USER=str(2 * MANY)
    )
    emitter = cluster.emitter()
    ended = threading.Event()
    emitted: list[int] = []

    def emit() -> None:
        while not ended.wait(0.005):
            emitter.emit("event:counted", {"n": len(emitted)})
            emitted.append(len(emitted))

    async def storm() -> None:
        live = [StormClient(edge.port, cluster.token("alice"), "event:counted") for _ in range(10)]
        await asyncio.gather(*(client.come() for client in live))
        assert all(client.is_served for client in live)
        thread = threading.Thread(target=emit)
        thread.start()
        try:
            await meet(live, thread)
        finally:
            ended.set()
            thread.join()

    async def meet(live: list[StormClient], emitting: threading.Thread) -> None:
        tokens = [cluster.token(f"user {n}") for n in range(50)]
        crowd = [StormClient(edge.port, tokens[n % 50], "event:calm") for n in range(MANY)]
        async with asyncio.timeout(STORM_TIMEOUT_S):
            await asyncio.gather(*(client.come() for client in crowd))
            came_back = 0
            while away := [client for client in crowd if not client.is_served]:
                for client in away:
                    assert client.closed_with is not None
                    code, reason = client.closed_with
                    assert code == 4013
                    said = SENT_AWAY.match(reason)
                    assert said is not None, reason
                    assert 1 <= int(said[1]) < STORM_TIMEOUT_S
                    client.leave()
                # A few at a time, as if each had waited for the time that the edge told it.
                for start in range(0, len(away), 50):
                    await asyncio.gather(*(client.come() for client in away[start : start + 50]))
                came_back += len(away)
            ended.set()
            await asyncio.to_thread(emitting.join)
            emitter.emit("event:counted", {"n": LAST})
            emitter.emit("event:calm", {"n": LAST})
            await asyncio.gather(*(client.has_got(LAST) for client in (*live, *crowd)))
        total = len(emitted)
        for client in live:
            assert client.numbers == [*range(total), LAST]
        for client in crowd:
            assert client.numbers == [LAST]
        metrics = await asyncio.to_thread(edge.metrics)
        assert metrics["edge_closed"].get("4013", 0) == came_back
        assert metrics["edge_connections"][""] == len(live) + MANY
        assert metrics["edge_waiting_requests"][""] == 0
        accepted = metrics["edge_connections_accepted"][""]
        assert accepted == len(live) + MANY + came_back
        for client in (*live, *crowd):
            client.leave()

    asyncio.run(storm())
    wait_for(lambda: edge.metrics()["edge_connections"][""] == 0, "all have left", 20)
    check_accounts(edge)
    assert "Traceback" not in edge.process.output()


def check_accounts(edge: Edge) -> None:
    """Each message handed to a client is counted by its end."""
    metrics = edge.metrics()
    handed = metrics["edge_deliveries"][""] + metrics["edge_messages_sent"][""]
    ends = ("written", "slow_consumer", "disconnected", "conflated", "waiting")
    assert handed == sum(metrics[f"edge_{name}"][""] for name in ends)


class Stalled:
    """A slow client: subscribes, and reads nothing more until `read_to_close`."""

    def __init__(self, edge: Edge, token: str, topic: str, stack: ExitStack) -> None:
        self._socket = stack.enter_context(socket.socket())
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(20)
        self._socket.connect(("127.0.0.1", edge.port))
        ask = json.dumps({"action": "subscribe", "topic": topic}).encode()
        self._socket.sendall(
            f"GET /ws?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
            + client_frame(TEXT, ask)
        )
        self._buffer = b""
        self.offsets: list[int] = []
        while b"Subscribed" not in self._buffer:
            self._buffer += self._socket.recv(1024)
        self._buffer = self._buffer.partition(b"\r\n\r\n")[2]

    def read_to_close(self) -> tuple[int, str]:
        """Read all events up to the close frame; return its code and reason."""
        while True:
            frames, self._buffer = split_frames(self._buffer)
            for first, payload in frames:
                if first == CLOSE:
                    return int.from_bytes(payload[:2]), payload[2:].decode()
                if first == TEXT and "offset" in (message := json.loads(payload)):
                    self.offsets.append(message["offset"])
            data = self._socket.recv(65536)
            assert data, "the connection was cut without a close frame"
            self._buffer += data


def test_of_many_that_do_not_read_the_furthest_behind_is_closed_first(
    cluster: Cluster, stack: ExitStack
) -> None:
    total_bytes = 12_000_000
    cluster.start_relay()
    edge = cluster.start_edge(
        EDGE_MAX_QUEUED_TOTAL_BYTES=str(total_bytes), EDGE_MAX_QUEUED_BYTES="100000000"
    )
    reading = cluster.connect(edge, "alice")
    reading.subscribe("event:*")
    emitter = cluster.emitter()
    ballast = "x" * 100_000
    sent = 0

    def emit(topic: str) -> None:
        nonlocal sent
        emitter.emit(topic, {"ballast": ballast})
        sent += 1
        # It reads as fast as the edge writes, so that it is never among the slow ones.
        while reading.receive_on(topic)["offset"] != sent:
            pass

    def waiting() -> float:
        return edge.metrics()["edge_waiting_bytes"][""]

    token = cluster.token("bob")
    worst = Stalled(edge, token, "event:*", stack)
    patterns = ("event:c*", "event:co*", "event:com*")
    others = [Stalled(edge, token, pattern, stack) for pattern in patterns]
    while waiting() < 1_000_000:
        emit("event:rare")
    # Each is 800 kB further behind than the next, so that they are closed in a known order.
    for topic in ("event:c", "event:co") * 8:
        emit(topic)
    while edge.metrics()["edge_closed"].get("4008", 0) == 0:
        assert waiting() <= total_bytes
        emit("event:common")
    metrics = edge.metrics()
    assert metrics["edge_closed"] == {"4008": 1.0}
    assert metrics["edge_slow_consumer"][""] > 20
    assert metrics["edge_waiting_bytes"][""] <= total_bytes
    assert metrics["edge_waiting"][""] > 0, "the others still wait"
    assert worst.read_to_close() == (4008, "too slow")
    assert worst.offsets == list(range(1, len(worst.offsets) + 1)), "up to a place, and no hole"
    assert len(worst.offsets) < sent
    check_accounts(edge)
    for closed, other in enumerate(others, start=2):
        while edge.metrics()["edge_closed"]["4008"] < closed:
            emit("event:common")
        # Read it at once: the edge cuts a connection whose close frame is not taken.
        assert other.read_to_close() == (4008, "too slow")
    wait_for(lambda: edge.metrics()["edge_connections"][""] <= 4, "the reading one stays")
    metrics = edge.metrics()
    assert (metrics["edge_waiting_bytes"][""], metrics["edge_waiting"][""]) == (0, 0)
    emit("event:common")
    offsets = [message["offset"] for message in reading.received if "offset" in message]
    assert offsets == list(range(1, sent + 1))
    check_accounts(edge)


def test_who_is_closed_for_being_slow_resumes_without_a_hole(
    cluster: Cluster, stack: ExitStack
) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_MAX_QUEUED_BYTES="200000")
    slow = Stalled(edge, cluster.token("alice"), "event:*", stack)
    emitter = cluster.emitter()
    sent = 0
    while not edge.metrics()["edge_closed"].get("4008"):
        for _ in range(10):
            emitter.emit("event:x", {"ballast": "x" * 20_000})
            sent += 1
        assert emitter.wait_acknowledged(30), "the relay takes them"
    assert slow.read_to_close() == (4008, "too slow")
    again = cluster.connect(edge, "alice")
    epoch = again.subscribe("event:none")["epoch"]
    since = {"event": slow.offsets[-1] if slow.offsets else 0}
    again.send({"action": "subscribe", "topic": "event:*", "since": since, "epoch": epoch})
    again.receive_until(lambda message: message.get("offset") == sent, "the last event")
    resumed = [message["offset"] for message in again.received if "offset" in message]
    assert slow.offsets + resumed == list(range(1, sent + 1))
    counts = Counter(edge.metrics()["edge_closed"])
    assert counts == {"4008": 1}
