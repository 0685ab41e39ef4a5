"""A `Host` that makes a `Client` of every socket, and peers that read when they are told to."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

from edge.core.stats import EdgeStats
from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import Message
from edge.core.websocket.send_queue import Budget
from edge.core.websocket.server_protocol import Sending
from edge.scheduling.deadlines import Deadlines
from edge.scheduling.end_of_turn import EndOfTurnWrites
from edge.websocket.client import Client, ClientServices
from tests.edge.asgi_server import accept_asgi
from tests.support.websocket_frames import CLOSE, client_frame, split_frames

MAX_QUEUED_BYTES = 256 * 1024
SEND_BUFFER_BYTES = 16 * 1024
MAX_MESSAGE_BYTES = 64 * 1024
DEADLINE_S = 20.0


class WatchedTransport:
    """Passes everything on to a transport, and remembers what each write consisted of."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.writes: list[bytes] = []
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Remember, then write."""
        self.writes.append(bytes(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Peer:
    """A client's socket. It reads only when it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._rest = b""
        self._frames: list[tuple[int, bytes]] = []
        self.has_ended = False
        """Whether the server has closed the connection, or cut it."""

    @property
    def has_frames(self) -> bool:
        """Whether something whole was read and not yet looked at."""
        return bool(self._frames)

    async def frame(self) -> tuple[int, bytes] | None:
        """The next frame, as first byte and payload; None at the end."""
        while not self._frames and not self.has_ended:
            await self.read()
        return self._frames.pop(0) if self._frames else None

    async def message(self) -> bytes | None:
        """The payload of the next frame; None at the end or when the server closes."""
        frame = await self.frame()
        return None if frame is None or frame[0] == CLOSE else frame[1]

    async def messages(self, count: int) -> list[bytes | None]:
        """The next messages."""
        return [await self.message() for _ in range(count)]

    async def to_the_end(self) -> list[tuple[int, bytes]]:
        """All frames that are still to come."""
        frames = []
        while (frame := await self.frame()) is not None:
            frames.append(frame)
        assert self._rest == b"", "the last frame is not whole"
        return frames

    async def read(self, size: int = 65536) -> bytes:
        """Read some bytes; what is whole among them is kept for `frame`."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, size)
        except ConnectionResetError:
            data = b""
        self.has_ended = not data
        frames, self._rest = split_frames(self._rest + data)
        self._frames += frames
        return data

    def read_now(self, size: int) -> bool:
        """Read what is there already; return whether there was something."""
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            return False
        frames, self._rest = split_frames(self._rest + data)
        self._frames += frames
        return True

    async def send(self, first: int, payload: bytes) -> None:
        """Send one frame."""
        await self.send_raw(client_frame(first, payload))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes."""
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def hang_up(self) -> None:
        """Close the connection."""
        self._socket.close()

    def reset(self) -> None:
        """Vanish: the server gets a RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


class Server:
    """Accepts on real sockets, and records the calls of its clients."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        max_total_bytes: int = 2**40,
        close_timeout_s: float = 60.0,
        road: str = "socket",
    ) -> None:
        """`road` is what lies under each client: a "socket", or an "asgi" server."""
        self.loop = loop
        self._road = road
        self.stats = EdgeStats()
        self.budget = Budget(max_total_bytes)
        self._closing = Deadlines[Client](loop, close_timeout_s, Client.abort)
        self.services = ClientServices(
            self,
            Sending(self.stats, self.budget, max_queued_bytes),
            EndOfTurnWrites(loop),
            self._closing,
            MAX_MESSAGE_BYTES,
        )
        self.received_messages: list[Message] = []
        self.frames_heard = 0
        self.line: list[Callable[[], None]] | None = None
        """The clients that wait for a turn."""
        self.fault: Exception | None = None
        self.most_frames = 10**9
        """Of all clients; who sends more is closed."""
        self.bytes_heard = 0
        self.most_bytes = 10**12
        self.departed: list[Client] = []
        self.connections: set[Any] = set()
        self.clients: list[Client] = []
        self.transports: dict[Client, WatchedTransport] = {}
        self._stack = contextlib.ExitStack()
        self._heard = asyncio.Event()

    # As `Host`.

    def in_turn(self, client: Client, work: Callable[[], None]) -> bool:
        """It is always everybody's turn, unless `line` is there."""
        if self.line is None:
            work()
            return True
        self.line.append(work)
        self._heard.set()
        return False

    def has_time(self) -> bool:
        """A turn lasts, unless `line` is there: then it is for one frame."""
        return self.line is None

    def frame_received(self, client: Client) -> bool:
        """Count up to the limit."""
        self.frames_heard += 1
        self._heard.set()
        if self.frames_heard <= self.most_frames:
            return True
        client.close(CloseCode.TOO_MANY_MESSAGES.close())
        return False

    def bytes_received(self, client: Client, size: int) -> bool:
        """Count up to the limit."""
        self.bytes_heard += size
        if self.bytes_heard <= self.most_bytes:
            return True
        client.close(CloseCode.TOO_MANY_MESSAGES.close("too many bytes"))
        return False

    def message_received(self, client: Client, message: Message) -> None:
        """Remember, or fail."""
        if self.fault is not None:
            raise self.fault
        self.received_messages.append(message)
        self._heard.set()

    def connection_lost(self, client: Client) -> None:
        """Remember."""
        self.departed.append(client)
        self._heard.set()

    # For tests.

    async def connect(self, *, compresses: bool = False, unix: bool = False) -> tuple[Peer, Client]:
        """Both ends of a new connection.

        On a Unix socket a small write is taken whole or not at all, and a full one stays full until
        the peer reads. TCP may take a little more whenever it probes the peer's window.
        """
        ours, theirs = await (self._unix_pair() if unix else self._tcp_pair())
        if self._road == "asgi":
            self.clients.append(await accept_asgi(self.loop, ours, self.services, self._stack))
        else:
            await self.loop.connect_accepted_socket(lambda: _Accept(self, compresses), ours)
        return Peer(theirs), self.clients[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what a client does to arrive."""
        while not condition():
            self._heard.clear()
            await self._heard.wait()

    async def stall(self, client: Client, filling: bytes) -> list[bytes]:
        """Send frames to a client that does not read until some wait; return their payloads."""
        sent: list[bytes] = []
        while not await self._stays_full(client):
            sent.append(b"%06d " % len(sent) + filling)
            client.send(text(sent[-1]))
            await turn()
        assert not client.closed
        return sent

    async def _stays_full(self, client: Client) -> bool:
        """Whether frames wait for the peer, and not for a task that is about to run."""
        for _ in range(10):
            if client.queued_bytes == 0:
                return False
            await turn()
        return True

    async def _tcp_pair(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            theirs = self._stack.enter_context(socket.socket())
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            theirs.setblocking(False)
            await self.loop.sock_connect(theirs, listener.getsockname())
            ours, _ = await self.loop.sock_accept(listener)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        return ours, theirs

    async def _unix_pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        self._stack.enter_context(theirs)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        ours.setblocking(False)
        return ours, theirs

    def close(self) -> None:
        """Cut everything."""
        self._closing.close()
        for transport in self.transports.values():
            transport.abort()
        self._stack.close()


class _Accept(asyncio.Protocol):
    """Becomes a `Client` at once."""

    def __init__(self, server: Server, compresses: bool) -> None:
        self._server = server
        self._compresses = compresses

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        server = self._server
        watched: Any = WatchedTransport(transport)  # type: ignore[arg-type]
        client = Client(watched, server.services, server.connections, compresses=self._compresses)
        server.transports[client] = watched
        server.clients.append(client)


def text(payload: bytes) -> bytes:
    """A text frame, made apart from what is tested."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | Opcode.TEXT, size) + payload
    if size < 2**16:
        return struct.pack("!BBH", 0x80 | Opcode.TEXT, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | Opcode.TEXT, 127, size) + payload


async def turn() -> None:
    """Let the event loop do what is due, twice: what was queued, and what that has queued."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    """A server on the running loop, with a deadline for what is done with it."""
    server = Server(asyncio.get_running_loop(), **options)
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield server
    finally:
        server.close()
        await turn()
