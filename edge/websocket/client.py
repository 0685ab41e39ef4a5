"""`Client`: one open WebSocket on a transport. It does the I/O for a `ServerProtocol`.

The transport is a socket's, or an `AsgiTransport`; the policy for slow clients is the same. While
the transport is full, live values are merged to the newest and other frames wait; when more than
`max_queued_bytes` or 65,536 frames wait, the connection is closed with 4008. When more than the
worker's budget waits for all clients together, those with the longest queues are closed first.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import write
from typing import Any, Protocol

from edge.core.hub.audience import FrameBatch, send_each
from edge.core.identity.access import Identity
from edge.core.websocket.close_codes import Close, CloseCode
from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import FrameReader, Message, ProtocolViolation
from edge.core.websocket.server_protocol import NO_FD, Sending, ServerProtocol, State, Writing
from edge.scheduling.deadlines import Deadlines
from edge.scheduling.end_of_turn import EndOfTurnWrites
from edge.websocket.broadcast import FAULT
from edge.websocket.pending_frames import PendingFrames
from edge.websocket.transports import half_close, is_encrypted, plain_fd

SHUTDOWN_TIMEOUT_S = 2.0
"""Seconds for a client to answer 1001 when the edge stops."""
UNRESPONSIVE = Close(1011, "keepalive ping timeout")


class Host(Protocol):
    """The server of the clients. `ClientEndpoint` is one; tests record the calls."""

    def in_turn(self, client: "Client", work: Callable[[], None]) -> bool:
        """Call `work` when it is the turn of the client; return whether it was called now."""

    def has_time(self) -> bool:
        """Return whether the work of this turn may go on."""

    def frame_received(self, client: "Client") -> bool:
        """Count a frame; return whether the client may go on. If not, it has been closed."""

    def bytes_received(self, client: "Client", size: int) -> bool:
        """Count bytes; return whether the client may go on. If not, it has been closed."""

    def message_received(self, client: "Client", message: Message) -> None:
        """Take a text or binary message of an open connection."""

    def connection_lost(self, client: "Client") -> None:
        """Forget a client. Called once."""


@dataclass(frozen=True, slots=True)
class ClientServices:
    """The objects that all clients of a worker share."""

    host: Host
    sending: Sending
    end_of_turn: EndOfTurnWrites
    closing: Deadlines["Client"]
    """The clients that were sent a close frame; `abort` when they are due."""
    max_message_bytes: int


class Client(asyncio.Protocol):
    """A client as the hub, the sessions and the transport see it (see `Connection` for the hub).

    Sending never waits and never fails.
    """

    __slots__ = (
        "_connections",
        "_frames",
        "_pauses",
        "_room",
        "_services",
        "_transport",
        "identity",
        "open_fd",
        "ws",
    )

    identity: Identity
    """Set when the client is authenticated; the hub knows only clients that are."""
    open_fd: int
    """Set by `ws`: the socket, if a batch may be written to it as it is."""

    def __init__(
        self,
        transport: asyncio.Transport,
        services: ClientServices,
        connections: set[Any],
        opening: bytes = b"",
        *,
        compresses: bool = False,
    ) -> None:
        """Take over `transport`, and be among `connections`, the server's, until it is lost.

        `opening`, the answer to the handshake, is written with the first frames.
        """
        self._transport = transport
        self._services = services
        self._connections = connections
        self._pauses = 0
        """How often reading was paused and not resumed."""
        self._frames: PendingFrames | None = None
        """Those that were read, as far as their turn has not come."""
        self._room: asyncio.Event | None = None
        """Made for the first that waits in `drained`; most clients never need one."""
        self.ws = ServerProtocol(
            self,
            services.sending,
            FrameReader(services.max_message_bytes, may_compress=compresses),
            opening,
            fd=plain_fd(transport),
            compresses=compresses,
        )
        connections.add(self)
        transport.set_protocol(self)
        # With no room in its buffer, the transport is full as soon as the kernel is. Under
        # encryption a limit of 0 would count an empty buffer as full.
        transport.set_write_buffer_limits(1 if is_encrypted(transport) else 0, 0)
        if transport.get_write_buffer_size():
            # An earlier response on this connection is not sent yet; nothing may overtake it.
            self.pause_writing()
        if opening:
            services.end_of_turn.add(self._end_turn)

    @property
    def closed(self) -> bool:
        """Whether the connection is being closed: frames and messages go nowhere any more."""
        return self.ws.state is not State.OPEN

    @property
    def waiting(self) -> int:
        """The number of frames that were sent and not handed to the transport."""
        return self.ws.waiting

    @property
    def queued_bytes(self) -> int:
        """The bytes that wait because this client reads slowly."""
        return self.ws.queued_bytes

    # Frames to the client.

    def send(self, frame: bytes) -> None:
        """Send a frame that no later one may replace, in order."""
        if self.ws.send(frame):
            self._services.end_of_turn.add(self._end_turn)

    def send_live(self, topic: str, frame: bytes) -> None:
        """Send a frame that a newer one on the same topic may replace while it waits."""
        if self.ws.send_live(topic, frame):
            self._services.end_of_turn.add(self._end_turn)

    def send_batch(self, batch: FrameBatch) -> None:
        """Send frames that others are sent as well; straight to the socket if nothing waits."""
        ws = self.ws
        if ws.writing is not Writing.FREE or ws.fd == NO_FD:
            send_each(self, batch)
            return
        deflater = self._services.sending.deflater
        joined = batch.deflated(deflater) if ws.compresses else batch.joined
        try:
            self.wrote(joined, write(ws.fd, joined), batch.count)
        except OSError as error:
            self.failed(error, joined, batch.count)

    def wrote(self, joined: bytes, size: int, count: int) -> None:
        """The socket has taken `size` bytes of `count` frames: hand the rest to the transport."""
        self._services.sending.stats.written += count
        if size < len(joined):
            self._transport.write(memoryview(joined)[size:])

    def failed(self, error: OSError, joined: bytes, count: int) -> None:
        """The socket has taken nothing of `count` frames: it is full, or the connection lost."""
        if isinstance(error, BlockingIOError):
            self.wrote(joined, 0, count)
        else:
            self._services.sending.stats.disconnected += count
            self.ws.lose()
            self._transport.abort()

    async def drained(self) -> None:
        """Wait until the transport is not full, or the connection is closed."""
        if self.ws.writing is Writing.FULL:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    # The end.

    def close(self, close: Close) -> None:
        """Send a close frame behind the frames of this turn; queued frames are given up.

        Nothing happens when the connection is being closed already.
        """
        self._write_close(self.ws.close(close))

    def close_too_slow(self) -> None:
        """Close with 4008 and give up the queue."""
        self._write_close(self.ws.close_too_slow())

    def fail(self, close: Close) -> None:
        """Close a connection whose client broke the rules, and ignore its further bytes."""
        self._write_close(self.ws.fail(close))
        half_close(self._transport)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def shutdown(self) -> None:
        """Close with 1001. Called by the server when it stops."""
        self.close(CloseCode.GOING_AWAY.close())
        asyncio.get_running_loop().call_later(SHUTDOWN_TIMEOUT_S, self._transport.abort)

    def check_alive(self) -> None:
        """Send a ping; cut the connection if nothing has come since the last one.

        Of a client that we do not read, nothing can come.
        """
        if self.closed:
            return
        if self.ws.is_heard or self._pauses:
            self._write(self.ws.ping())
        else:
            self.close(UNRESPONSIVE)
            self.abort()

    # Reading.

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading` was called as often as this."""
        if not self._pauses:
            self._transport.pause_reading()
        self._pauses += 1

    def resume_reading(self) -> None:
        """Undo one `pause_reading`."""
        self._pauses -= 1
        if self._pauses:
            return
        if self._frames is not None:
            self._wait_for_turn(self._frames)
        else:
            self._resume_transport()

    def read(self, frames: Iterator[Message | None]) -> None:
        """Act on `frames`, behind those before, as far as the turn of this client lasts.

        Meanwhile nothing more is read.
        """
        if self._frames is not None:
            self._frames.add(frames)
            return
        self._frames = PendingFrames()
        self._frames.add(frames)
        if not self._pauses:
            self._wait_for_turn(self._frames)

    def _wait_for_turn(self, frames: PendingFrames) -> None:
        is_now = self._services.host.in_turn(self, self._read_on)
        if not is_now and not frames.is_in_line:
            frames.is_in_line = True
            self.pause_reading()

    def _read_on(self) -> None:
        """Act on the frames that have been read: it is the turn of this client."""
        frames = self._frames
        if frames is None:
            return
        if frames.is_in_line:
            frames.is_in_line = False
            self._pauses -= 1
        if self._pauses:
            return
        try:
            self._act_on(frames)
        except ProtocolViolation as violation:
            self._frames = None
            self._resume_transport()  # The peer's goodbye is to be noticed.
            self.fail(violation.close)
        except Exception:
            # A client whose frames nobody acts on would look alive.
            self._frames = None
            self.close(FAULT)
            self._resume_transport()
            raise  # The queue logs it.

    def _act_on(self, frames: PendingFrames) -> None:
        """Act on one frame at least, and on more while there is time."""
        is_first = True
        for message in frames:
            if not is_first and not self._services.host.has_time():
                frames.put_back(message)
                self._wait_for_turn(frames)
                return
            is_first = False
            if not self.take(message):
                self._frames = None
                return
            if self._pauses:
                return
        self._frames = None
        self._resume_transport()

    def _resume_transport(self) -> None:
        # A client that is being closed is read too: the answer to our close frame is to come.
        if self.ws.state <= State.CLOSING and not self._transport.is_closing():
            # What has come meanwhile is still unread.
            self.ws.is_heard = True
            self._transport.resume_reading()

    def count_bytes(self, size: int) -> bool:
        """Count bytes that have arrived. Return whether to go on."""
        if self._services.host.bytes_received(self, size):
            return True
        self._stop_reading()
        return False

    def take(self, message: Message | None) -> bool:
        """Act on a frame: a message, or None if it completes none. Return whether to go on."""
        if message is not None and message.opcode is Opcode.CLOSE:
            self._write_close(self.ws.answer_close(message.payload))
            self._transport.close()
            return False
        if not self._services.host.frame_received(self):
            self._stop_reading()
            return False
        if message is None or self.closed:
            return True
        if message.opcode is Opcode.PING:
            self._write(self.ws.pong(message.payload))
        elif message.opcode is not Opcode.PONG:
            self._services.host.message_received(self, message)
        return True

    def _stop_reading(self) -> None:
        """Not even read further bytes; the closing deadline ends the connection."""
        self._frames = None
        self.ws.stop_parsing()
        self._transport.pause_reading()

    # Called by the transport.

    def data_received(self, data: bytes) -> None:
        """Act on the frames that `data` completes, when it is their turn."""
        self.ws.is_heard = True
        if self.count_bytes(len(data)):
            self.read(self.ws.reader.feed(data))

    def pause_writing(self) -> None:
        """The transport holds bytes: let frames wait here."""
        self.ws.fill(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The transport is empty: give it the frames that wait, and let new ones pass."""
        if self._transport.is_closing():
            self.ws.lose()
        self.ws.set_held(0)
        while data := self.ws.refill():
            self._write(data)
            if held_bytes := self._transport.get_write_buffer_size():
                self.ws.set_held(held_bytes)
                return  # Full again: the transport calls once more.
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client. Its socket is still open, so nobody else has its descriptor."""
        self._connections.discard(self)
        self._frames = None
        self._services.host.connection_lost(self)
        self.ws.lose()
        self._wake()

    def _end_turn(self) -> None:
        if self._transport.is_closing():
            # The transport has found the connection lost; its frames cannot be written.
            self.ws.lose()
        else:
            self._write(self.ws.end_turn())

    def _write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _write_close(self, data: bytes) -> None:
        """Write last words and wait for the answer until the closing deadline."""
        if data and not self._transport.is_closing():
            self._transport.write(data)
            self._services.closing.add(self)
        self._wake()

    def _wake(self) -> None:
        """Let those go on that wait for room."""
        if self._room is not None:
            self._room.set()
            self._room = None
