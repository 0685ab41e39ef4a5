"""`Replay`: the page of a stream for one request, read from the journal in pieces."""

from relay.journal.replayer import PublishedJournal
from relay.wire.control import ReplayReply, ReplayRequest
from relay.wire.control_message import MAX_PAGE_BYTES
from relay.wire.header import StampedFrames, unpack_stamp

PIECE_EVENTS = 128
"""Read at once. It is as cheap for each event as a large piece, and takes the loop about 0.6 ms."""
MAX_PAGE_EVENTS = 1_024
"""A client far away asks for one page at a time. To pack so many events takes 0.3 ms."""


class Replay:
    """Is complete when `go_on` was called often enough; `reply` has what was read until then."""

    def __init__(self, journal: PublishedJournal, request: ReplayRequest) -> None:
        """`journal` has the stream that is asked for."""
        self._journal = journal
        self.request = request
        self._limit = min(request.limit, MAX_PAGE_EVENTS)
        self._max_bytes = request.max_bytes or MAX_PAGE_BYTES
        self._items: list[StampedFrames] = []
        self._size_bytes = 0
        self._place = (journal.epoch, journal.reopened)
        self.is_complete = False

    def go_on(self) -> None:
        """Read the next piece. Raises `JournalUnavailable`."""
        journal = self._journal
        if self._place != (place := (journal.epoch, journal.reopened)):
            # The pieces of a page belong together.
            self._place, self._items, self._size_bytes = place, [], 0
        after = self._last_offset if self._items else self.request.after
        wanted = min(PIECE_EVENTS, self._limit - len(self._items))
        left_bytes = max(1, self._max_bytes - self._size_bytes)
        piece = journal.read(self.request.stream, after, wanted, left_bytes)
        # Retention may have removed what came next: offsets are contiguous in one page.
        is_gap = bool(self._items and piece) and _offset(piece[0]) != after + 1
        self.is_complete = is_gap or len(piece) < wanted
        for item in [] if is_gap else piece:
            size_bytes = sum(map(len, item))
            if self._items and self._size_bytes + size_bytes > self._max_bytes:
                self.is_complete = True
                return
            self._items.append(item)
            self._size_bytes += size_bytes
        self.is_complete |= len(self._items) == self._limit

    def reply(self) -> ReplayReply:
        """Return the page."""
        state = self._journal.streams[self.request.stream]
        return ReplayReply(
            id=self.request.id,
            epoch=self._journal.epoch,
            items=tuple(self._items),
            low=state.first_offset,
            tip=state.last_offset,
        )

    @property
    def _last_offset(self) -> int:
        return _offset(self._items[-1])


def _offset(item: StampedFrames) -> int:
    return unpack_stamp(item[1]).offset
