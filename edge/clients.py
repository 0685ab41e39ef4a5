"""Connections as the fan-out writes to them: directly, or through any ASGI server.

Both follow the same policy for a client that reads slowly. While its transport is full, live
values are merged to the newest and other frames wait; when more than `max_queued_bytes` wait,
the connection is closed with 4008.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from starlette.websockets import WebSocket

from edge.core.access import Identity
from edge.core.close_codes import Close, CloseCode
from edge.core.frames import frame_payload
from edge.core.send_queue import SendQueue
from edge.stats import EdgeStats
from edge.websocket import DirectWebSocketProtocol

REFILL_BYTES = 64 * 1024
"""How much is handed to a transport at a time once it has room again."""


logger = logging.getLogger(__name__)


class Client(Protocol):
    """What sessions, fan-out and housekeeping need of a connection."""

    identity: Identity

    @property
    def closed(self) -> bool:
        """Whether `close` was called: nothing more is sent, nothing more is heard."""

    def send(self, frame: bytes) -> None:
        """See `Connection`."""

    def send_live(self, topic: str, frame: bytes) -> None:
        """See `Connection`."""

    def close(self, close: Close) -> None:
        """Send the close frame behind what was sent already, and nothing more."""

    @property
    def waiting(self) -> int:
        """How many frames have been handed over and not written."""

    async def drained(self) -> None:
        """Wait until what was sent is on its way, or the connection is closed."""

    def gone(self) -> None:
        """The connection is over; what is not written never will be."""


class Turn:
    """The connections that have something to write when this turn of the event loop ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writers: list[Callable[[], None]] = []

    def add(self, write: Callable[[], None]) -> None:
        """Have `write` called once, after whatever else happens in this turn."""
        if not self._writers:
            self._loop.call_soon(self._end)
        self._writers.append(write)

    def _end(self) -> None:
        writers, self._writers = self._writers, []
        for write in writers:
            try:
                write()
            except Exception:
                # A fault with one connection must not keep the others from being written to.
                logger.exception("frames could not be written")


class DirectClient:
    """Writes to the transport, once a turn whatever the number of frames."""

    identity: Identity

    def __init__(
        self,
        protocol: DirectWebSocketProtocol,
        turn: Turn,
        stats: EdgeStats,
        max_queued_bytes: int,
    ) -> None:
        self._protocol = protocol
        self._turn = turn
        self._stats = stats
        self._max_queued_bytes = max_queued_bytes
        self._frames: list[bytes] = []
        """To be written at the end of this turn."""
        self._queue: SendQueue | None = None
        """Waits while the transport is full; None otherwise."""
        self._room: asyncio.Event | None = None
        """While frames wait: set when there is room again."""
        self.closed = False
        protocol.write_listener = self

    @property
    def waiting(self) -> int:
        """See `Client`."""
        return len(self._frames) + (0 if self._queue is None else len(self._queue))

    def send(self, frame: bytes) -> None:
        """See `Connection`."""
        if self.closed:
            self._stats.disconnected += 1
            return
        if self._queue is not None:
            self._queue.add(frame)
            self._check_limit(self._queue)
            return
        if not self._frames:
            self._turn.add(self._write)
        self._frames.append(frame)

    def send_live(self, topic: str, frame: bytes) -> None:
        """See `Connection`."""
        if self._queue is None or self.closed:
            self.send(frame)
            return
        if self._queue.add_live(topic, frame):
            self._stats.conflated += 1
        self._check_limit(self._queue)

    def close(self, close: Close) -> None:
        """Close behind what was written before; what waits for a full transport is given up."""
        if self.closed:
            return
        self._write()
        self.gone()
        self._stats.closed[close.code] += 1
        self._protocol.close_now(close)

    async def drained(self) -> None:
        """See `Client`."""
        if self._room is not None:
            await self._room.wait()

    def gone(self) -> None:
        """See `Client`."""
        self.closed = True
        self._stats.disconnected += self.waiting
        self._frames = []
        self._end_pause()

    def pause_writing(self) -> None:
        """See `WriteListener`."""
        if self._queue is None and not self.closed:
            self._queue = SendQueue()
            self._room = asyncio.Event()

    def resume_writing(self) -> None:
        """See `WriteListener`."""
        queue = self._queue
        if queue is None:
            return
        while queue:
            self._hand_over(queue.take(REFILL_BYTES))
            if self._protocol.buffered_bytes() > REFILL_BYTES:
                return  # full again; the transport will call once more
        self._end_pause()

    def _end_pause(self) -> None:
        self._queue = None
        if self._room is not None:
            self._room.set()
            self._room = None

    def _write(self) -> None:
        frames = self._frames
        if not frames:
            return
        self._frames = []
        self._hand_over(frames)

    def _hand_over(self, frames: list[bytes]) -> None:
        if self._protocol.write_frames(frames[0] if len(frames) == 1 else b"".join(frames)):
            self._stats.written += len(frames)
        else:
            self._stats.disconnected += len(frames)

    def _check_limit(self, queue: SendQueue) -> None:
        if queue.queued_bytes > self._max_queued_bytes:
            self._stats.slow_consumer += len(queue)
            queue.clear()
            self.close(CloseCode.TOO_SLOW.close())


