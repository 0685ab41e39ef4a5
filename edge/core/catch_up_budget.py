"""`CatchUpBudget`: how much of the past a user's connections may look at and get, together.

A resume of a few bytes may ask for the whole journal, and match nothing of it. So each user has a
number of events looked at, and of bytes read from the relay or sent, at once and a second.
"""

from collections import OrderedDict
from dataclasses import dataclass

from edge.core.rate_limit import MAX_USERS, TokenBucket


@dataclass(frozen=True, slots=True)
class CatchUpLimits:
    """The bounds of one user."""

    events_per_s: float = 50_000.0
    event_burst: int = 200_000
    bytes_per_s: float = 16.0 * 1024 * 1024
    byte_burst: int = 64 * 1024 * 1024


@dataclass(slots=True)
class _Account:
    events: TokenBucket
    bytes: TokenBucket


class CatchUpBudget:
    """The accounts of all users. `now` is monotonic, in seconds.

    What a step costs is known after it, so an account may be overdrawn by one step of each of the
    user's connections, and the next steps wait until it is not.
    """

    def __init__(self, limits: CatchUpLimits | None = None) -> None:
        self._limits = CatchUpLimits() if limits is None else limits
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self.waits = 0
        """How often a step had to wait."""

    def wait_s(self, username: str, now: float) -> float:
        """Return the seconds until a step of `username` may come; 0 if it may come now."""
        account = self._accounts.get(username)
        if account is None:
            return 0.0
        return max(account.events.debt_s(now), account.bytes.debt_s(now))

    def spend(self, username: str, events: int, size_bytes: int, now: float) -> None:
        """A step of `username` has looked at so many events, and brought so many bytes."""
        account = self._accounts.get(username)
        if account is None:
            limits = self._limits
            account = self._accounts[username] = _Account(
                TokenBucket(limits.events_per_s, limits.event_burst, now),
                TokenBucket(limits.bytes_per_s, limits.byte_burst, now),
            )
            if len(self._accounts) > MAX_USERS:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(username)
        account.events.spend(now, events)
        account.bytes.spend(now, size_bytes)
