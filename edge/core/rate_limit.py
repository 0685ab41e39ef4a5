"""`TokenBucket`: how often something may happen, and `UserBuckets` for each user."""

from collections import OrderedDict

MAX_USERS = 10_000
"""Users whose buckets are remembered; with more, the one that was idle longest gets a new one."""
MAX_DEBT_S = 30.0
"""Seconds after which every debt is paid."""


class TokenBucket:
    """Permits `burst` at once, and `per_s` a second in the long run."""

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, per_s: float, burst: int, now: float) -> None:
        """The bucket is full at `now`, in seconds."""
        self._per_s = per_s
        self._burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float, count: int = 1) -> bool:
        """Take `count` tokens; return whether there were as many. `now` is in seconds."""
        self._refill(now)
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def spend(self, now: float, count: int) -> None:
        """Take `count` tokens, whether or not there are as many. `now` is in seconds.

        No more are missing afterwards than come in `MAX_DEBT_S`.
        """
        self._refill(now)
        self._tokens = max(self._tokens - count, -MAX_DEBT_S * self._per_s)

    def debt_s(self, now: float) -> float:
        """Return the seconds until no token is missing any more. `now` is in seconds."""
        self._refill(now)
        return self.wait_s(0)

    def wait_s(self, count: int) -> float:
        """Return the seconds after the last `take` when there will be `count` tokens."""
        return max(0.0, (count - self._tokens) / self._per_s)

    def _refill(self, now: float) -> None:
        # A clock that is set back must not take tokens away.
        elapsed = max(0.0, now - self._at)
        self._at = now
        self._tokens = min(float(self._burst), self._tokens + elapsed * self._per_s)


class UserBuckets:
    """A bucket for each user, bounded by `MAX_USERS`."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def wait_s(self, username: str, count: int, now: float) -> float:
        """Take `count` tokens and return 0, or return the seconds until there are as many."""
        bucket = self._buckets.get(username)
        if bucket is None:
            bucket = self._buckets[username] = TokenBucket(self._per_s, self._burst, now)
            if len(self._buckets) > MAX_USERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(username)
        return 0.0 if bucket.take(now, count) else bucket.wait_s(count)
