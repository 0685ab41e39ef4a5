"""`Port`: one of the relay's sockets, with the connections of its peers."""

import logging
import selectors
import socket
from collections.abc import Iterator
from time import monotonic, thread_time

from relay.core.counters import RelayCounters
from relay.net.acceptor import Acceptor
from relay.net.gate import Gate
from relay.net.newcomers import Newcomers
from relay.net.peer import Peer, PeerListener
from relay.net.port_bounds import PortBounds
from relay.net.refused_work import RefusedWork
from relay.net.resting import Resting
from relay.shared.logs import LimitedLog
from relay.shared.time_share import TimeShare
from relay.zmtp.connection import ZmtpConnection
from relay.zmtp.errors import ZmtpError

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
CHUNK_BYTES = 64 * 1024
"""Read of one connection before the others have their turn."""
MIN_CHUNK_BYTES = 4 * 1024
"""Read of each when there are very many, so that what waits is not too large to wait."""
TURN_S = 0.005
"""The peers of a port are read for so long, and one of them at least; then it is the turn of the
other ports."""
SHARE_OF_READS = TimeShare(0.1, burst_s=0.2)
"""For reads of one connection that bring no message. Parts of large ones pass at 200 MB/s."""
MAX_HANDSHAKES_AT_ONCE = 16
"""Connections whose handshake goes on in a turn. With CURVE, each takes 0.2 ms or more."""

logger = logging.getLogger(__name__)


