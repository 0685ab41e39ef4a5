"""`SubscriptionQuota`: how many subscriptions one user and one worker may hold, in count and bytes.

A user's bound is far below the worker's, so that no single user can use up the room of all others.
Bytes are those of the patterns in UTF-8.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from relay.wire.topics import Pattern


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """The bounds of one user, and of all users of a worker together."""

    per_user: int = 10_000
    bytes_per_user: int = 2 * 1024 * 1024
    total: int = 200_000
    total_bytes: int = 32 * 1024 * 1024


class QuotaExcess(Enum):
    """The bound that a further subscription would pass."""

    USER = auto()
    USER_BYTES = auto()
    WORKER = auto()

    def explain(self, limits: QuotaLimits) -> str:
        """Return the text for the client."""
        match self:
            case QuotaExcess.USER:
                return f"At most {limits.per_user} subscriptions are allowed for one user."
            case QuotaExcess.USER_BYTES:
                limit = limits.bytes_per_user
                return f"The topics of one user's subscriptions may have at most {limit} bytes."
            case QuotaExcess.WORKER:
                return "This edge has no room for another subscription."


@dataclass(slots=True)
class _Usage:
    count: int = 0
    size_bytes: int = 0

    def change(self, count: int, size_bytes: int) -> None:
        self.count += count
        self.size_bytes += size_bytes


class SubscriptionQuota:
    """Counts the live subscriptions of each user."""

    def __init__(self, limits: QuotaLimits | None = None) -> None:
        self.limits = QuotaLimits() if limits is None else limits
        self._all = _Usage()
        self._by_user: dict[str, _Usage] = {}

    @property
    def count(self) -> int:
        """The number of subscriptions of all users."""
        return self._all.count

    @property
    def size_bytes(self) -> int:
        """The bytes of the patterns of all subscriptions."""
        return self._all.size_bytes

    def excess(self, username: str, pattern: Pattern) -> QuotaExcess | None:
        """Return the bound that a subscription to `pattern` would pass, None if there is room."""
        limits, size_bytes = self.limits, pattern_bytes(pattern)
        usage = self._by_user.get(username, _NOTHING)
        if usage.count >= limits.per_user:
            return QuotaExcess.USER
        if usage.size_bytes + size_bytes > limits.bytes_per_user:
            return QuotaExcess.USER_BYTES
        if (
            self._all.count >= limits.total
            or self._all.size_bytes + size_bytes > limits.total_bytes
        ):
            return QuotaExcess.WORKER
        return None

    def add(self, username: str, pattern: Pattern) -> None:
        """Count a subscription."""
        size_bytes = pattern_bytes(pattern)
        self._all.change(1, size_bytes)
        self._by_user.setdefault(username, _Usage()).change(1, size_bytes)

    def remove(self, username: str, patterns: Collection[Pattern]) -> None:
        """Count subscriptions of one user no longer."""
        if not patterns:
            return
        size_bytes = sum(map(pattern_bytes, patterns))
        self._all.change(-len(patterns), -size_bytes)
        usage = self._by_user[username]
        usage.change(-len(patterns), -size_bytes)
        if not usage.count:
            del self._by_user[username]


def pattern_bytes(pattern: Pattern) -> int:
    """Return the bytes of `pattern` in UTF-8, without the `*`."""
    return len(pattern.prefix.encode())


_NOTHING = _Usage()
