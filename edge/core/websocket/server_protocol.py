"""`ServerProtocol`: the server's side of one open WebSocket, without I/O (RFC 6455, 5.5 and 7).

Methods that produce output return the bytes to write. The shell writes them, tells when its
transport is full or empty, and ends the connection.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from edge.core.stats import EdgeStats
from edge.core.websocket.close_codes import Close, CloseCode, CloseCodes
from edge.core.websocket.frames import FrameDeflater, close_frame, ping_frame, pong_frame
from edge.core.websocket.reader import FrameReader, ProtocolViolation, read_close
from edge.core.websocket.send_queue import Budget, SendQueue, SlowClient

REFILL_BYTES = 64 * 1024
"""Queued bytes that are handed to a transport at a time once it has room again."""
NO_FD = -1
"""Stands for a descriptor that must not be written to."""
PING = ping_frame(b"relay")


class State(IntEnum):
    """How far the connection is closed."""

    OPEN = 0
    """Messages go both ways."""
    CLOSING = 1
    """Our close frame is out; of the client's frames only its close frame counts."""
    FAILED = 2
    """Our close frame is out because the client broke the rules; its bytes are not parsed."""
    CLOSED = 3
    """The client's close frame has come, or the connection is lost."""


class Writing(IntEnum):
    """The way of a frame that is sent now."""

    FREE = 0
    """Nothing waits: a batch may be written straight to the socket."""
    TURN = 1
    """Frames wait for the end of this turn of the event loop."""
    FULL = 2
    """The transport holds bytes: frames wait in the queue."""
    ENDED = 3
    """Nothing is written any more: frames are counted as disconnected."""


NEXT_STATES: tuple[tuple[State, ...], ...] = (
    (State.CLOSING, State.FAILED, State.CLOSED),
    (State.FAILED, State.CLOSED),
    (State.CLOSED,),
    (),
)
"""The states that may follow each `State`, by its number."""

NEXT_WRITINGS: tuple[tuple[Writing, ...], ...] = (
    (Writing.TURN, Writing.FULL, Writing.ENDED),
    (Writing.FREE, Writing.FULL, Writing.ENDED),
    (Writing.FREE, Writing.ENDED),
    (),
)
"""The values that may follow each `Writing`, by its number."""

# Module names: a member of an enum costs an attribute look-up for every frame.
_OPEN, _CLOSING, _FAILED, _CLOSED = State
_FREE, _TURN, _FULL, _ENDED = Writing
_NO_FRAMES: list[bytes] = []
"""Never changed, and shared: a list for each idle client would cost 56 bytes."""


@dataclass(frozen=True, slots=True)
class Sending:
    """The counters, limits and memory that all WebSockets of a worker share."""

    stats: EdgeStats
    budget: Budget
    max_queued_bytes: int
    """The bytes that may wait for one client."""
    deflater: FrameDeflater = field(default_factory=FrameDeflater)
    close_codes: CloseCodes = CloseCodes.STANDARD


class Shell(SlowClient, Protocol):
    """The I/O of one WebSocket, as its `ServerProtocol` sees it."""

    open_fd: int
    """The socket while a batch may be written to it as it is, else `NO_FD`. `ServerProtocol` sets
    it; it is an attribute of the shell because the fan-out reads it for every client of a batch."""


