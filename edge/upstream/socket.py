"""`RelaySocket`: a ZeroMQ socket on the event loop, without a thread or a task of its own."""

import asyncio
from collections.abc import Callable, Iterator

import zmq

from relay.shared.curve_keys import ClientKeys
from relay.shared.transport import Socket, connect, receive_frames


class RelaySocket:
    """A connected ZeroMQ socket, read by its readers whenever messages may have arrived.

    libzmq makes the descriptor readable once per change of the socket's state, not for as long as a
    message waits, and any call on the socket may use that change up. So after every call here, and
    after every reading that stopped early, the readers are called again in the next turn of the
    loop. Without that a message could wait until the next one arrives.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: Socket,
        endpoint: str,
        keys: ClientKeys | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._loop = loop
        self._socket = socket
        self._readers: list[Callable[[], None]] = []
        self._is_reading_soon = False
        connect(socket, endpoint, keys)
        loop.add_reader(socket.fileno(), self._read)

    def add_reader(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, without a message perhaps, to read with `messages`."""
        self._readers.append(callback)
        self.read_soon()

    def subscribe(self, prefix: bytes) -> None:
        """Receive messages whose topic starts with `prefix`. Ignored once closed."""
        if not self._socket.closed:
            self._socket.subscribe(prefix)
            self.read_soon()

    def unsubscribe(self, prefix: bytes) -> None:
        """Undo one `subscribe` of `prefix`. Ignored once closed: clients leave after that, too."""
        if not self._socket.closed:
            self._socket.unsubscribe(prefix)
            self.read_soon()

    def send(self, frame: bytes) -> bool:
        """Send a message without waiting; return whether the socket took it."""
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self.read_soon()
        return True

    def messages(self, max_count: int, max_bytes: int) -> Iterator[list[bytes]]:
        """Yield the frames of messages that have arrived, up to a bound in count and in bytes.

        Bytes are those of the last frame, the others are short. The rest is left to the next turn
        of the loop, so that clients are served meanwhile.
        """
        socket, size = self._socket, 0
        for _ in range(max_count):
            try:
                frames = receive_frames(socket)
            except zmq.Again:
                return
            yield frames
            size += len(frames[-1])
            if size >= max_bytes:
                break
        self.read_soon()

    def read_soon(self) -> None:
        """Call the readers in the next turn of the loop."""
        # Once a turn: a thousand clients that subscribe in one turn make thousands of calls.
        if not self._is_reading_soon:
            self._is_reading_soon = True
            self._loop.call_soon(self._read)

    def reconnect(self) -> None:
        """Replace the connection by a new one; what was sent and not answered is lost."""
        self._socket.disconnect(self.endpoint)
        self._socket.connect(self.endpoint)
        self.read_soon()

    def close(self) -> None:
        """Read no more, and disconnect."""
        if not self._socket.closed:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        self._is_reading_soon = False
        if not self._socket.closed:
            for reader in self._readers:
                reader()
