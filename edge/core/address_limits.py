"""`AddressLimits`: how many connections one address may have, and how fast it may make new ones.

Many users may share an address, so the limits are generous. They do not hold for trusted proxies:
a proxy has all clients. If it tells the address of a client, that one counts.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto

from edge.core.identity.wrong_passwords import address_of
from edge.core.rate_limit import TokenBucket

MAX_IDLE_ADDRESSES = 10_000
"""Addresses without a connection that are remembered for the rate of their connections."""


class AddressExcess(Enum):
    """The limit that a further connection of an address would pass."""

    CONNECTIONS = auto()
    RATE = auto()


@dataclass(slots=True)
class _AddressUsage:
    bucket: TokenBucket
    connections: int = 0


class AddressLimits:
    """Counts the connections of each address. `now` is monotonic, in seconds."""

    def __init__(self, max_connections: int, per_s: float, burst: int) -> None:
        self._max_connections = max_connections
        self._per_s = per_s
        self._burst = burst
        self._usage: dict[str, _AddressUsage] = {}
        """Of the addresses with connections."""
        self._idle: OrderedDict[str, _AddressUsage] = OrderedDict()
        """Of addresses without; the one that was left first is first."""

    def __len__(self) -> int:
        """The number of addresses that are known."""
        return len(self._usage) + len(self._idle)

    def enter(self, address: str, now: float) -> AddressExcess | None:
        """Count a connection of `address`, to be undone by `leave`; or return why it has none."""
        key = address_of(address)
        usage = self._usage.get(key) or self._idle.pop(key, None)
        if usage is None:
            usage = _AddressUsage(TokenBucket(self._per_s, self._burst, now))
        excess = None
        if usage.connections >= self._max_connections:
            excess = AddressExcess.CONNECTIONS
        elif not usage.bucket.take(now):
            excess = AddressExcess.RATE
        else:
            usage.connections += 1
        self._keep(key, usage)
        return excess

    def leave(self, address: str) -> None:
        """A connection that was counted has ended."""
        key = address_of(address)
        usage = self._usage[key]
        usage.connections -= 1
        self._keep(key, usage)

    def _keep(self, key: str, usage: _AddressUsage) -> None:
        if usage.connections:
            self._usage[key] = usage
            return
        self._usage.pop(key, None)
        self._idle[key] = usage
        if len(self._idle) > MAX_IDLE_ADDRESSES:
            self._idle.popitem(last=False)
