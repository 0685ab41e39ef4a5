"""What waits for a client that reads more slowly than events arrive."""

from collections.abc import Hashable


class SendQueue:
    """Frames in order of arrival, of a live topic only the newest, counted in bytes."""

    def __init__(self) -> None:
        self._frames: dict[Hashable, bytes] = {}
        self._next_key = 0
        self.queued_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: bytes) -> None:
        """Add a frame that must be sent."""
        self._next_key += 1
        self._frames[self._next_key] = frame
        self.queued_bytes += len(frame)

    def add_live(self, topic: str, frame: bytes) -> bool:
        """Add a frame, in place of an earlier one on `topic`; return whether there was one."""
        replaced = self._frames.pop(topic, None)
        if replaced is not None:
            self.queued_bytes -= len(replaced)
        self._frames[topic] = frame
        self.queued_bytes += len(frame)
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
        self.queued_bytes -= size
        return [self._frames.pop(key) for key in taken]

    def clear(self) -> None:
        """Give up everything."""
        self._frames.clear()
        self.queued_bytes = 0
