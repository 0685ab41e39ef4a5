"""`StopSignal`: wakes the relay's loop when it is to end."""

import socket


class StopSignal:
    """Set by a signal handler or by another thread, and seen by a loop that waits for sockets."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        # A signal handler writes to it and must never block.
        self._writer.setblocking(False)
        self.is_set = False

    def fileno(self) -> int:
        """Return a descriptor that is readable once the signal is set."""
        return self._reader.fileno()

    def set(self) -> None:
        """Set the signal. Safe to call from a signal handler, and again."""
        # A second signal may arrive while everything is being closed.
        if not self.is_set:
            # Woken first: the loop closes the socket as soon as it sees that it is to end.
            self._writer.send(b"\0")
            self.is_set = True

    def close(self) -> None:
        """Close the sockets."""
        self._reader.close()
        self._writer.close()
