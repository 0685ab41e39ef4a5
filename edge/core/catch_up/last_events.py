"""Where the newest events that a client asks for with `last` begin (protocol section 7)."""

from collections.abc import Callable, Sequence

from edge.core.catch_up.resume import STEP_RECORDS, Fetch, Fetched, Outcome, run_after
from edge.core.hub.audience import Connection
from edge.core.identity.access import may_receive
from edge.core.streams.record import Record
from edge.core.streams.streams import Stream, Streams

SCAN_OFFSETS = 4096
"""How far back a stream is searched."""
BLOCK_OFFSETS = 256


class LastEvents:
    """Searches one stream backwards, a block at a time, for what a client may see."""

    def __init__(
        self,
        connection: Connection,
        streams: Streams,
        stream: Stream,
        count: int,
        wants: Callable[[Record], bool],
    ) -> None:
        """Search for the newest `count` records that `wants` selects."""
        self._connection = connection
        self._streams = streams
        self._stream = stream
        self._count = count
        self._wants = wants
        self.until = stream.history.head
        """The newest event when the search began."""
        self._floor = max(0, self.until - SCAN_OFFSETS)
        self._found: list[int] = []
        """Offsets behind the block, ascending."""
        self._in_block: list[int] = []
        self._block_start = self._block_end = self._position = stream.history.head
        self._begin_block(stream.history.head)

    @property
    def since(self) -> int:
        """What follows holds the events that were asked for, as far as they were found."""
        return self._found[-self._count] - 1 if self._is_enough else self._floor

    def step(self, fetched: Fetched | None = None) -> Outcome:
        """Search on; `fetched` is what the step before asked for."""
        looked_at = 0
        history = self._stream.history
        while looked_at < STEP_RECORDS:
            if self._position >= self._block_end:
                self._found = self._in_block + self._found
                if self._is_enough or self._block_start <= self._floor:
                    return Outcome(is_complete=True)
                self._begin_block(self._block_start)
                continue
            records = run_after(self._stream, self._position, fetched)
            if records is not None:
                looked_at += self._look_at(records)
            elif history.is_gone(self._position):
                self._position = min(history.first_after(self._position) - 1, self._block_end)
                self._floor = max(self._floor, self._position)
                self._in_block = []
            else:
                return Outcome(fetch=Fetch(self._stream.kind, *history.missing(self._position)))
        return Outcome()

    @property
    def _is_enough(self) -> bool:
        return len(self._found) >= self._count

    def _begin_block(self, end: int) -> None:
        self._in_block = []
        self._block_end = end
        aligned = (end - 1) // BLOCK_OFFSETS * BLOCK_OFFSETS if end else 0
        self._block_start = self._position = max(aligned, self._floor)

    def _look_at(self, records: Sequence[Record]) -> int:
        """Note which of `records` match; return how many were looked at."""
        count = 0
        for record in records:
            if record.offset > self._block_end:
                break
            self._position = record.offset
            count += 1
            if (
                self._wants(record)
                and record.read(self._streams.unreadable)
                and may_receive(self._connection.identity, record.addressed_to)
            ):
                self._in_block.append(record.offset)
        return count
