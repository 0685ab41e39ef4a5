"""Connections as the fan-out writes to them: directly, or through any ASGI server.

Both follow the same policy for a client that reads slowly. While its transport is full, live
values are merged to the newest and other frames wait; when more than `max_queued_bytes` wait, the
connection is closed with 4008. When more than the edge's budget waits for all of them together,
the slowest are closed first.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from os import write
from typing import Any, Protocol

from starlette.websockets import WebSocket

from edge.core.hub.audience import FrameBatch, send_each
from edge.core.hub.send_queue import Budget, SendQueue
from edge.core.identity.access import Identity
from edge.core.stats import EdgeStats
from edge.core.websocket.close_codes import Close, CloseCode
from edge.core.websocket.frames import FrameDeflater, close_frame, frame_payload, ping_frame
from edge.scheduling.deadlines import Deadlines

REFILL_BYTES = 64 * 1024
"""How much is handed to a transport at a time once it has room again."""
CLOSED = -1
"""In place of a file descriptor."""
PING = ping_frame(b"relay")
FAULT = Close(1011, "internal error")
UNRESPONSIVE = Close(1011, "keepalive ping timeout")

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

    def send_batch(self, batch: FrameBatch) -> None:
        """See `Connection`."""

    def close(self, close: Close) -> None:
        """Send the close frame behind what was sent already, and nothing more."""

    @property
    def waiting(self) -> int:
        """How many frames have been handed over and not written."""

    async def drained(self) -> None:
        """Wait until what was sent is on its way, or the connection is closed."""

    def pause_reading(self) -> None:
        """Hear nothing more until `resume_reading` was called as often as this."""

    def resume_reading(self) -> None:
        """Undo one `pause_reading`."""

    def check_alive(self) -> None:
        """Called now and then: end a connection whose client is no longer there."""

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
        for each in writers:
            try:
                each()
            except Exception:
                # A fault with one connection must not keep the others from being written to.
                logger.exception("frames could not be written")


@dataclass(frozen=True, slots=True)
class Writing:
    """What the clients of a worker have in common."""

    stats: EdgeStats
    turn: Turn
    budget: Budget
    max_queued_bytes: int
    """What may wait for one client."""
    closing: Deadlines["DirectClient"]
    """Those that have been sent a close frame."""
    deflater: FrameDeflater = field(default_factory=FrameDeflater)


class DirectClient:
    """Writes to the socket, once a turn whatever the number of frames.

    What the kernel does not take at once is left to the transport. Until that has sent it, what
    comes waits here.
    """

    __slots__ = (
        "_compresses",
        "_fd",
        "_frames",
        "_opening",
        "_pauses",
        "_pong",
        "_queue",
        "_room",
        "_stats",
        "_transport",
        "_writing",
        "closed",
        "identity",
        "is_heard",
        "open_fd",
    )

    identity: Identity

    def __init__(
        self,
        transport: asyncio.Transport,
        writing: Writing,
        opening: bytes = b"",
        *,
        compresses: bool = False,
    ) -> None:
        """`opening` is sent before the first frame, or when this turn ends."""
        self._transport = transport
        self._opening = opening
        self._writing = writing
        self._stats = writing.stats
        self._compresses = compresses
        self._frames: list[bytes] | None = None
        """To be written at the end of this turn."""
        self._queue: SendQueue | None = None
        """Waits while the transport is full; None otherwise."""
        self._room: asyncio.Event | None = None
        """Set when there is room again, for those who wait for it."""
        self._pong = b""
        """The answer to the newest ping that came while the transport was full."""
        self._pauses = 0
        """How often reading was paused and not resumed."""
        self.closed = False
        self.is_heard = True
        """Whether anything has come since the last ping."""
        # A transport that encrypts cannot be bypassed.
        is_plain = transport.get_extra_info("sslcontext") is None
        self._fd: int = transport.get_extra_info("socket").fileno() if is_plain else CLOSED
        self.open_fd = CLOSED
        """The socket if a batch can be written to it as it is."""
        if opening:
            self._frames = []
            writing.turn.add(self._write)
        else:
            self._update_open_fd()
        # Then whatever the transport holds counts as full.
        transport.set_write_buffer_limits(0)

    @property
    def waiting(self) -> int:
        """See `Client`."""
        return len(self._frames or ()) + (0 if self._queue is None else len(self._queue))

    @property
    def queued_bytes(self) -> int:
        """See `SlowConsumer`."""
        return 0 if self._queue is None else self._queue.queued_bytes

    def send(self, frame: bytes) -> None:
        """See `Connection`."""
        if self.closed:
            self._stats.disconnected += 1
        elif self._queue is not None:
            self._queue.add(frame)
            self._check_limits(self._queue)
        elif self._frames is None:
            self.open_fd = CLOSED
            self._frames = [frame]
            self._writing.turn.add(self._write)
        else:
            self._frames.append(frame)

    def send_live(self, topic: str, frame: bytes) -> None:
        """See `Connection`."""
        if self._queue is None:
            self.send(frame)
            return
        if self._queue.add_live(topic, frame):
            self._stats.conflated += 1
        self._check_limits(self._queue)

    def send_batch(self, batch: FrameBatch) -> None:
        """See `Connection`."""
        if self._fd == CLOSED or self._frames is not None or self._queue is not None:
            send_each(self, batch)
            return
        joined = batch.deflated(self._writing.deflater) if self._compresses else batch.joined
        try:
            self.wrote(joined, write(self._fd, joined), batch.count)
        except OSError as error:
            self.failed(error, joined, batch.count)

    def wrote(self, joined: bytes, size: int, count: int) -> None:
        """The socket has taken `size` bytes of `count` frames; the transport gets the rest."""
        self._stats.written += count
        if size < len(joined):
            self._transport.write(memoryview(joined)[size:])

    def failed(self, error: OSError, joined: bytes, count: int) -> None:
        """The socket has taken nothing of `count` frames."""
        if isinstance(error, BlockingIOError):
            self.wrote(joined, 0, count)
        else:
            self._lost(count)

    def close(self, close: Close) -> None:
        """Close behind what was written before; what waits for a full transport is given up."""
        if self.closed:
            return
        self._write()
        self.gone()
        self._stats.closed[close.code] += 1
        self._end(close)

    def answer_close(self, close: Close) -> None:
        """The client has closed with `close`: so do we."""
        self._write()
        self.gone()
        self._end(close)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """See `Client`."""
        if not self._pauses:
            self._transport.pause_reading()
        self._pauses += 1

    def resume_reading(self) -> None:
        """See `Client`."""
        self._pauses -= 1
        if not (self._pauses or self.closed or self._transport.is_closing()):
            self._transport.resume_reading()

    def check_alive(self) -> None:
        """See `Client`: send a ping, unless not even the last one was answered."""
        if self.closed:
            return
        if not self.is_heard:
            self.close(UNRESPONSIVE)
            self.abort()
            return
        self.is_heard = False
        self._write()
        if self._queue is None:  # Else it does not read, and has enough to answer for.
            self._write_control(PING)

    def give_up(self) -> None:
        """See `SlowConsumer`."""
        queue = self._queue
        if queue is not None:
            self._stats.slow_consumer += len(queue)
            queue.clear()
            self.close(CloseCode.TOO_SLOW.close())

    async def drained(self) -> None:
        """See `Client`."""
        if self._queue is not None:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def gone(self) -> None:
        """See `Client`."""
        self.closed = True
        self._stats.disconnected += self.waiting
        self._frames = None
        self._end_pause()
        self._fd = CLOSED
        self.open_fd = CLOSED

    def answer_ping(self, pong: bytes) -> None:
        """Send `pong`; to a client that does not read only the newest, once it does."""
        self._write()
        if self._queue is None:
            self._write_control(pong)
        else:
            self._pong = pong

    def _write_control(self, frame: bytes) -> None:
        if not self.closed and not self._transport.is_closing():
            self._transport.write(frame)

    def pause_writing(self) -> None:
        """The transport holds something: what comes now waits."""
        if self._queue is None and not self.closed:
            self.open_fd = CLOSED
            self._queue = SendQueue(self._writing.budget)
            self._writing.budget.enter(self)
            self._queue.set_handed(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The transport has sent everything."""
        queue = self._queue
        if queue is None:
            return
        queue.set_handed(0)
        while queue:
            self._hand_over(queue.take(REFILL_BYTES))
            if held := self._transport.get_write_buffer_size():
                queue.set_handed(held)
                return  # full again; the transport will call once more
        self._end_pause()
        if self._pong:
            pong, self._pong = self._pong, b""
            self._write_control(pong)

    def _update_open_fd(self) -> None:
        """Let batches pass, unless something waits."""
        is_free = self._queue is None and self._frames is None
        self.open_fd = self._fd if is_free and not self._compresses else CLOSED

    def _end(self, close: Close) -> None:
        if not self._transport.is_closing():
            self._transport.write(close_frame(close))
            self._writing.closing.add(self)

    def _end_pause(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.clear()
            self._writing.budget.leave(self)
        if self._room is not None:
            self._room.set()
            self._room = None
        self._update_open_fd()

    def _write(self) -> None:
        frames = self._frames
        if frames is None:
            return
        self._frames = None
        self._update_open_fd()
        self._hand_over(frames)

    def _hand_over(self, frames: list[bytes]) -> None:
        if self._transport.is_closing():
            self._lost(len(frames))
            return
        if self._compresses:
            frames = [self._writing.deflater.deflate(frame) for frame in frames]
        if self._opening:
            self._transport.write(self._opening + b"".join(frames))
            self._opening = b""
        else:
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        self._stats.written += len(frames)

    def _lost(self, count: int) -> None:
        """The socket takes nothing any more; the transport will say so."""
        self._stats.disconnected += count
        self.open_fd = CLOSED

    def _check_limits(self, queue: SendQueue) -> None:
        if queue.queued_bytes > self._writing.max_queued_bytes:
            self.give_up()
        else:
            self._writing.budget.enforce()


def write_to_all(stats: EdgeStats, clients: Iterable[Any], batch: FrameBatch) -> None:
    """Send `batch` to `clients`: one system call for each that nothing waits for.

    Does what `DirectClient.send_batch` does, without a call for each.
    """
    joined, count = batch.joined, batch.count
    size = len(joined)
    whole = 0
    for client in clients:
        try:
            fd = client.open_fd
            if fd < 0:
                client.send_batch(batch)
                continue
            try:
                taken = write(fd, joined)
            except OSError as error:
                client.failed(error, joined, count)
                continue
            if taken == size:
                whole += 1
            else:
                client.wrote(joined, taken, count)
        except Exception:
            # A fault with one connection must not keep the others from being written to.
            logger.exception("events could not be sent to a client")
            client.close(FAULT)
    stats.written += whole * count


class AsgiClient:
    """Sends message by message through the server, from a task of its own."""

    open_fd = CLOSED
    identity: Identity

    def __init__(self, websocket: WebSocket, writing: Writing) -> None:
        self._websocket = websocket
        self._stats = writing.stats
        self._max_queued_bytes = writing.max_queued_bytes
        self._budget = writing.budget
        self._queue = SendQueue(self._budget)
        self._budget.enter(self)
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        """Cleared while frames wait."""
        self._has_room.set()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._pauses = 0
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

    @property
    def queued_bytes(self) -> int:
        """See `SlowConsumer`."""
        return self._queue.queued_bytes

    def send(self, frame: bytes) -> None:
        """See `Connection`."""
        if self.closed:
            self._stats.disconnected += 1
            return
        self._queue.add(frame)
        self._check_limits()

    def send_live(self, topic: str, frame: bytes) -> None:
        """See `Connection`."""
        if self.closed:
            self._stats.disconnected += 1
            return
        if self._queue.add_live(topic, frame):
            self._stats.conflated += 1
        self._check_limits()

    def send_batch(self, batch: FrameBatch) -> None:
        """See `Connection`."""
        send_each(self, batch)

    def close(self, close: Close) -> None:
        """Close behind what was sent before."""
        if self._close is None:
            self._close = close
            self._stats.closed[close.code] += 1
            self._changed.set()
            self._has_room.set()

    def give_up(self) -> None:
        """See `SlowConsumer`."""
        self._stats.slow_consumer += len(self._queue)
        self._queue.clear()
        self.close(CloseCode.TOO_SLOW.close())

    async def drained(self) -> None:
        """See `Client`."""
        await self._has_room.wait()

    def pause_reading(self) -> None:
        """See `Client`."""
        self._pauses += 1
        self._may_read.clear()

    def resume_reading(self) -> None:
        """See `Client`."""
        self._pauses -= 1
        if not self._pauses:
            self._may_read.set()

    async def may_read(self) -> None:
        """Wait until reading is not paused."""
        await self._may_read.wait()

    def check_alive(self) -> None:
        """See `Client`; the server does."""

    def gone(self) -> None:
        """See `Client`."""
        self._is_gone = True
        self._stats.disconnected += self.waiting
        self._in_hand = 0
        self._queue.clear()
        self._budget.leave(self)
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

    def _check_limits(self) -> None:
        self._has_room.clear()
        self._changed.set()
        if self._queue.queued_bytes > self._max_queued_bytes:
            self.give_up()
        else:
            self._budget.enforce()