class Port:
    """The relay's loop calls `poll` when `fileno` is readable, then `receive`, and then `flush`."""

    def __init__(
        self,
        name: str,
        listening: socket.socket,
        gate: Gate,
        newcomers: Newcomers,
        bounds: PortBounds,
        counters: RelayCounters,
    ) -> None:
        """`listening` stays the caller's. `name` is for log and counters."""
        self._name, self._gate = name, gate
        self.newcomers = newcomers
        self._bounds = bounds
        self._counters = counters
        self.listener: PeerListener | None = None
        self._selector = selectors.DefaultSelector()
        self._acceptor = Acceptor(listening, self._selector, newcomers)
        self._peers: dict[bytes, Peer] = {}
        self._readable: dict[Peer, None] = {}
        """Peers of which something can be read, the one whose turn it is first."""
        self._dirty: dict[Peer, None] = {}
        """Peers for which something was queued since the last `flush`."""
        self._resting = Resting()
        self._refused_work = RefusedWork()
        self._queued_bytes = self._incomplete_bytes = self._handshakes_left = 0
        self.holds = False
        """Whether nothing is read at present; the loop has no room."""
        self._log = LimitedLog(logger)

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is work for `poll`."""
        return self._selector.fileno()

    def close(self) -> None:
        """End all connections."""
        for peer in self._peers.values():
            peer.is_ended = True
            peer.socket.close()
        self._selector.close()

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, peer_id: bytes) -> Peer | None:
        """Return the peer with that id if it is connected and its handshake is over."""
        peer = self._peers.get(peer_id)
        return peer if peer is not None and peer.connection.is_open else None

    def peers(self) -> Iterator[Peer]:
        """Yield the connected peers whose handshake is over."""
        return (peer for peer in tuple(self._peers.values()) if peer.connection.is_open)

    @property
    def has_readable(self) -> bool:
        """Whether `receive` may have something now."""
        return bool(self._readable)

    @property
    def due_at(self) -> float:
        """The monotonic time at which `tick` has something to do."""
        return min(self.newcomers.due_at, self._resting.due_at, self._acceptor.due_at)

    def tick(self, now: float) -> None:
        """End the connections whose time is over."""
        for peer, reason in self.newcomers.overdue(now):
            self.cut_off(peer, reason, "it has not said what it is, or there is no room for it")
        self._acceptor.tick(now)
        for peer_id in self._resting.rested(now):
            if (rested := self._peers.get(peer_id)) is not None:
                self.let_go(rested)

    def rest(self, peer: Peer, until: float) -> None:
        """Read nothing of `peer` before the monotonic time `until`."""
        if not (peer.is_ended or peer.is_resting):
            self._resting.add(peer, until)
            self.hold_back(peer)

    def hold_back(self, peer: Peer) -> None:
        """Read nothing of `peer` until `let_go`."""
        if not peer.is_ended:
            peer.is_resting = True
            self._readable.pop(peer, None)
            self._watch(peer, peer.watched & ~READ)

    def let_go(self, peer: Peer) -> None:
        """Read `peer` again."""
        if not peer.is_ended:
            peer.is_resting = False
            self._resume(peer)

    def charge_refused(self, peer: Peer, cost_s: float) -> None:
        """Have `peer` wait if the refused messages of its party have cost too much."""
        self._rest_if_due(peer, self._refused_work.charge(peer.party, cost_s, monotonic()))

    def _rest_if_due(self, peer: Peer, until: float) -> None:
        if until > monotonic() and not peer.is_ended:
            self._counters.peers_delayed += 1
            self.rest(peer, until)

    def recheck(self) -> None:
        """The list of peers is another: cut those off of whom it says something else."""
        for peer in tuple(self._peers.values()):
            if self._gate.has_changed(peer):
                self.cut_off(peer, "other_rights", "relay.toml has changed what it may do")

    def poll(self, now: float) -> None:
        """Accept connections, write to those that can be written to, and note readable ones."""
        self._handshakes_left = MAX_HANDSHAKES_AT_ONCE
        for key, events in self._selector.select(0):
            peer: Peer | None = key.data
            if peer is None:
                self._accept(now)
                continue
            if peer.is_ended:
                continue
            if events & WRITE:
                self._dirty[peer] = None
            if events & READ and not peer.is_resting:
                self._note_readable(peer)

    def receive(
        self, share: int, turn_s: float | None = None
    ) -> Iterator[tuple[Peer, list[list[bytes]]]]:
        """Yield messages of one peer after the other, at most `share` of each, for `turn_s`.

        Each peer has one turn. The caller may stop at any time; the others are first next time.
        The caller may end a peer whose messages it has, and is to leave the rest of them then.
        """
        until = monotonic() + (TURN_S if turn_s is None else turn_s)
        for peer in tuple(self._readable):
            if peer.is_ended:
                continue
            # Behind the others, unless it is drained now.
            self._readable.pop(peer, None)
            self._readable[peer] = None
            began = thread_time()
            if messages := self._read(peer, share):
                yield peer, messages
            else:
                cost_s = thread_time() - began
                peer.paid_at = SHARE_OF_READS.charge(peer.paid_at, cost_s, monotonic())
                self._rest_if_due(peer, SHARE_OF_READS.rests_until(peer.paid_at))
            if monotonic() >= until:
                return

    def send(self, peer: Peer, packed: bytes) -> None:
        """Queue a packed message for `peer`; a peer with too much in its queue may be cut off."""
        if peer.is_ended:
            return
        peer.send(packed)
        self._dirty[peer] = None
        self._queued_bytes += len(packed)
        if peer.queued_bytes > self._bounds.unread_bytes:
            self._is_over(peer)
        if self._queued_bytes > self._bounds.total_unread_bytes:
            most = max(self._peers.values(), key=lambda each: each.queued_bytes)
            self.cut_off(most, "slow", f"{most.queued_bytes} bytes wait for it, and for all more")

    def flush(self) -> None:
        """Write what was queued."""
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for peer in dirty:
                if not peer.is_ended:
                    self._flush(peer)

    def cut_off(self, peer: Peer, reason: str, text: str, farewell: bytes = b"") -> None:
        """End the connection of a peer that is over a bound or breaks the protocol."""
        if peer.is_ended:
            return
        self._counters.count_cut(self._name, reason)
        self._log.warning(reason, "cut off a peer of the %s: %s", self._name, text)
        if farewell:
            try:
                peer.socket.send(farewell)
            except OSError as error:
                logger.debug("a peer could not be told: %s", error)
        self._end(peer)

    def _note_readable(self, peer: Peer) -> None:
        if not peer.connection.is_open:
            # At once, also while the port holds: its time is short, and those before it in line may
            # have much to send. The rest waits in the kernel, and is reported again.
            if not self._handshakes_left:
                return
            self._handshakes_left -= 1
            self._read(peer, 0)
            if self.get(peer.id) is None:
                return
        peer.has_unread = True
        self._readable[peer] = None
        if self.holds:
            # Noted: it would be reported again and again.
            self._watch(peer, peer.watched & ~READ)

    def _accept(self, now: float) -> None:
        for accepted in self._acceptor.accept(now):
            try:
                peer = self._gate.welcome(accepted)
                self._selector.register(accepted, READ, peer)
            except OSError:
                accepted.close()
                continue
            self._welcome(peer, now)

    def _welcome(self, peer: Peer, now: float) -> None:
        self._peers[peer.id] = peer
        peer.watched = READ
        self._take_output(peer)
        self.newcomers.accepted(peer, now)

    def _read(self, peer: Peer, share: int) -> list[list[bytes]]:
        connection = peer.connection
        try:
            if not (connection.has_more or self._receive(peer)):
                return []
            messages = self._messages(peer, share)
        except OSError:
            # The kernel drops what a peer has sent before it resets its connection.
            self._note_end(connection, has_begun=not connection.is_open)
            self._end(peer)
        except ZmtpError as error:
            self.cut_off(peer, error.reason, str(error), error.farewell)
        except Exception:  # noqa: BLE001 - logged
            # A fault of ours; one peer must not end the relay for everybody.
            self._log.exception("read", "a connection of the %s could not be read", self._name)
            self.cut_off(peer, "internal_error", "it could not be read")
        if peer.is_ended:
            # Perhaps the answers that it does not read, or what it was told, were too much.
            return []
        self._note_drained(peer)
        self._count_incomplete(peer)
        return [] if peer.is_ended else messages

    def _receive(self, peer: Peer) -> bool:
        """Read bytes of the peer; return whether there were any. Raises `OSError`, `ZmtpError`."""
        chunk_bytes = self._chunk_bytes()
        try:
            data = peer.socket.recv(chunk_bytes)
        except BlockingIOError:
            peer.has_unread = False
            self._note_drained(peer)
            return False
        if not data:
            self._note_end(peer.connection)
            self._end(peer)
            return False
        # Less than was asked for: the kernel has no more, and would say so otherwise.
        peer.has_unread = len(data) == chunk_bytes
        peer.connection.receive(data)
        return True

    def _messages(self, peer: Peer, share: int) -> list[list[bytes]]:
        connection = peer.connection
        was_open = connection.is_open
        messages = connection.read(share)
        self._take_output(peer)
        if connection.is_open and not was_open and not peer.is_ended:
            self.newcomers.opened(peer)
            if not self.newcomers.shares.enter(peer):
                most = self.newcomers.shares.most
                self.cut_off(peer, "too_many_connections", f"it has {most} connections already")
            elif self.listener is not None:
                self.listener.peer_opened(peer)
        return messages

    def _note_drained(self, peer: Peer) -> None:
        """Wait for more of the peer, if all that it has sent is read."""
        if not (peer.has_unread or peer.connection.has_more):
            self._readable.pop(peer, None)
            if not peer.is_resting:
                self._watch(peer, peer.watched | READ)

    def _chunk_bytes(self) -> int:
        share = self._bounds.total_incomplete_bytes // 2 // len(self._peers)
        return max(MIN_CHUNK_BYTES, min(CHUNK_BYTES, share))

    def _note_end(self, connection: ZmtpConnection, *, has_begun: bool = False) -> None:
        """Log that a peer gave up its handshake: libzmq says nothing to its user."""
        if has_begun or connection.is_in_handshake:
            needed = "the relay's public key" if connection.is_encrypted else "no keys"
            text = "a peer of the %s gave its handshake up: it needs %s here"
            self._log.warning("handshake", text, self._name, needed)

    def _take_output(self, peer: Peer) -> None:
        if output := peer.connection.take_output():
            peer.send_first(output)
            self._queued_bytes += len(output)
            self._dirty[peer] = None
            if peer.queued_bytes > self._bounds.unread_bytes:
                self._is_over(peer)

    def _count_incomplete(self, peer: Peer) -> None:
        waiting = peer.connection.waiting_bytes
        self._incomplete_bytes += waiting - peer.received_bytes
        peer.received_bytes = waiting
        if self._incomplete_bytes > self._bounds.total_incomplete_bytes:
            most = max(self._peers.values(), key=lambda each: each.received_bytes)
            self.cut_off(most, "incomplete", f"{most.received_bytes} bytes of a message wait")

    def _is_over(self, peer: Peer) -> None:
        if not self._bounds.pauses:
            text = f"it does not read: more than {self._bounds.unread_bytes} bytes wait"
            self.cut_off(peer, "slow", text)

    def _flush(self, peer: Peer) -> None:
        before = peer.queued_bytes
        try:
            is_empty = peer.flush()
        except OSError:
            self._queued_bytes += peer.queued_bytes - before
            self._end(peer)
            return
        self._queued_bytes += peer.queued_bytes - before
        self._watch(peer, (peer.watched & READ) | (0 if is_empty else WRITE))
        if not self._bounds.pauses:
            return
        if peer.queued_bytes > self._bounds.unread_bytes:
            self._readable.pop(peer, None)
            self._watch(peer, peer.watched & ~READ)
        else:
            self._resume(peer)

    def _resume(self, peer: Peer) -> None:
        """Read a peer again that was not read, unless there is another reason for that."""
        is_over = self._bounds.pauses and peer.queued_bytes > self._bounds.unread_bytes
        if peer.is_resting or is_over:
            return
        if peer.connection.has_more or peer.has_unread:
            self._readable[peer] = None
        self._watch(peer, peer.watched | READ)

    def _watch(self, peer: Peer, events: int) -> None:
        if events == peer.watched or peer.is_ended:
            return
        if not events:
            self._selector.unregister(peer.socket)
        elif peer.watched:
            self._selector.modify(peer.socket, events, peer)
        else:
            self._selector.register(peer.socket, events, peer)
        peer.watched = events

    def _end(self, peer: Peer) -> None:
        peer.is_ended = True
        if peer.watched:
            self._selector.unregister(peer.socket)
        peer.socket.close()
        del self._peers[peer.id]
        self._readable.pop(peer, None)
        self._dirty.pop(peer, None)
        self.newcomers.opened(peer)
        self._queued_bytes -= peer.drop()
        self._incomplete_bytes -= peer.received_bytes
        peer.received_bytes = 0
        if peer.has_share:
            self.newcomers.shares.leave(peer)
            if self.listener is not None:
                self.listener.peer_ended(peer)
