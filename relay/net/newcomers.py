"""`Newcomers`: the connections that were just accepted, and those for which there is no room.

A silent connection ends after a while, and the oldest gives way to a new one when there are many.
A connection on one of the last descriptors ends after a moment, and its peer tries again. The
moment is long enough for `event-relay stats`.
"""

import logging
from collections import deque
from collections.abc import Iterator

from relay.core.counters import RelayCounters
from relay.net.peer import Peer
from relay.net.shares import Shares
from relay.shared.descriptor_room import DescriptorRoom
from relay.shared.logs import LimitedLog

HANDSHAKE_TIMEOUT_S = 3.0
MAX_SILENT = 1_024
"""Connections of one port without a complete handshake."""
SILENT_SHARE = 8
"""They take at most this part of the connections for which the process has descriptors."""
STAY_S = 2.0

logger = logging.getLogger(__name__)


class Newcomers:
    """Of one port. `now` is in seconds, monotonic."""

    def __init__(
        self, room: DescriptorRoom, counters: RelayCounters, shares: Shares | None = None
    ) -> None:
        """`shares` are those of all ports, or of this one alone."""
        self.shares = Shares(room) if shares is None else shares
        self._room = room
        self._counters = counters
        self._silent: dict[Peer, float] = {}
        """Peer to the time at which it is to have said what it is, oldest first."""
        self._refused: deque[tuple[float, Peer]] = deque()
        """Peers on reserved descriptors, and when they end."""
        self._max_silent = max(1, min(MAX_SILENT, room.max_connections // SILENT_SHARE))
        self._log = LimitedLog(logger)

    @property
    def due_at(self) -> float:
        """When `overdue` may have something to return."""
        silent = next(iter(self._silent.values()), float("inf"))
        return min(silent, self._refused[0][0]) if self._refused else silent

    def accepted(self, peer: Peer, now: float) -> None:
        """Note a new connection."""
        self._silent[peer] = now + HANDSHAKE_TIMEOUT_S
        if self._room.is_reserved(peer.socket.fileno()):
            self._refused.append((now + STAY_S, peer))
            self.note_refused()

    def note_refused(self) -> None:
        """Count a connection for which there is no descriptor, and say so."""
        self._counters.connections_refused += 1
        self._log.error(
            "refused",
            "connections are refused: this process may open %d file descriptors;"
            " raise the limit (LimitNOFILE, ulimit -n)",
            self._room.limit,
        )

    def opened(self, peer: Peer) -> None:
        """Note that the handshake of `peer` is over, or that it has ended."""
        self._silent.pop(peer, None)

    def overdue(self, now: float) -> Iterator[tuple[Peer, str]]:
        """Yield the connections that are to end now, each with the reason."""
        while self._refused and (
            self._refused[0][0] <= now or len(self._refused) > self._room.backlog
        ):
            peer = self._refused.popleft()[1]
            if not peer.is_ended:
                yield peer, "no_descriptor"
        while self._silent:
            peer, due_at = next(iter(self._silent.items()))
            if due_at > now and len(self._silent) <= self._max_silent:
                return
            del self._silent[peer]
            yield peer, "silent"
