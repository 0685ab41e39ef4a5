"""`DirectClient` on a real server with real TCP clients, among them one that does not read."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvicorn
import uvloop
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from edge.clients import DirectClient, Turn
from edge.core.close_codes import CloseCode
from edge.core.frames import text_frame
from edge.stats import EdgeStats
from edge.websocket import DirectWebSocketProtocol, direct_protocol

MAX_QUEUED_BYTES = 256 * 1024
STALLED_BYTES = 64 * 1024
"""More than this in the transport's buffer, and it has said that it is full."""
DEADLINE_S = 20.0

Scenario = Callable[["Server"], Coroutine[Any, Any, None]]


class CountingProtocol(DirectWebSocketProtocol):
    """Remembers what each write consisted of."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.writes: list[bytes] = []

    def write_frames(self, frames: bytes) -> bool:
        """Remember, then write."""
        self.writes.append(frames)
        return super().write_frames(frames)


class Reader:
    """A client that reads only when it is told to."""

    def __init__(self, sock: socket.socket, port: int) -> None:
        self._socket = sock
        self._protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/"))
        self._unread: list[bytes] = []

    async def connect(self, port: int) -> None:
        """Complete the handshake."""
        await asyncio.get_running_loop().sock_connect(self._socket, ("127.0.0.1", port))
        self._protocol.send_request(self._protocol.connect())
        await self._flush()
        while self._protocol.state is State.CONNECTING:
            await self._read()
        assert self._protocol.handshake_exc is None

    async def receive(self) -> bytes | None:
        """Return the next message, None when the server has closed."""
        while not self._unread:
            if self._protocol.close_rcvd is not None or not await self._read():
                return None
        return self._unread.pop(0)

    async def receive_all(self) -> list[bytes]:
        """Read to the end."""
        messages = []
        while (message := await self.receive()) is not None:
            messages.append(message)
        return messages

    @property
    def closed_with(self) -> tuple[int, str] | None:
        """Code and reason of the server's close frame."""
        close = self._protocol.close_rcvd
        return None if close is None else (close.code, close.reason)

    async def _read(self) -> bool:
        data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        await self._flush()
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._unread.append(bytes(event.data))
        return bool(data)

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                await asyncio.get_running_loop().sock_sendall(self._socket, data)


class Server:
    """A uvicorn server whose application makes a `DirectClient` of every connection."""

    def __init__(self) -> None:
        self.stats = EdgeStats()
        self.protocols: dict[DirectClient, CountingProtocol] = {}
        self.port = 0
        self._turn: Turn | None = None
        self._connected: asyncio.Queue[DirectClient] = asyncio.Queue()
        self._server: uvicorn.Server | None = None
        self._stack = contextlib.ExitStack()

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """Accept, and wait for the end."""
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        protocol = direct_protocol(scope["extensions"])
        assert isinstance(protocol, CountingProtocol)
        if self._turn is None:
            self._turn = Turn(asyncio.get_running_loop())
        client = DirectClient(protocol, self._turn, self.stats, MAX_QUEUED_BYTES)
        self.protocols[client] = protocol
        protocol.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024
        )
        self._connected.put_nowait(client)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve on a free port."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.application,
            ws=CountingProtocol,
            ws_per_message_deflate=False,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        with self._stack:
            serving = asyncio.create_task(self._server.serve(sockets=[listener]))
            try:
                yield
            finally:
                self.stop()
                await serving

    def stop(self) -> None:
        """Begin the shutdown."""
        assert self._server is not None
        self._server.should_exit = True

    async def connect(self) -> tuple[Reader, DirectClient]:
        """Both ends of a new connection."""
        sock = self._stack.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        reader = Reader(sock, self.port)
        await reader.connect(self.port)
        return reader, await self._connected.get()

    async def stall(self, client: DirectClient) -> list[bytes]:
        """Send to a client that does not read until its transport is full; return what was sent."""
        sent: list[bytes] = []
        while self.protocols[client].buffered_bytes() <= STALLED_BYTES:
            sent.append(b"%06d " % len(sent) + b"x" * 8192)
            client.send(text_frame(sent[-1]))
            await turn()
        assert not client.closed
        return sent


