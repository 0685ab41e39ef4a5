"""One lean WebSocket client of the swarm: connects, resumes, and records each message.

A message costs it a few microseconds, so that the system under test is the load of a test.
"""

import asyncio
import base64
import os
import random
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import cast

import orjson

from tests.support.swarm_record import Record
from tests.support.websocket_frames import CLOSE, PING, PONG, TEXT, client_frame, split_frames

ABNORMAL = 1006
"""The code of a connection that was cut without a close frame."""
REFUSED = 0
"""The code of a refused TCP connection."""
MAY_RECONNECT = frozenset({REFUSED, 1001, ABNORMAL, 1011, 4008, 4013})
"""1011 ends a ping that was not answered in time: the client was starved (protocol section 7)."""
ESTABLISHED = 1
"""The state of a TCP connection in Linux's `tcp_info`."""
RECONNECT_DELAY_S = (0.05, 0.4)


@dataclass
class ConnectionAccount:
    """The frames that one connection received, for comparison with the edge's own count."""

    began_at: float
    """When it was opened, by the monotonic clock, in seconds."""
    port: int
    """The port to which it was opened."""
    frames: int = 0
    """The number of text frames received."""
    is_whole: bool = True
    """False if frames may have been lost: the connection was cut without a close frame."""


class SwarmClient:
    """Stays connected to the edge at `port`: reconnects whenever its connection ends."""

    def __init__(
        self,
        name: str,
        port: int,
        token: str,
        record: Record,
        *,
        username: str = "",
        receive_buffer_bytes: int | None = None,
    ) -> None:
        """With a small `receive_buffer_bytes` the edge's writes stall soon after reading stops."""
        self.name = name
        self.port = port
        self.username = username
        self.record = record
        self.closes: Counter[int] = Counter()
        """The number of ended connections by close code, with `ABNORMAL` and `REFUSED`."""
        self.close_reasons: Counter[str] = Counter()
        """The number of close frames by code and reason."""
        self.accounts: list[ConnectionAccount] = []
        """One for each connection on which a handshake was requested.

        An edge that stood still answers a request whose client has gone, and counts the frames that
        it writes behind the answer.
        """
        self.connections = 0
        """The number of completed handshakes."""
        self.settled_at = 0.0
        """When the last subscription of this connection was answered, by the monotonic clock."""
        self._token = token
        self._receive_buffer_bytes = receive_buffer_bytes
        self.has_small_buffer = receive_buffer_bytes is not None
        self._connection: _Connection | None = None
        self._silent: _Connection | None = None
        """The connection that `stop_reading` paused."""
        self._leaving = False
        self._random = random.Random(name)

    @property
    def is_settled(self) -> bool:
        """Whether it is connected and has a reply to each of its subscriptions."""
        connection = self._connection
        return connection is not None and connection.is_open and self.record.is_settled

    @property
    def is_given_up(self) -> bool:
        """Whether the connection that `stop_reading` paused has brought its end.

        Reading nothing, the client itself does not notice. An end behind more than the kernel's
        buffers hold does not arrive.
        """
        silent = self._silent
        return silent is None or not silent.is_established

    # The methods below run in the swarm's loop.

    async def run(self) -> None:
        """Stay connected until `leave`, or until a close code forbids to reconnect."""
        while True:
            code = await self._connect_and_stay()
            self._connection = None
            if self._leaving:
                return
            self.closes[code] += 1
            if code not in MAY_RECONNECT:
                self.record.errors.append(f"the edge closed with {code}, which is final")
                return
            await asyncio.sleep(self._random.uniform(*RECONNECT_DELAY_S))

    def leave(self) -> None:
        """Cut the connection and do not reconnect."""
        self._leaving = True
        self.abort()

    def abort(self) -> None:
        """Cut the connection, as a lost network does; the client reconnects."""
        if self._connection is not None:
            self._connection.abort()

    def move(self, port: int) -> None:
        """Cut the connection; the next one goes to another port."""
        self.port = port
        self.abort()

    def stop_reading(self) -> None:
        """Stop reading: arriving data stays in the kernel's buffers."""
        if self._connection is not None:
            self._silent = self._connection
            self._silent.pause()

    def resume_reading(self) -> None:
        """Read again."""
        if self._silent is not None:
            self._silent.resume()
            self._silent = None

    async def _connect_and_stay(self) -> int:
        """Return the code with which the connection has ended."""
        loop = asyncio.get_running_loop()
        port = self.port
        raw = socket.socket()
        connection = _Connection(self, raw, loop.create_future())
        raw.setblocking(False)
        if self._receive_buffer_bytes is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
        try:
            await loop.sock_connect(raw, ("127.0.0.1", port))
            await loop.create_connection(lambda: connection, sock=raw)
        except OSError:
            raw.close()
            return REFUSED
        self._connection = connection
        if self._leaving or port != self.port:
            # `leave` or `move` was called meanwhile, and had nothing to cut.
            connection.abort()
        return await connection.closed

    def opening(self) -> bytes:
        """The request that opens the WebSocket."""
        key = base64.b64encode(os.urandom(16)).decode()
        return (
            f"GET /ws?token={self._token}{self.record.query()} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def opened(self) -> bytes:
        """Note the completed handshake; return the frames that subscribe."""
        self.connections += 1
        requests = self.record.begin_connection()
        self.settled_at = time.monotonic()
        return b"".join(client_frame(TEXT, orjson.dumps(request)) for request in requests)


class _Connection(asyncio.Protocol):
    """One connection of a client."""

    _transport: asyncio.Transport

    def __init__(
        self, client: SwarmClient, raw: socket.socket, closed: asyncio.Future[int]
    ) -> None:
        self.closed = closed
        self.is_open = False
        self._client = client
        self._raw = raw
        self._rest = b""
        self._code = ABNORMAL
        self._account = ConnectionAccount(time.monotonic(), client.port)

    @property
    def is_established(self) -> bool:
        """Whether neither side has closed the TCP connection."""
        try:
            return self._raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED
        except OSError:
            return False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._client.accounts.append(self._account)
        self._transport.write(self._client.opening())

    def data_received(self, data: bytes) -> None:
        self._rest = self._rest + data if self._rest else data
        if not self.is_open and not self._read_handshake():
            return
        frames, self._rest = split_frames(self._rest)
        self._account.frames += len(frames)
        record = self._client.record
        take = record.take
        before = record.replies
        for first, payload in frames:
            if first == TEXT:
                take(orjson.loads(payload))
            else:
                self._control(first, payload)
        if record.replies != before:
            self._client.settled_at = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._account.is_whole = self._code != ABNORMAL
        if not self.closed.done():
            self.closed.set_result(self._code)

    def abort(self) -> None:
        self._transport.abort()

    def pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _read_handshake(self) -> bool:
        head, end, rest = self._rest.partition(b"\r\n\r\n")
        if not end:
            return False
        status = head.split(b"\r\n", 1)[0]
        if b" 101 " not in status:
            self._client.record.errors.append(f"the handshake was answered with {status!r}")
            self._code = int(status.split(b" ")[1])
            self.abort()
            return False
        self.is_open = True
        self._rest = rest
        self._transport.write(self._client.opened())
        return True

    def _control(self, first: int, payload: bytes) -> None:
        self._account.frames -= 1
        if first == PING:
            self._transport.write(client_frame(PONG, payload))
        elif first == CLOSE:
            self._code = int.from_bytes(payload[:2]) if len(payload) >= 2 else 1005
            self._client.close_reasons[f"{self._code} {payload[2:].decode()}"] += 1
            self.is_open = False
            self._transport.write(client_frame(CLOSE, payload[:2]))
            self._transport.close()
        elif first != PONG:
            self._client.record.errors.append(f"a frame that starts with {first:#x}")
            self.abort()