class ServerProtocol:
    """One WebSocket from its handshake to its end."""

    __slots__ = (
        "_frames",
        "_opening",
        "_pong",
        "_queue",
        "_sending",
        "_shell",
        "_stats",
        "compresses",
        "fd",
        "is_heard",
        "reader",
        "state",
        "writing",
    )

    def __init__(
        self,
        shell: Shell,
        sending: Sending,
        reader: FrameReader,
        opening: bytes = b"",
        *,
        fd: int = NO_FD,
        compresses: bool = False,
    ) -> None:
        """`opening` is the answer to the handshake: written before the first frame, or at the end
        of this turn. `fd` is the socket, or `NO_FD` when the transport must not be bypassed."""
        self._shell: Shell | None = shell
        """None after `lose`. The shell refers to us, and garbage is collected too rarely to leave
        that circle to it."""
        self._sending = sending
        self._stats = sending.stats
        self.reader = reader
        """Takes the bytes of the client; a `ProtocolViolation` is answered with `fail`."""
        self._opening = opening
        self._frames = [] if opening else _NO_FRAMES
        """The frames of this turn, in `TURN` only."""
        self._queue: SendQueue | None = None
        """Set in `FULL` only: an idle client must not pay for a queue."""
        self._pong = b""
        """The answer to the newest ping that came in `FULL`."""
        self.compresses = compresses
        self.is_heard = True
        """Whether anything came from the client since the last ping."""
        self.fd = fd
        self.state = _OPEN
        self.writing = _TURN if opening else _FREE
        shell.open_fd = self._open_fd()

    @property
    def waiting(self) -> int:
        """The number of frames that were sent and not handed to the transport."""
        return len(self._frames) + (0 if self._queue is None else len(self._queue))

    @property
    def queued_bytes(self) -> int:
        """The bytes that count against the limits of a slow client."""
        return 0 if self._queue is None else self._queue.queued_bytes

    # Frames to the client.

    def send(self, frame: bytes) -> bool:
        """Send `frame`; return whether the shell must call `end_turn` when this turn ends."""
        writing = self.writing
        if writing is _TURN:
            self._frames.append(frame)
        elif writing is _FREE:
            self._frames = [frame]
            self._enter_writing(_TURN)
            return True
        elif self._queue is not None:
            self._queue.add(frame)
        else:
            self._stats.disconnected += 1
        return False

    def send_live(self, topic: str, frame: bytes) -> bool:
        """The same for a value that a newer one on `topic` replaces while it waits in the queue."""
        if self._queue is None:
            return self.send(frame)
        if self._queue.add_live(topic, frame):
            self._stats.conflated += 1
        return False

    def end_turn(self) -> bytes:
        """The turn ends: return its frames as one piece."""
        if self.writing is not _TURN:
            return b""
        frames, self._frames = self._frames, _NO_FRAMES
        self._enter_writing(_FREE)
        return self._joined(frames)

    def fill(self, held_bytes: int) -> None:
        """The transport holds bytes: from now on frames wait, and the client counts as slow."""
        if self._queue is None and self._shell is not None and self.writing is not _ENDED:
            frames, self._frames = self._frames, _NO_FRAMES
            self._queue = SendQueue(
                self._shell, self._sending.budget, self._sending.max_queued_bytes, frames
            )
            self._enter_writing(_FULL)
        self.set_held(held_bytes)

    def set_held(self, held_bytes: int) -> None:
        """Count the bytes in the transport's buffer against the limits."""
        if self._queue is not None:
            self._queue.set_held(held_bytes)

    def refill(self) -> bytes:
        """The transport is empty: return the next queued bytes; none are left when it is `FREE`."""
        queue = self._queue
        if queue is None:
            return b""
        if queue:
            return self._joined(queue.take(REFILL_BYTES))
        self._drop_queue()
        self._enter_writing(_FREE)
        rest = self._opening + self._pong
        self._opening = self._pong = b""
        return rest

    # Frames from the client.

    def ping(self) -> bytes:
        """Return a ping behind the frames of this turn; b"" for a client that does not read.

        A ping would only lengthen the queue of such a client.
        """
        if self.state is not _OPEN:
            return b""
        self.is_heard = False
        return b"" if self.writing is _FULL else self.end_turn() + PING

    def pong(self, payload: bytes) -> bytes:
        """Return the answer to a ping behind the frames of this turn.

        Of the pings of a client that does not read only the newest is answered, once it reads
        (RFC 6455, section 5.5.3). A queue of pongs would let it fill our memory.
        """
        if self.state is not _OPEN:
            return b""
        if self.writing is _FULL:
            self._pong = pong_frame(payload)
            return b""
        return self.end_turn() + pong_frame(payload)

    # The end.

    def close(self, close: Close) -> bytes:
        """Return the close frame behind the frames of this turn; b"" when it is out already.

        Frames in the queue are given up: a client that does not read would never see its end.
        """
        if self.state is not _OPEN:
            return b""
        self._stats.closed[close.code] += 1
        return self._last_words(_CLOSING, self._sending.close_codes.on_wire(close))

    def close_too_slow(self) -> bytes:
        """Close with 4008 and give up the queue; nothing if none waits."""
        if self._queue is None:
            return b""
        self._stats.slow_consumer += len(self._queue)
        self._drop_queue()
        return self.close(CloseCode.TOO_SLOW.close())

    def fail(self, close: Close) -> bytes:
        """Close because the client broke the rules: nothing that follows is parsed."""
        last_words = self.close(close)
        self.stop_parsing()
        return last_words

    def stop_parsing(self) -> None:
        """Drop everything that the client still sends, for our close frame is out."""
        if self.state is _CLOSING:
            self._enter_state(_FAILED)

    def answer_close(self, payload: bytes) -> bytes:
        """The client has closed, or answers our close frame: return the answer, if it gets one."""
        if self.state is not _OPEN:
            self.lose()
            return b""
        try:
            close = read_close(payload)
        except ProtocolViolation as violation:
            close = violation.close
        return self._last_words(_CLOSED, close)

    def lose(self) -> None:
        """The connection is lost: count the frames that were not written. May be called again."""
        if self.state is not _CLOSED:
            self._enter_state(_CLOSED)
        self._end_writing()
        self._shell = None

    def _last_words(self, state: State, close: Close) -> bytes:
        # A full transport may still owe the client the answer to its handshake.
        frames = self.end_turn() + self._opening
        self._end_writing()
        self._enter_state(state)
        return frames + close_frame(close)

    def _end_writing(self) -> None:
        self._stats.disconnected += self.waiting
        self._frames = _NO_FRAMES
        self._drop_queue()
        if self.writing is not _ENDED:
            self._enter_writing(_ENDED)

    def _drop_queue(self) -> None:
        if self._queue is not None:
            self._queue.close()
            self._queue = None

    def _enter_state(self, state: State) -> None:
        assert state in NEXT_STATES[self.state]
        self.state = state
        if state > _CLOSING:
            self.reader.stop()

    def _enter_writing(self, writing: Writing) -> None:
        assert writing in NEXT_WRITINGS[self.writing]
        self.writing = writing
        if self._shell is not None:
            self._shell.open_fd = self._open_fd()

    def _open_fd(self) -> int:
        # A client that compresses needs other bytes than the batch that all others are sent.
        return self.fd if self.writing is _FREE and not self.compresses else NO_FD

    def _joined(self, frames: list[bytes]) -> bytes:
        """Count `frames` as written; return them, behind the opening if that is not yet out."""
        self._stats.written += len(frames)
        if self.compresses:
            frames = [self._sending.deflater.deflate(frame) for frame in frames]
        if self._opening:
            frames = [self._opening, *frames]
            self._opening = b""
        return frames[0] if len(frames) == 1 else b"".join(frames)
