"""`UselessWork`: what peers cost the loop with nothing that it could use."""

from collections.abc import Hashable

from relay.shared.time_share import TimeShare

SHARE_OF_PARTY = TimeShare(0.1, burst_s=0.1)
"""Of the processor, for all connections of one party at a port."""
SHARE_OF_ALL = TimeShare(0.2, burst_s=0.1)
MANY_ACCOUNTS = 1_000
"""With more, those without a debt are forgotten."""
_ALL = object()


class UselessWork:
    """Charges parties for reads without a message, such as pings, and for refused messages."""

    def __init__(self) -> None:
        self._paid_at: dict[Hashable, float] = {}
        """By party; see `relay.shared.time_share`."""

    def __len__(self) -> int:
        return len(self._paid_at)

    def charge(self, party: Hashable, cost_s: float, now: float) -> float:
        """Charge `party` for `cost_s` of the loop's time.

        Returns the time until which the connection that has cost so much is to wait, in seconds;
        it may be before `now`, which is monotonic. Others of the party may cost nothing.
        """
        until = 0.0
        for account, share in ((party, SHARE_OF_PARTY), (_ALL, SHARE_OF_ALL)):
            paid_at = share.charge(self._paid_at.get(account, 0.0), cost_s, now)
            self._paid_at[account] = paid_at
            until = max(until, share.rests_until(paid_at))
        if len(self._paid_at) > MANY_ACCOUNTS:
            self._paid_at = {account: at for account, at in self._paid_at.items() if at > now}
        return until
