"""`TimeShare`: how much of the loop's time somebody's requests may take in the long run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeShare:
    """At most `share` of the time, and `burst_s` seconds of work at once.

    The state of one account is a single number: the time at which its work is paid for, 0 at first.
    Times are in seconds, monotonic.
    """

    share: float
    burst_s: float

    def charge(self, paid_at: float, cost_s: float, now: float) -> float:
        """Return when an account is paid for that has done `cost_s` of work until `now`."""
        return max(paid_at, now) + cost_s / self.share

    def rests_until(self, paid_at: float) -> float:
        """Return the time before which the account is to do no further work."""
        return paid_at - self.burst_s / self.share
