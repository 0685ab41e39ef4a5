"""`Audience`: connections that are subscribed to the same, and so are sent the same bytes.

What arrives is gathered and sent when `flush` is called, which is once for all that was read from
the relay at a time. Each connection gets its frames in the order of their arrival: who is sent
something of its own in between has what was gathered before it first.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from edge.core.identity.access import Identity
from edge.core.websocket.frames import FrameDeflater
from relay.wire.topics import Pattern

MAX_BATCH_BYTES = 256 * 1024
"""What is joined into one write, unless a single frame is larger."""


class Batch:
    """Frames in the order of their arrival. Joined once, however many connections are sent them."""

    __slots__ = ("_deflated", "count", "frames", "joined", "topics")

    def __init__(self, frames: list[bytes], topics: list[str | None]) -> None:
        """`topics` names the topic of each frame that a newer one on it may replace, else None."""
        self.frames = frames
        self.topics = topics
        self.count = len(frames)
        self.joined = _join(frames)
        """All frames as one piece."""
        self._deflated: bytes | None = None

    def __iter__(self) -> Iterator[tuple[bytes, str | None]]:
        return zip(self.frames, self.topics, strict=True)

    def deflated(self, deflater: FrameDeflater) -> bytes:
        """The same as `joined` with every frame compressed."""
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

    def send_batch(self, batch: Batch) -> None:
        """Send frames that others are sent as well."""


Deliver = Callable[[Iterable[Connection], Batch], None]
"""Sends a batch to connections."""


def send_each(connection: Connection, frames: Iterable[tuple[bytes, str | None]]) -> None:
    """Send frames one by one, each with the topic of a live value, else None."""
    for frame, topic in frames:
        if topic is None:
            connection.send(frame)
        else:
            connection.send_live(topic, frame)


def deliver_to_each(connections: Iterable[Connection], batch: Batch) -> None:
    """Send `batch` to each of `connections`."""
    for connection in connections:
        connection.send_batch(batch)


class Audience:
    """Connections with the same selectors."""

    __slots__ = ("_ahead", "_frames", "_topics", "members", "selectors")

    def __init__(self, selectors: frozenset[Pattern]) -> None:
        self.selectors = selectors
        self.members: dict[Connection, None] = {}
        self._frames: list[bytes] = []
        self._topics: list[str | None] = []
        self._ahead: dict[Connection, int] = {}
        """Of those that are not to be sent all that is gathered: how much of it they have."""

    def __len__(self) -> int:
        return len(self.members)

    @property
    def is_pending(self) -> bool:
        """Whether something is gathered."""
        return bool(self._frames)

    @property
    def waiting(self) -> int:
        """How many frames its connections have not been sent, all together."""
        return len(self._frames) * len(self.members) - sum(self._ahead.values())

    def add(self, connection: Connection) -> None:
        """From now on `connection` is sent what arrives."""
        self.members[connection] = None
        if self._frames:
            self._ahead[connection] = len(self._frames)

    def remove(self, connection: Connection) -> None:
        """`connection` is sent nothing more but what has arrived."""
        self.catch_up(connection)
        self._ahead.pop(connection, None)
        del self.members[connection]

    def gather(self, frame: bytes, topic: str | None) -> None:
        """Send `frame` to all when `flush` is called."""
        self._frames.append(frame)
        self._topics.append(topic)

    def catch_up(self, connection: Connection) -> None:
        """Send `connection` alone what is gathered, for something of its own comes next."""
        gathered = len(self._frames)
        if gathered:
            start = self._ahead.get(connection, 0)
            rest = zip(self._frames[start:], self._topics[start:], strict=True)
            send_each(connection, rest)
            self._ahead[connection] = gathered

    def flush(self, deliver: Deliver) -> int:
        """Send what is gathered, and return how many frames that is; `deliver` sends to many."""
        frames, topics, ahead = self._frames, self._topics, self._ahead
        self._frames, self._topics, self._ahead = [], [], {}
        # Nobody comes or goes meanwhile: a connection that is closed leaves later.
        members = [each for each in self.members if each not in ahead] if ahead else self.members
        for batch in _batches(frames, topics):
            deliver(members, batch)
        for connection, start in ahead.items():
            send_each(connection, zip(frames[start:], topics[start:], strict=True))
        return len(frames)


def _join(frames: list[bytes]) -> bytes:
    return frames[0] if len(frames) == 1 else b"".join(frames)


def _batches(frames: list[bytes], topics: list[str | None]) -> Iterator[Batch]:
    if sum(map(len, frames)) <= MAX_BATCH_BYTES:
        yield Batch(frames, topics)
        return
    start = size = 0
    for index, frame in enumerate(frames):
        if index > start and size + len(frame) > MAX_BATCH_BYTES:
            yield Batch(frames[start:index], topics[start:index])
            start, size = index, 0
        size += len(frame)
    yield Batch(frames[start:], topics[start:])
