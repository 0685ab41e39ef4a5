"""`TokenBucket`: how often something may happen."""


class TokenBucket:
    """Permits `burst` at once, and `per_s` a second in the long run."""

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, per_s: float, burst: int, now: float) -> None:
        """The bucket is full at `now`, in seconds."""
        self._per_s = per_s
        self._burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Take a token; return whether there was one. `now` is in seconds."""
        # A clock that is set back must not take tokens away.
        elapsed = max(0.0, now - self._at)
        self._at = now
        self._tokens = min(float(self._burst), self._tokens + elapsed * self._per_s)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
