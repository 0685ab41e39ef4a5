"""`Peer`: one connection to the relay, and what waits to be sent on it."""

import itertools
import socket
from collections import deque
from collections.abc import Hashable
from typing import Protocol

from relay.core.permission import PeerIdentity, Rights
from relay.zmtp.connection import ZmtpConnection

FLUSH_BYTES = 128 * 1024
"""Messages are joined up to about so many bytes for one system call."""
MAX_FLUSHED_BYTES = 1024 * 1024
"""Written to one peer before the others have their turn, even if it reads as fast."""
_numbers = itertools.count(1)


class Peer:
    """Messages are queued by `send` and written by `flush`, as far as the kernel takes them."""

    __slots__ = (
        "_first",
        "_unsent",
        "connection",
        "has_share",
        "has_unread",
        "id",
        "identity",
        "is_ended",
        "is_resting",
        "paid_at",
        "party",
        "queue",
        "queued_bytes",
        "received_bytes",
        "rights",
        "socket",
        "watched",
    )

    def __init__(self, accepted: socket.socket, connection: ZmtpConnection) -> None:
        self.id = next(_numbers).to_bytes(8, "big")
        """No other peer of this process has or had it."""
        self.socket = accepted
        self.connection = connection
        self.queue: deque[bytes] = deque()
        """Messages, packed and not encrypted: several peers share the bytes of one."""
        self._unsent = memoryview(b"")
        """The rest of what was handed to the kernel last."""
        self._first = bytearray()
        """Bytes that go out behind it, and before the messages. They grow in place: a peer that
        sends pings and reads nothing would have megabytes copied for each."""
        self.queued_bytes = 0
        """Of all that waits."""
        self.received_bytes = 0
        """Of messages that are not complete, when they were counted last."""
        self.has_unread = False
        """Whether the kernel may have more bytes of the peer."""
        self.watched = 0
        """The events for which the port waits."""
        self.is_resting = False
        """Whether nothing is read of it at present: it has cost much, or a replay of it goes on."""
        self.paid_at = 0.0
        """See `relay.shared.time_share`; for the loop."""
        self.is_ended = False
        self.party: Hashable = None
        """The peer among those that share the relay: a key, a user or an address."""
        self.has_share = False
        """Whether it is one of the counted connections of its party, and the listener knows it."""
        self.identity: PeerIdentity | None = None
        """None until it is proven."""
        self.rights: Rights | None = None
        """None until it is known who has connected."""

    def send(self, packed: bytes) -> None:
        """Queue a message of `pack_message`."""
        self.queue.append(packed)
        self.queued_bytes += len(packed)

    def send_first(self, output: bytes) -> None:
        """Queue bytes of the protocol itself: handshake and answers to pings."""
        self._first += output
        self.queued_bytes += len(output)

    def flush(self) -> bool:
        """Write what waits; return whether everything is written. Raises `OSError`."""
        left = MAX_FLUSHED_BYTES
        while left > 0:
            if not self._unsent:
                if self._first:
                    taken, self._first = self._first, bytearray()
                    self._unsent = memoryview(taken)
                elif self.queue:
                    self._unsent = memoryview(self._next_bytes())
                else:
                    return True
            try:
                sent = self.socket.send(self._unsent)
            except BlockingIOError:
                return False
            self.queued_bytes -= sent
            self._unsent = self._unsent[sent:]
            left -= sent
        return not self.queued_bytes

    def drop(self) -> int:
        """Forget what waits; return how many bytes it was."""
        dropped, self.queued_bytes = self.queued_bytes, 0
        self.queue.clear()
        self._first = bytearray()
        self._unsent = memoryview(b"")
        return dropped

    def _next_bytes(self) -> bytes:
        """Take messages from the queue and return them as they go out."""
        queue, connection = self.queue, self.connection
        taken: list[bytes] = []
        size = 0
        while queue and size < FLUSH_BYTES:
            packed = queue.popleft()
            size += len(packed)
            taken.append(packed)
        if not connection.is_encrypted:
            return taken[0] if len(taken) == 1 else b"".join(taken)
        sealed = b"".join(map(connection.seal, taken))
        self.queued_bytes += len(sealed) - size
        return sealed


class PeerListener(Protocol):
    """Is told of the peers of a port."""

    def peer_opened(self, peer: Peer) -> None:
        """The handshake is over: messages may be sent."""

    def peer_ended(self, peer: Peer) -> None:
        """The connection is gone."""