class AsgiClient:
    """Sends message by message through the server, from a task of its own."""

    identity: Identity

    def __init__(self, websocket: WebSocket, stats: EdgeStats, max_queued_bytes: int) -> None:
        self._websocket = websocket
        self._stats = stats
        self._max_queued_bytes = max_queued_bytes
        self._queue = SendQueue()
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        """Cleared while frames wait."""
        self._has_room.set()
        self._close: Close | None = None
        self._is_gone = False
        self._in_hand = 0
        """Frames that were taken from the queue to be sent."""

    @property
    def closed(self) -> bool:
        """See `Client`."""
        return self._close is not None or self._is_gone

    @property
    def waiting(self) -> int:
        """See `Client`."""
        return len(self._queue) + self._in_hand

    def send(self, frame: bytes) -> None:
        """See `Connection`."""
        if self.closed:
            self._stats.disconnected += 1
            return
        self._queue.add(frame)
        self._check_limit()

    def send_live(self, topic: str, frame: bytes) -> None:
        """See `Connection`."""
        if self.closed:
            self._stats.disconnected += 1
            return
        if self._queue.add_live(topic, frame):
            self._stats.conflated += 1
        self._check_limit()

    def close(self, close: Close) -> None:
        """Close behind what was sent before."""
        if self._close is None:
            self._close = close
            self._stats.closed[close.code] += 1
            self._changed.set()
            self._has_room.set()

    async def drained(self) -> None:
        """See `Client`."""
        await self._has_room.wait()

    def gone(self) -> None:
        """See `Client`."""
        self._is_gone = True
        self._stats.disconnected += self.waiting
        self._in_hand = 0
        self._queue.clear()
        self._has_room.set()

    async def run(self) -> None:
        """Send what is queued until `close`, or until the client is gone."""
        while True:
            while self._queue:
                frames = self._queue.take(REFILL_BYTES)
                self._in_hand = len(frames)
                for frame in frames:
                    await self._websocket.send_text(frame_payload(frame).decode())
                    if self._is_gone:
                        return
                    self._in_hand -= 1
                    self._stats.written += 1
            self._has_room.set()
            if self._close is not None:
                await self._websocket.close(self._close.code, self._close.reason)
                return
            self._changed.clear()
            await self._changed.wait()

    def _check_limit(self) -> None:
        self._has_room.clear()
        self._changed.set()
        if self._queue.queued_bytes > self._max_queued_bytes:
            self._stats.slow_consumer += len(self._queue)
            self._queue.clear()
            self.close(CloseCode.TOO_SLOW.close())
