"""`Acceptor`: takes the connections that wait at a listening socket."""

import errno
import selectors
import socket
from collections.abc import Iterator

from relay.net.listening import prepare
from relay.net.newcomers import Newcomers

MAX_ACCEPTED_AT_ONCE = 64
ACCEPT_PAUSE_S = 0.1
"""Without a descriptor for a connection that waits, it tries again after this time."""
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """`selector` reports when there is something for `accept`. `now` is in seconds, monotonic."""

    def __init__(
        self,
        listening: socket.socket,
        selector: selectors.BaseSelector,
        newcomers: Newcomers,
    ) -> None:
        """`listening` stays the caller's."""
        self._listening = listening
        self._selector = selector
        self._newcomers = newcomers
        self.due_at = float("inf")
        """When `tick` has something to do."""
        selector.register(listening, selectors.EVENT_READ)

    def tick(self, now: float) -> None:
        """Try again, if it is time."""
        if self.due_at <= now:
            self.due_at = float("inf")
            self._selector.register(self._listening, selectors.EVENT_READ)

    def accept(self, now: float) -> Iterator[socket.socket]:
        """Yield some of the new connections."""
        for _ in range(MAX_ACCEPTED_AT_ONCE):
            try:
                accepted, _address = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR:
                    self._newcomers.note_refused()
                    self._selector.unregister(self._listening)
                    self.due_at = now + ACCEPT_PAUSE_S
                    return
                continue  # The peer has gone again.
            try:
                prepare(accepted)
            except OSError:
                accepted.close()
                continue
            yield accepted
