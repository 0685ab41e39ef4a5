"""`PendingFrames`: the frames of one client that have been read, and wait for their turn."""

from collections import deque
from collections.abc import Iterator
from typing import Self

from edge.core.websocket.reader import Message


class PendingFrames:
    """Yields the frames of one read after the other. Raises what the reading raises."""

    __slots__ = ("_put_back", "_reads", "is_in_line")

    def __init__(self) -> None:
        self._reads: deque[Iterator[Message | None]] = deque()
        self._put_back: list[Message | None] = []
        self.is_in_line = False
        """Whether they wait for a turn, which is one of the pauses of the client."""

    def add(self, frames: Iterator[Message | None]) -> None:
        """Take the frames of a read."""
        self._reads.append(frames)

    def put_back(self, frame: Message | None) -> None:
        """Yield `frame` once more, next."""
        self._put_back.append(frame)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message | None:
        if self._put_back:
            return self._put_back.pop()
        while self._reads:
            for frame in self._reads[0]:
                return frame
            self._reads.popleft()
        raise StopIteration
