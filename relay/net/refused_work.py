"""`RefusedWork`: publishers whose refused messages cost the loop much have to wait."""

from collections.abc import Hashable
from time import monotonic

from relay.net.peer import Peer
from relay.net.port import Port
from relay.shared.time_share import TimeShare

SHARE_OF_PARTY = TimeShare(0.1, burst_s=0.1)
"""Of the processor, for the refused messages of all connections of one party."""
SHARE_OF_ALL = TimeShare(0.2, burst_s=0.1)
"""Of the processor, for all refused messages."""
MANY_ACCOUNTS = 1_000
"""With more, those without a debt are forgotten."""
_ALL = object()


class RefusedWork:
    """Charges connections of a port; one that is charged too much is not read for a while.

    Others of its party are read: they may send nothing that is refused.
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._paid_at: dict[Hashable, float] = {}
        """By party; see `relay.shared.time_share`."""

    def __len__(self) -> int:
        return len(self._paid_at)

    def charge(self, peer: Peer, cost_s: float) -> bool:
        """Charge `peer` for `cost_s` of the loop's time; return whether it has to wait."""
        now = monotonic()
        until = now
        for account, share in ((peer.party, SHARE_OF_PARTY), (_ALL, SHARE_OF_ALL)):
            paid_at = share.charge(self._paid_at.get(account, 0.0), cost_s, now)
            self._paid_at[account] = paid_at
            until = max(until, share.rests_until(paid_at))
        if len(self._paid_at) > MANY_ACCOUNTS:
            self._paid_at = {account: at for account, at in self._paid_at.items() if at > now}
        if until <= now:
            return False
        self._port.rest(peer, until)
        return True
