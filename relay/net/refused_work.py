"""`RefusedWork`: the time that messages take which no honest publisher sends."""

from collections.abc import Hashable

from relay.shared.time_share import TimeShare

SHARE_OF_PARTY = TimeShare(0.1, burst_s=0.1)
"""Of the processor, for all connections of one party at a port."""
SHARE_OF_ALL = TimeShare(0.2, burst_s=0.1)
MAX_REST_S = 5.0
"""A debt is paid in so long, however great it is."""
MANY_ACCOUNTS = 1_000
"""With more, those without a debt are forgotten."""
_ALL = object()


class RefusedWork:
    """Charges parties for malformed and forbidden messages.

    Only the connection that has sent some waits for the debt of its party: others of the same
    address or user may be honest, and are never charged.
    """

    def __init__(self) -> None:
        self._paid_at: dict[Hashable, float] = {}
        """By party; see `relay.shared.time_share`."""

    def __len__(self) -> int:
        return len(self._paid_at)

    def charge(self, party: Hashable, cost_s: float, now: float) -> float:
        """Charge `party` for `cost_s` of the loop's time.

        Returns the time until which the connection that has cost so much is to wait, in seconds;
        it may be before `now`, which is monotonic.
        """
        until = 0.0
        for account, share in ((party, SHARE_OF_PARTY), (_ALL, SHARE_OF_ALL)):
            paid_at = share.charge(self._paid_at.get(account, 0.0), cost_s, now)
            paid_at = min(paid_at, now + MAX_REST_S + share.burst_s / share.share)
            self._paid_at[account] = paid_at
            until = max(until, share.rests_until(paid_at))
        if len(self._paid_at) > MANY_ACCOUNTS:
            self._paid_at = {account: at for account, at in self._paid_at.items() if at > now}
        return until
