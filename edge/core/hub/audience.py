"""`Audience`: connections with the same selectors, which therefore receive the same bytes.

Frames are gathered and sent by `flush`, once for everything that was read from the relay together.
Each connection receives its frames in the order of their arrival: before a frame of its own, a
connection receives the frames that were gathered for it until then (`flush_to`).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from edge.core.identity.access import Identity
from edge.core.websocket.frames import FrameDeflater
from relay.wire.topics import Pattern

MAX_BATCH_BYTES = 256 * 1024
"""Frames are joined for one write up to this size; a single larger frame is a batch of its own."""


class FrameBatch:
    """Frames in the order of their arrival, joined once for any number of connections."""

    __slots__ = ("_deflated", "count", "frames", "joined", "topics")

    def __init__(self, frames: list[bytes], topics: list[str | None]) -> None:
        """`topics` holds the live topic of each frame that a newer value may replace, else None."""
        self.frames = frames
        self.topics = topics
        self.count = len(frames)
        self.joined = _join(frames)
        """All frames as one piece."""
        self._deflated: bytes | None = None

    def __iter__(self) -> Iterator[tuple[bytes, str | None]]:
        return zip(self.frames, self.topics, strict=True)

    def deflated(self, deflater: FrameDeflater) -> bytes:
        """Return `joined` with every frame compressed."""
        if self._deflated is None:
            self._deflated = _join([deflater.deflate(frame) for frame in self.frames])
        return self._deflated


class Connection(Protocol):
    """One client as the core sees it. Sending never waits and never fails."""

    identity: Identity

    def send(self, frame: bytes) -> None:
        """Send a frame that must arrive, in order."""

    def send_live(self, topic: str, frame: bytes) -> None:
        """Send a frame that a newer one on the same topic may replace while it waits."""

    def send_batch(self, batch: FrameBatch) -> None:
        """Send frames that other connections receive as well."""


Deliver = Callable[[Iterable[Connection], FrameBatch], None]
"""Sends a batch to connections."""


def send_each(connection: Connection, frames: Iterable[tuple[bytes, str | None]]) -> None:
    """Send frames one by one, each with its live topic, or None if it must arrive."""
    for frame, topic in frames:
        if topic is None:
            connection.send(frame)
        else:
            connection.send_live(topic, frame)


def deliver_to_each(connections: Iterable[Connection], batch: FrameBatch) -> None:
    """Send `batch` to each of `connections`."""
    for connection in connections:
        connection.send_batch(batch)


class Audience:
    """Connections with the same selectors, and the frames gathered for them."""

    __slots__ = ("_flushed_early", "_frames", "_topics", "members", "selectors")

    def __init__(self, selectors: frozenset[Pattern]) -> None:
        self.selectors = selectors
        self.members: dict[Connection, None] = {}
        self._frames: list[bytes] = []
        self._topics: list[str | None] = []
        self._flushed_early: dict[Connection, int] = {}
        """Number of gathered frames that each early-flushed connection has already received."""

    def __len__(self) -> int:
        return len(self.members)

    @property
    def waiting(self) -> int:
        """Number of frames that were gathered and not sent, summed over all connections."""
        return len(self._frames) * len(self.members) - sum(self._flushed_early.values())

    def add(self, connection: Connection) -> None:
        """Add a connection; it receives the frames that arrive from now on."""
        self.members[connection] = None
        if self._frames:
            # A frame that was gathered before the connection came is not for it.
            self._flushed_early[connection] = len(self._frames)

    def remove(self, connection: Connection) -> None:
        """Remove a connection, after it has received the frames that arrived until now."""
        self.flush_to(connection)
        self._flushed_early.pop(connection, None)
        del self.members[connection]

    def gather(self, frame: bytes, topic: str | None) -> bool:
        """Keep `frame` for `flush`; return whether it is the first one gathered."""
        self._frames.append(frame)
        self._topics.append(topic)
        return len(self._frames) == 1

    def flush_to(self, connection: Connection) -> None:
        """Send the gathered frames to `connection` alone, because a frame of its own follows."""
        gathered = len(self._frames)
        if gathered:
            start = self._flushed_early.get(connection, 0)
            rest = zip(self._frames[start:], self._topics[start:], strict=True)
            send_each(connection, rest)
            self._flushed_early[connection] = gathered

    def flush(self, deliver: Deliver) -> int:
        """Send the gathered frames and return their number; `deliver` sends to many at once."""
        frames, topics, early = self._frames, self._topics, self._flushed_early
        self._frames, self._topics, self._flushed_early = [], [], {}
        # `members` does not change during delivery: a connection that fails is only closed here,
        # and its transport reports the end in a later turn of the event loop.
        members = [each for each in self.members if each not in early] if early else self.members
        for batch in _batches(frames, topics):
            deliver(members, batch)
        for connection, start in early.items():
            send_each(connection, zip(frames[start:], topics[start:], strict=True))
        return len(frames)


def _join(frames: list[bytes]) -> bytes:
    return frames[0] if len(frames) == 1 else b"".join(frames)


def _batches(frames: list[bytes], topics: list[str | None]) -> Iterator[FrameBatch]:
    if sum(map(len, frames)) <= MAX_BATCH_BYTES:
        yield FrameBatch(frames, topics)
        return
    start = size = 0
    for index, frame in enumerate(frames):
        if index > start and size + len(frame) > MAX_BATCH_BYTES:
            yield FrameBatch(frames[start:index], topics[start:index])
            start, size = index, 0
        size += len(frame)
    yield FrameBatch(frames[start:], topics[start:])
