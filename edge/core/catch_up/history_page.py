"""`HistoryPage`: a page of the past events of one stream (docs/http.md, "History")."""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from edge.core.catch_up.connection_catch_up import STEP_RECORDS, JournalRange, records_after
from edge.core.identity.access import Identity, may_receive
from edge.core.protocol.messages import GapReason
from edge.core.protocol.positions import Position
from edge.core.streams.record import Record, lost_run
from edge.core.streams.streams import Stream, Streams
from edge.core.websocket.frames import frame_payload
from relay.wire.topics import PERSONAL_KINDS, Pattern

MAX_PAGE_EVENTS = 1_000
MAX_PAGE_BYTES = 1024 * 1024
"""Bytes of the events of a page, unless a single one is larger."""
MAX_PAGE_RECORDS = 8_192
"""Records that are looked at for one page."""


class HistoryQuery(NamedTuple):
    """The events that a user asks for."""

    identity: Identity
    selectors: tuple[Pattern, ...]
    """Not used for a stream of personal events, of which a user sees those of their own."""
    after: int | None
    """The offset after which the page begins; None for the first event that exists."""
    limit: int


class PageGap(NamedTuple):
    """Offsets of events that are lost."""

    first: int
    last: int
    reason: GapReason


class HistoryPage:
    """Gathers the events of one page in bounded steps, from what the caller reads."""

    def __init__(self, streams: Streams, stream: Stream, query: HistoryQuery) -> None:
        self._streams = streams
        self._stream = stream
        self._query = query
        self._is_personal = stream.kind in PERSONAL_KINDS
        self._epoch = streams.epoch
        history = stream.history
        self._offset = history.journal_first - 1 if query.after is None else query.after
        self._size = 0
        self.looked_at = 0
        """Records that were looked at."""
        self.events: list[bytes] = []
        """The messages of the events, as JSON."""
        self.gaps: list[PageGap] = []

    @property
    def position(self) -> Position:
        """The position after the page."""
        return Position(self._epoch, {self._stream.kind: self._offset})

    @property
    def has_more(self) -> bool:
        """Whether events follow the page, for this user or not."""
        return self._offset < self._stream.history.head

    @property
    def is_outdated(self) -> bool:
        """Whether another epoch has begun, under which the page means nothing."""
        is_there = self._streams.get(self._stream.kind) is self._stream
        return self._streams.epoch != self._epoch or not is_there

    @property
    def is_complete(self) -> bool:
        """Whether the page is at one of its bounds, or at the head of the stream."""
        return (
            not self.has_more
            or len(self.events) >= self._query.limit
            or self._size >= MAX_PAGE_BYTES
            or self.looked_at >= MAX_PAGE_RECORDS
        )

    def step(self, replayed: Sequence[Record] = ()) -> JournalRange | None:
        """Add events; return the records that the next step needs, None if it needs none.

        `replayed` are those that the step before was missing. A step looks at about 512 records.
        """
        history, until = self._stream.history, self.looked_at + STEP_RECORDS
        while not self.is_complete and self.looked_at < until:
            records = records_after(self._stream, self._offset, replayed)
            if records is not None and (count := lost_run(records)):
                self._skip(records[count - 1].offset, "damaged")
            elif records is not None:
                self._add(records)
            elif history.is_gone(self._offset):
                last = min(history.first_after(self._offset) - 1, history.head)
                self._skip(last, "retention")
            else:
                return JournalRange(self._stream.kind, *history.missing(self._offset))
        return None

    def _skip(self, last: int, reason: GapReason) -> None:
        self.gaps.append(PageGap(self._offset + 1, last, reason))
        self._offset = last
        self.looked_at += 1

    def _add(self, records: Sequence[Record]) -> None:
        for record in islice(records, STEP_RECORDS):
            if record.is_lost or self.is_complete:
                return
            if self._is_selected(record):
                frame = record.read(self._streams.unreadable)
                if frame and may_receive(self._query.identity, record.addressed_to):
                    event = frame_payload(frame)
                    if self.events and self._size + len(event) > MAX_PAGE_BYTES:
                        self._size = MAX_PAGE_BYTES
                        return
                    self.events.append(event)
                    self._size += len(event)
            self._offset = record.offset
            self.looked_at += 1

    def _is_selected(self, record: Record) -> bool:
        topic = record.topic
        if topic.is_internal or not self._streams.serves(topic.subject):
            return False
        text = topic.text
        # Of personal events, `may_receive` finds the user's own.
        return self._is_personal or any(each.matches(text) for each in self._query.selectors)
