"""`EgressBudget`: how many bytes may wait for one subscriber that reads too slowly.

libzmq bounds the queue of a subscriber by messages alone, and tells nothing about it. But while the
kernel takes more of a connection, the queue before it is empty; and since it took no more, no more
can wait than was published and not acknowledged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from relay.wire.header import StampedFrames

LOOKS_PER_BUDGET = 64
"""How often the connections are looked at while as many bytes are published as the budget has."""
SHORT_FRAME_BYTES = 255


class KernelState(NamedTuple):
    """The state of one connection in the kernel."""

    is_blocked: bool
    """Whether the kernel takes no more bytes at present."""
    acknowledged_bytes: int
    """Bytes that the peer has acknowledged since the connection began; 0 if that is unknown."""


@dataclass(slots=True)
class _Unblocked:
    """The last moment at which the kernel took more of a connection."""

    published_bytes: int
    acknowledged_bytes: int


class EgressBudget:
    """Names the connections for which more than `max_bytes` may wait."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._published_bytes = 0
        self._look_at = 0
        """The published bytes at which the connections are to be looked at again."""
        self._connections: dict[int, _Unblocked] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def begin(self, connection: int) -> None:
        """A connection is new: nothing waits for it."""
        self._connections[connection] = _Unblocked(self._published_bytes, 0)

    def end(self, connection: int) -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)

    def publish(self, size_bytes: int) -> bool:
        """Note that so many bytes were published; return whether a look is due."""
        self._published_bytes += size_bytes
        return self._published_bytes >= self._look_at

    def look(self, states: Mapping[int, KernelState]) -> list[int]:
        """Take the state of every connection; return those that are beyond the budget."""
        self._look_at = self._published_bytes + self._max_bytes // LOOKS_PER_BUDGET
        beyond: list[int] = []
        for connection, state in states.items():
            last = self._connections[connection]
            if not state.is_blocked:
                last.published_bytes = self._published_bytes
                last.acknowledged_bytes = state.acknowledged_bytes
                continue
            published = self._published_bytes - last.published_bytes
            # An upper bound: the subscriber may want only a part of what was published.
            waiting = published - (state.acknowledged_bytes - last.acknowledged_bytes)
            if waiting > self._max_bytes:
                beyond.append(connection)
        return beyond


def wire_bytes(events: Sequence[StampedFrames]) -> int:
    """Return the bytes of `events` on a connection, with the heads of their frames (ZMTP 3)."""
    size_bytes = 0
    # Not a generator: it is called for every event.
    for topic, stamp, body in events:
        heads = 6 if len(body) <= SHORT_FRAME_BYTES else 13
        size_bytes += len(topic) + len(stamp) + len(body) + heads
    return size_bytes
