"""What waits for clients that read more slowly than events arrive, of one and of all."""

from collections.abc import Hashable
from typing import Protocol


class SlowConsumer(Protocol):
    """A client for which something waits."""

    @property
    def queued_bytes(self) -> int:
        """How much that is."""

    def give_up(self) -> None:
        """Close the client, whose queue is counted no more after that."""


class Budget:
    """What may wait for the clients of a worker together."""

    def __init__(self, max_bytes: int) -> None:
        self.used_bytes = 0
        self._max_bytes = max_bytes
        self._slow: set[SlowConsumer] = set()

    def __len__(self) -> int:
        return len(self._slow)

    def enter(self, client: SlowConsumer) -> None:
        """Something waits for `client` from now on."""
        self._slow.add(client)

    def leave(self, client: SlowConsumer) -> None:
        """Nothing waits for `client` any more."""
        self._slow.discard(client)

    def enforce(self) -> None:
        """Give up the clients that are the furthest behind until the rest is within the budget."""
        if self.used_bytes <= self._max_bytes:
            return
        for client in sorted(self._slow, key=lambda each: each.queued_bytes, reverse=True):
            if self.used_bytes <= self._max_bytes:
                return
            client.give_up()


class SendQueue:
    """Frames in order of arrival, of a live topic only the newest, counted in bytes."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._frames: dict[Hashable, bytes] = {}
        self._next_key = 0
        self.queued_bytes = 0
        """Of the frames, and of what the transport has been handed and not sent."""
        self._handed_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: bytes) -> None:
        """Add a frame that must be sent."""
        self._next_key += 1
        self._frames[self._next_key] = frame
        self._count(len(frame))

    def add_live(self, topic: str, frame: bytes) -> bool:
        """Add a frame, in place of an earlier one on `topic`; return whether there was one."""
        replaced = self._frames.pop(topic, None)
        self._frames[topic] = frame
        self._count(len(frame) - (0 if replaced is None else len(replaced)))
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

    def set_handed(self, size: int) -> None:
        """`size` bytes are with the transport, which has not sent them."""
        self._count(size - self._handed_bytes)
        self._handed_bytes = size

    def clear(self) -> None:
        """Give up everything."""
        self._frames.clear()
        self._handed_bytes = 0
        self._count(-self.queued_bytes)

    def _count(self, size: int) -> None:
        self.queued_bytes += size
        self._budget.used_bytes += size