async def turn() -> None:
    """Let the event loop do what is due, twice: what was queued, and what that has queued."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Run a scenario on either event loop, with a deadline."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    async def on_stage(scenario: Scenario) -> None:
        server = Server()
        async with asyncio.timeout(DEADLINE_S), server.running():
            await scenario(server)

    def run(scenario: Scenario) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(on_stage(scenario))

    return run


def test_what_is_sent_in_one_turn_goes_out_in_one_write_in_order(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(server: Server) -> None:
        reader, client = await server.connect()
        other_reader, other = await server.connect()
        frames = [text_frame(b"%d" % number) for number in range(20)]
        for frame in frames:
            client.send(frame)
            other.send_live("live:a", frame)
        assert server.protocols[client].writes == [], "nothing is written before the turn ends"
        expected = [b"%d" % number for number in range(20)]
        assert [await reader.receive() for _ in frames] == expected
        assert [await other_reader.receive() for _ in frames] == expected
        assert server.protocols[client].writes == [b"".join(frames)]
        assert server.protocols[other].writes == [b"".join(frames)]

    play(scenario)


def test_a_client_that_does_not_read_is_closed_with_4008_when_it_reads_again(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(server: Server) -> None:
        reader, client = await server.connect()
        sent = await server.stall(client)
        written = list(sent)
        queued = 0
        while not client.closed:
            sent.append(b"%06d " % len(sent) + b"x" * 8192)
            client.send(text_frame(sent[-1]))
            queued += len(text_frame(sent[-1]))
            assert queued <= MAX_QUEUED_BYTES + 2 * 8300, "the limit is kept"
        assert queued > MAX_QUEUED_BYTES
        client.send(text_frame(b"too late"))
        received = await reader.receive_all()
        assert received == written, "all that was written arrives, and nothing behind the gap"
        assert reader.closed_with == CloseCode.TOO_SLOW.close()
        assert server.stats.closed == {4008: 1}

    play(scenario)


def test_a_client_that_reads_again_in_time_gets_everything_in_order(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(server: Server) -> None:
        reader, client = await server.connect()
        sent = await server.stall(client)
        for _ in range(20):
            sent.append(b"%06d " % len(sent) + b"x" * 8192)
            client.send(text_frame(sent[-1]))
            await turn()
        assert [await reader.receive() for _ in sent] == sent
        client.send(text_frame(b"and on"))
        assert await reader.receive() == b"and on"
        assert not client.closed

    play(scenario)


def test_live_values_are_merged_to_the_newest_while_the_client_does_not_read(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(server: Server) -> None:
        reader, client = await server.connect()
        sent = await server.stall(client)
        client.send(text_frame(b"before"))
        for number in range(10_000):
            client.send_live("live:a", text_frame(b"a%d" % number))
            client.send_live("live:b", text_frame(b"b%d" % number))
        client.send(text_frame(b"after"))
        assert server.stats.conflated == 2 * 9_999
        assert not client.closed
        assert [await reader.receive() for _ in sent] == sent
        assert [await reader.receive() for _ in range(4)] == [
            b"before",
            b"a9999",
            b"b9999",
            b"after",
        ]
        client.send_live("live:a", text_frame(b"current"))
        assert await reader.receive() == b"current"

    play(scenario)


def test_live_values_of_too_many_topics_close_a_slow_client_as_well(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(server: Server) -> None:
        reader, client = await server.connect()
        await server.stall(client)
        number = 0
        while not client.closed:
            client.send_live(f"live:{number}", text_frame(b"x" * 1000))
            number += 1
            assert number <= MAX_QUEUED_BYTES // 1000 + 1, "the limit is kept"
        await reader.receive_all()
        assert reader.closed_with == CloseCode.TOO_SLOW.close()

    play(scenario)


def test_a_slow_client_does_not_delay_the_others(play: Callable[[Scenario], None]) -> None:
    async def scenario(server: Server) -> None:
        _, slow = await server.connect()
        reader, fast = await server.connect()
        await server.stall(slow)
        for number in range(100):
            message = b"%d" % number + b"y" * 5000
            slow.send(text_frame(message))
            fast.send(text_frame(message))
            assert await reader.receive() == message
        assert slow.closed
        assert not fast.closed

    play(scenario)


def test_close_goes_out_behind_what_was_sent_before(play: Callable[[Scenario], None]) -> None:
    async def scenario(server: Server) -> None:
        reader, client = await server.connect()
        client.send(text_frame(b"last words"))
        client.close(CloseCode.TOKEN_EXPIRED.close())
        client.close(CloseCode.RELAY_LOST.close())
        client.send(text_frame(b"too late"))
        assert await reader.receive_all() == [b"last words"]
        assert reader.closed_with == (4001, "token expired")
        assert server.stats.closed == {4001: 1}

    play(scenario)


def test_a_server_that_stops_says_1001(play: Callable[[Scenario], None]) -> None:
    async def scenario(server: Server) -> None:
        reader, _ = await server.connect()
        server.stop()
        assert await reader.receive_all() == []
        assert reader.closed_with == CloseCode.GOING_AWAY.close()

    play(scenario)
