"""Finds where the newest events that a client asks for with `last` begin (protocol section 7)."""

from collections.abc import Callable, Sequence

from edge.core.streams.record import Record
from edge.core.streams.streams import Stream

MAX_SEARCHED_OFFSETS = 4096
"""How far back from its head a stream is searched."""
BLOCK_OFFSETS = 256


class LastEventsSearch:
    """Searches one stream backwards for the newest records that match.

    Block by block, the newest block first, but forwards within a block: in that direction the
    history hands out runs of records. The caller supplies the records that follow `position`.
    """

    def __init__(self, stream: Stream, count: int, matches: Callable[[Record], bool]) -> None:
        """Search for the newest `count` records that `matches` accepts."""
        self.stream = stream
        self._count = count
        self._matches = matches
        self.until = stream.history.head
        """The newest offset when the search began."""
        self._floor = max(0, self.until - MAX_SEARCHED_OFFSETS)
        self._found: list[int] = []
        """Offsets of matches behind the current block, ascending."""
        self._found_in_block: list[int] = []
        self._block_end = self._block_start = self.position = self.until
        self.is_complete = False
        self._end_block()

    @property
    def since(self) -> int:
        """The offset after which the requested events begin, as far as they were found."""
        return self._found[-self._count] - 1 if self._has_enough else self._floor

    def look_at(self, records: Sequence[Record]) -> int:
        """Search `records`, a run that follows `position`; return how many were looked at."""
        looked_at = 0
        for record in records:
            if record.offset > self._block_end:
                break
            self.position = record.offset
            looked_at += 1
            if self._matches(record):
                self._found_in_block.append(record.offset)
        if self.position >= self._block_end:
            self._end_block()
        return looked_at

    def skip_lost(self) -> None:
        """The records that follow `position` are lost: nothing before them is worth a search."""
        self.position = min(self.stream.history.first_after(self.position) - 1, self._block_end)
        self._floor = max(self._floor, self.position)
        self._found_in_block = []
        if self.position >= self._block_end:
            self._end_block()

    @property
    def _has_enough(self) -> bool:
        return len(self._found) >= self._count

    def _end_block(self) -> None:
        """Go to the block before the current one, or end the search."""
        self._found = self._found_in_block + self._found
        self._found_in_block = []
        if self._has_enough or self._block_start <= self._floor:
            self.is_complete = True
            return
        self._block_end = self._block_start
        aligned = (self._block_end - 1) // BLOCK_OFFSETS * BLOCK_OFFSETS
        self._block_start = self.position = max(aligned, self._floor)
