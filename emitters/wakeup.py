"""A wake-up call for a thread that waits in `zmq.Poller.poll`."""

import _socket
import contextlib
import socket
import sys
from collections.abc import Callable
from functools import partial

DRAIN_BYTES = 4096


class WakeUp:
    """A socket pair: any thread calls `send`, the woken one polls `fileno` and calls `drain`.

    ZeroMQ sockets are not thread-safe, so one of them cannot do this.
    """

    def __init__(self) -> None:
        # Without Python code of ours, of the library or of gevent between `ring` and the kernel.
        self._reader, self._writer = _pair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self.ring: Callable[[], object] = partial(self._writer.send, b"\0")
        """Wakes the thread up and runs no Python code. Raises `OSError` when the buffer is full,
        which wakes it up as well, and after `close`."""

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable."""
        return self._reader.fileno()

    def send(self) -> None:
        """Wake the thread up. Does nothing after `close`."""
        with contextlib.suppress(OSError):
            self.ring()

    def drain(self) -> None:
        """Take the calls that have arrived."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(DRAIN_BYTES)

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()


def _pair() -> tuple[_socket.socket, _socket.socket]:
    if sys.platform == "win32":
        return socket.socketpair()
    return _socket.socketpair()
