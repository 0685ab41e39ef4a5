"""One WebSocket client of the load generator, on a raw socket that never blocks."""

import errno
import re
import socket
import time
from array import array
from collections.abc import Callable, Sequence

from bench.load.dialect import Dialect
from bench.load.frames import Message, Unwrapper
from bench.load.tape import Reader
from tests.support.websocket_frames import CLOSE, PING, PONG, client_frame

BUFFER_BYTES = 256 * 1024
SMALL_BUFFER_BYTES = 4096
SMALL_SEGMENT_BYTES = 1400
"""Socket buffers as over a network; with the loopback defaults the kernel would hold megabytes."""
OPEN = b" 101 "
"""Part of the status line of a successful handshake."""
RETRY_IN = re.compile(r"retry in (\d+) s")

_BUFFER = bytearray(BUFFER_BYTES)
_VIEW = memoryview(_BUFFER)


class Refused(Exception):  # noqa: N818
    """The server refuses this client for good."""


class Closed(ConnectionError):  # noqa: N818
    """The server closed the WebSocket."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code} {reason}")
        self.code = code
        found = RETRY_IN.search(reason)
        self.retry_s = float(found[1]) if found else None
        """Delay in seconds before the next attempt, if the server named one."""


class Client:
    """Connects, subscribes, then records the time and the position of each receipt.

    Call `step` when the socket becomes writable, and then whenever it becomes readable. It raises
    `BlockingIOError` if there was nothing to do, and another `OSError` if the connection has ended.
    """

    def __init__(
        self, number: int, dialect: Dialect, reader: Reader, *, is_small: bool = False
    ) -> None:
        self.number = number
        self.reader = reader
        self.arrivals = array("q")
        """Pairs of the monotonic time of a receipt, in nanoseconds, and the position after it."""
        self.step: Callable[[], None] = self._open
        self.is_subscribed = False
        self.last_words = ""
        """The newest message that was not an event, to explain a fault."""
        self._dialect = dialect
        self._unwrapper = Unwrapper() if dialect.is_stream else None
        self._signs = 0
        self._head = b""
        self._socket = socket.socket()
        self._socket.setblocking(False)
        if is_small:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT_BYTES)
        error = self._socket.connect_ex(("127.0.0.1", dialect.port))
        if error not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise OSError(error, "connect")

    def fileno(self) -> int:
        """See `socket.socket`."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _open(self) -> None:
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "connect")
        self._send(self._dialect.opening(self.number))
        self.step = self._shake_hands

    def _shake_hands(self) -> None:
        size = self._socket.recv_into(_BUFFER)
        if not size:
            raise ConnectionResetError(errno.ECONNRESET, "closed in the handshake")
        self._head += _VIEW[:size]
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        if OPEN not in head.split(b"\r\n", 1)[0]:
            raise Refused(self._head.decode(errors="replace"))
        self.step = self._receive
        self._send(self._dialect.first(self.number))
        self.is_subscribed = not self._dialect.ready_signs
        if rest:
            self._answer(self._take(rest))

    def _receive(self) -> None:
        size = BUFFER_BYTES
        while size == BUFFER_BYTES:  # A full buffer may mean that more has arrived.
            size = self._socket.recv_into(_BUFFER)
            now = time.monotonic_ns()
            if not size:
                raise ConnectionResetError(errno.ECONNRESET, "closed without a close frame")
            others = self._take(_VIEW[:size])
            self.arrivals.append(now)
            self.arrivals.append(self.reader.position)
            if others:
                self._answer(others)

    def _take(self, data: bytes | memoryview) -> Sequence[Message]:
        if self._unwrapper is None:
            return self.reader.take(data)
        stream, controls = self._unwrapper.take(data)
        return [*controls, *self.reader.take(stream)]

    def _answer(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.first == PING:
                self._send(client_frame(PONG, message.payload))
            elif message.first == CLOSE:
                raise Closed(int.from_bytes(message.payload[:2]), message.payload[2:].decode())
            else:
                self.last_words = message.payload[:200].decode(errors="replace")
                reaction = self._dialect.react(message.payload)
                self._send(reaction.reply)
                self._signs += reaction.is_ready_sign
                self.is_subscribed = self._signs >= self._dialect.ready_signs

    def _send(self, data: bytes) -> None:
        # The messages of a client fit into the kernel's buffer, so they are sent at once.
        if data:
            self._socket.send(data)
