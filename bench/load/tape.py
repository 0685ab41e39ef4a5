"""Checks that every client gets every event in order, at the price of a memory comparison.

All clients of a group must receive the same events. An event is parsed and checked for the first
client that receives it, and appended to the group's `Tape`. The other clients compare the received
bytes with the tape, in whole chunks; only chunks that differ, because other messages lie between
the events, are parsed. Sockets and clocks are elsewhere.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from bench.load.dialect import Dialect
from bench.load.frames import IS_CONTROL, Message
from bench.load.payload import Event, Unreadable, read_event

NOTHING: Sequence[Message] = ()


class Tape:
    """The events of one group, as received bytes: numbers `first`, `first + stride`, …"""

    def __init__(self, first: int = 0, stride: int = 1) -> None:
        self.raw = bytearray()
        self.ends: list[int] = []
        """The end of each event in `raw`."""
        self.sent_ns: list[int] = []
        self._first = first
        self._stride = stride

    def __len__(self) -> int:
        return len(self.ends)

    def start(self, index: int) -> int:
        """Return the position where event `index` begins, or would begin."""
        return self.ends[index - 1] if index else 0

    def count(self, position: int) -> int:
        """Return the number of events that end at or before `position`."""
        return bisect_right(self.ends, position)

    def number(self, index: int) -> int:
        """Return the number of the event at `index`."""
        return self._first + index * self._stride

    def index_after(self, event: Event) -> int:
        """Return the index of the event that follows `event`."""
        return (event.number - self._first) // self._stride + 1

    def expected(self, published: int) -> int:
        """Return the number of this group's events among `published` ones."""
        return len(range(self._first, published, self._stride))

    def compare(self, index: int, raw: bytes, event: Event) -> str | None:
        """Return the fault of `raw` as event `index`; None if it is right.

        A right and new event is appended to the tape.
        """
        number = self.number(index)
        if event.number != number:
            return f"event {event.number} came instead of {number}"
        if index < len(self):
            same = raw == self.raw[self.start(index) : self.ends[index]]
            return None if same else f"event {number} differs from what others got: {raw[:200]!r}"
        self.raw += raw
        self.ends.append(len(self.raw))
        self.sent_ns.append(event.sent_ns)
        return None


class Reader:
    """The position of one client on the tape."""

    def __init__(self, tape: Tape, dialect: Dialect) -> None:
        self.tape = tape
        self.position = 0
        """Position in the bytes of the tape; everything before it was right."""
        self.fault: str | None = None
        """The first fault. After it events are only counted."""
        self._split = dialect.split
        self._event = dialect.event
        self._rest = b""
        """The begin of a message that is not on the tape, or not yet."""
        self._uncertain = 0
        """Number of events after the fault."""
        self._next = 0
        """Index that follows the last event, after a fault."""

    @property
    def received(self) -> int:
        """Number of received events."""
        return self.tape.count(self.position) + self._uncertain

    @property
    def reached(self) -> int:
        """The index that this client has reached, counting lost events."""
        return max(self.tape.count(self.position), self._next)

    def take(self, data: bytes | memoryview) -> Sequence[Message]:
        """Take received bytes, cut anywhere; return the messages that are not events."""
        # Bytes that equal the tape end within an event at most, so `_rest` is empty here.
        if not self._rest and self.tape.raw.startswith(data, self.position):
            self.position += len(data)
            return NOTHING
        return self._take_apart(bytes(data))

    def _take_apart(self, data: bytes) -> Sequence[Message]:
        buffer = self._unfinished() + data
        others: list[Message] = []
        begin = 0
        for message in self._split(buffer):
            text = None if message.first & IS_CONTROL else self._event(message.payload)
            if text is None:
                others.append(message)
            else:
                self._take_event(buffer[begin : message.end], text)
            begin = message.end
        self._rest = buffer[begin:]
        if self.fault is None and self.tape.raw.startswith(self._rest, self.position):
            self.position += len(self._rest)
            self._rest = b""
        return others

    def _unfinished(self) -> bytes:
        """Go back to the end of the last message; return the bytes after it."""
        if self._rest:
            return self._rest
        boundary = self.tape.start(self.tape.count(self.position))
        unfinished = bytes(self.tape.raw[boundary : self.position])
        self.position = boundary
        return unfinished

    def _take_event(self, raw: bytes, text: bytes) -> None:
        try:
            event = read_event(text)
        except Unreadable as error:
            self.fault = self.fault or f"an event cannot be read: {error}"
            return
        if self.fault is None:
            index = self.tape.count(self.position)
            self.fault = self.tape.compare(index, raw, event)
            if self.fault is None:
                self.position = self.tape.ends[index]
                return
        self._uncertain += 1
        self._next = self.tape.index_after(event)


def arrivals_by_event(reader: Reader, arrivals: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the index and the time of arrival of every event that came in order.

    `arrivals` holds, for every received chunk, its time and the position after it, alternating.
    """
    index, ends = 0, reader.tape.ends
    pairs = iter(arrivals)
    for at, position in zip(pairs, pairs, strict=True):
        while index < len(ends) and ends[index] <= position:
            yield index, at
            index += 1
