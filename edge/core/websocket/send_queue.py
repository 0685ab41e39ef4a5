"""Frames that wait for slow clients: a queue for each client, and one byte budget for all."""

from collections.abc import Hashable, Iterable
from typing import Protocol

MAX_QUEUED_FRAMES = 65_536
"""Frames in one queue. Each entry costs about 100 bytes beside its frame, so a limit in bytes alone
would let a queue of very small frames take many times that limit."""


class SlowClient(Protocol):
    """A client whose transport is full."""

    @property
    def queued_bytes(self) -> int:
        """The bytes that wait for this client."""

    def close_too_slow(self) -> None:
        """Close the client with 4008 and empty its queue."""


class Budget:
    """The bytes that may wait for all clients of a worker together."""

    def __init__(self, max_bytes: int) -> None:
        self.used_bytes = 0
        self._max_bytes = max_bytes
        self._slow: set[SlowClient] = set()

    def __len__(self) -> int:
        """The number of slow clients."""
        return len(self._slow)

    def enter(self, client: SlowClient) -> None:
        """Make `client` one of those that `enforce` may close."""
        self._slow.add(client)

    def leave(self, client: SlowClient) -> None:
        """Undo `enter`. Unknown clients are ignored."""
        self._slow.discard(client)

    def enforce(self) -> None:
        """Close the clients with the longest queues until the others are within the budget."""
        if self.used_bytes <= self._max_bytes:
            return
        # Sorting a copy: each client that is closed leaves the set.
        for client in sorted(self._slow, key=lambda each: each.queued_bytes, reverse=True):
            if self.used_bytes <= self._max_bytes:
                return
            client.close_too_slow()


class SendQueue:
    """The frames of one slow client, in order of arrival; of a live topic only the newest.

    Bounded by `max_bytes`, by `MAX_QUEUED_FRAMES` and by the budget that all queues share. If a
    frame is added beyond one of them, clients are closed with 4008: this one, or those with the
    longest queues.
    """

    __slots__ = ("_budget", "_client", "_frames", "_held_bytes", "_max_bytes", "_next_key", "_size")

    def __init__(
        self, client: SlowClient, budget: Budget, max_bytes: int, frames: Iterable[bytes] = ()
    ) -> None:
        """`frames` are the first to wait; they may exceed the limits until the next is added."""
        self._client = client
        self._budget = budget
        self._max_bytes = max_bytes
        self._frames: dict[Hashable, bytes] = {}
        """Keyed by topic for live values, else by a running number."""
        self._next_key = 0
        self._size = 0
        self._held_bytes = 0
        """The bytes that the transport was given and has not sent."""
        budget.enter(client)
        for frame in frames:
            self._append(frame)

    def __len__(self) -> int:
        """The number of frames."""
        return len(self._frames)

    @property
    def queued_bytes(self) -> int:
        """The bytes of the frames, and of the transport's own buffer."""
        return self._size

    def add(self, frame: bytes) -> None:
        """Add a frame that no later one may replace."""
        self._append(frame)
        self._enforce()

    def add_live(self, topic: str, frame: bytes) -> bool:
        """Add the newest value of `topic`; return whether it replaced an older one."""
        replaced = self._frames.pop(topic, None)
        # The newest value goes to the end: it must not overtake an event that came before it.
        self._frames[topic] = frame
        self._count(len(frame) - (0 if replaced is None else len(replaced)))
        self._enforce()
        return replaced is not None

    def take(self, max_bytes: int) -> list[bytes]:
        """Remove and return the first frames, up to `max_bytes` but at least one."""
        taken: list[Hashable] = []
        size = 0
        for key, frame in self._frames.items():
            if taken and size + len(frame) > max_bytes:
                break
            taken.append(key)
            size += len(frame)
        self._count(-size)
        return [self._frames.pop(key) for key in taken]

    def set_held(self, size: int) -> None:
        """Set how many bytes the transport was given and has not sent."""
        self._count(size - self._held_bytes)
        self._held_bytes = size

    def close(self) -> None:
        """Drop every frame and leave the budget."""
        self._frames.clear()
        self._held_bytes = 0
        self._count(-self._size)
        self._budget.leave(self._client)

    def _append(self, frame: bytes) -> None:
        self._next_key += 1
        self._frames[self._next_key] = frame
        self._count(len(frame))

    def _enforce(self) -> None:
        if self._size > self._max_bytes or len(self._frames) > MAX_QUEUED_FRAMES:
            self._client.close_too_slow()
        else:
            self._budget.enforce()

    def _count(self, size: int) -> None:
        self._size += size
        self._budget.used_bytes += size
