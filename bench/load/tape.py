"""Whether every client got every event in order, found out at the price of a memory comparison.

All clients of a group must receive the same. The first to receive an event has it parsed and
checked, and it goes on the group's `Tape`. The others compare what comes with the tape, whole
chunks of bytes at a time; only what differs, because something else lies between the events, is
taken apart. Sockets and clocks are elsewhere.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from bench.load.dialect import Dialect
from bench.load.frames import IS_CONTROL, Message
from bench.load.payload import Event, Unreadable, read_event

NOTHING: Sequence[Message] = ()


class Tape:
    """The events of one group, as bytes off the wire: numbers `first`, `first + stride`, …"""

    def __init__(self, first: int = 0, stride: int = 1) -> None:
        self.raw = bytearray()
        self.ends: list[int] = []
        """Where in `raw` each event ends."""
        self.sent_ns: list[int] = []
        self._first = first
        self._stride = stride

    def __len__(self) -> int:
        return len(self.ends)

    def start(self, index: int) -> int:
        """Where event `index` begins, or would begin."""
        return self.ends[index - 1] if index else 0

    def count(self, position: int) -> int:
        """How many events lie wholly before `position`."""
        return bisect_right(self.ends, position)

    def number(self, index: int) -> int:
        """The number of the event at place `index`."""
        return self._first + index * self._stride

    def index_after(self, event: Event) -> int:
        """The place of the event that follows `event`."""
        return (event.number - self._first) // self._stride + 1

    def expected(self, published: int) -> int:
        """How many of `published` events are this group's."""
        return len(range(self._first, published, self._stride))

    def compare(self, index: int, raw: bytes, event: Event) -> str | None:
        """Return what is wrong with `raw` as event `index`, None if nothing is.

        What is right and new goes on the tape.
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
    """One client's place on the tape."""

    def __init__(self, tape: Tape, dialect: Dialect) -> None:
        self.tape = tape
        self.position = 0
        """In the bytes of the tape: so far everything was right."""
        self.fault: str | None = None
        """What went wrong first. From then on events are only counted."""
        self._split = dialect.split
        self._event = dialect.event
        self._rest = b""
        """The beginning of a message that is not on the tape, or not yet."""
        self._uncertain = 0
        """Events that came after the fault."""
        self._next = 0
        """After the fault: the place that follows the last event."""

    @property
    def received(self) -> int:
        """How many events came."""
        return self.tape.count(self.position) + self._uncertain

    @property
    def reached(self) -> int:
        """How far it has got, counting what was lost on the way."""
        return max(self.tape.count(self.position), self._next)

    def take(self, data: bytes | memoryview) -> Sequence[Message]:
        """Take bytes off the wire, cut anywhere; return the messages that are not events."""
        # What is on the tape ends in mid-event at most, so `_rest` is empty here.
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
        """Go back to where the last message ended; return what came after it."""
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
    """Yield the place of every event that came in order, and when it had come.

    `arrivals` has, for every chunk taken, a time and the position then, one after the other.
    """
    index, ends = 0, reader.tape.ends
    pairs = iter(arrivals)
    for at, position in zip(pairs, pairs, strict=True):
        while index < len(ends) and ends[index] <= position:
            yield index, at
            index += 1
