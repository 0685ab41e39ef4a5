"""`Shares`: how many connections one peer has, so that none takes the places of all others.

A peer is a key, a user of this machine, or without both an address. All programs of one machine may
be one peer, so its share is a large one.
"""

from collections import Counter
from collections.abc import Hashable

from relay.net.peer import Peer
from relay.shared.descriptor_room import DescriptorRoom

SHARE = 3 / 4
"""Of the connections that the process can keep, of all its sockets together."""
MIN_SHARE = 64
"""With so few, the want of descriptors decides who stays."""


class Shares:
    """Counts the connections whose handshake is over."""

    def __init__(self, room: DescriptorRoom) -> None:
        self.most = max(MIN_SHARE, int(room.max_connections * SHARE))
        """Connections of one peer."""
        self._counts: Counter[Hashable] = Counter()

    def enter(self, peer: Peer) -> bool:
        """Count a connection; return False if its peer has too many already."""
        if self._counts[peer.party] >= self.most:
            return False
        self._counts[peer.party] += 1
        peer.has_share = True
        return True

    def leave(self, peer: Peer) -> None:
        """A connection has ended that was counted."""
        peer.has_share = False
        self._counts[peer.party] -= 1
        if not self._counts[peer.party]:
            del self._counts[peer.party]
