"""`PublishedJournal`: the journal as peers know it, readable while a commit waits for the disk."""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from relay.core.epochs import Origin
from relay.core.proofs import Proofs
from relay.journal.file import JournalRefused, open_journal_file
from relay.journal.format import DamagedContent
from relay.journal.journal import JournalUnavailable
from relay.journal.page_check import PageCheck
from relay.journal.reader import JournaledEvent, JournalReader
from relay.journal.state import JournalState, StreamState
from relay.shared.logs import LimitedLog
from relay.wire.header import Stamp, StampedFrames, event_checksum, pack_stamp

MAX_NOTED_DAMAGE = 100_000
"""Offsets of a stream that are counted as damaged; further ones are only logged."""

logger = logging.getLogger(__name__)


class PublishedJournal:
    """The committed and published part of the journal at `path`, until `close`.

    It has a connection of its own, which only reads: SQLite's write-ahead log lets it read while
    another connection waits for the disk.
    """

    def __init__(
        self, path: Path, state: JournalState, begin_epoch: Callable[[str], JournalState]
    ) -> None:
        """`begin_epoch` begins a new epoch for a reason and returns the state after it."""
        self._path = path
        self._state = state
        self._begin_epoch = begin_epoch
        self._db = open_journal_file(path, read_only=True)
        self._reader = JournalReader(self._db)
        self._log = LimitedLog(logger)
        self._page_check = PageCheck(path)
        self.start_offsets = self.last_offsets
        """Stream to its last offset when the file was opened."""
        self.reopened = 0
        """How often another file took the journal's place."""
        self.damaged: dict[str, set[int]] = {stream: set() for stream in state.streams}
        """Offsets that could not be read since this process started."""

    @property
    def epoch(self) -> int:
        """The epoch of every stream."""
        return self._state.origin.epoch

    @property
    def origin(self) -> Origin:
        """The epoch, and the place where it began."""
        return self._state.origin

    @property
    def rollbacks(self) -> int:
        """How often an epoch began because acknowledged events were missing."""
        return self._state.rollbacks

    @property
    def streams(self) -> Mapping[str, StreamState]:
        """The content of each stream."""
        return self._state.streams

    @property
    def last_offsets(self) -> dict[str, int]:
        """Stream to the offset of its newest event, 0 before the first."""
        return {stream: state.last_offset for stream, state in self.streams.items()}

    def update(self, state: JournalState) -> None:
        """Take the state after a commit, whose events are published in the same turn."""
        if state.place != self._state.place:
            # The file was replaced. The old connection would show what is no longer there.
            self._reopen()
            self.reopened += 1
            self._state = state
            self.start_offsets = self.last_offsets
        self._state = state

    def begin_epoch(self, reason: str) -> None:
        """Continue under a new epoch: `reason` proves that acknowledged events are missing."""
        origin = self._begin_epoch(reason).origin
        # The streams stay as they were published.
        self._state = self._state._replace(origin=origin, rollbacks=self._state.rollbacks + 1)

    def read(self, stream: str, after: int, max_events: int, max_bytes: int) -> list[StampedFrames]:
        """Return the events of `stream` with offsets above `after`, as they were published.

        The items of events that cannot be read have an empty topic and an empty envelope.
        At most `max_events` of at most `max_bytes` together, but at least one if there is any.
        Raises `JournalUnavailable`.
        """
        page: list[StampedFrames] = []
        page_bytes = 0
        state = self.streams[stream]
        # What retention has removed is not lost.
        after = max(after, state.first_offset - 1)
        try:
            for event in self._reader.some_events(
                stream, after, max_events, max_bytes, state.last_offset
            ):
                if event.offset > state.last_offset:
                    break
                topic, _, envelope = event.frames
                if not topic:
                    self._note_damage(stream, event.offset)
                stamp = pack_stamp(Stamp(self.epoch, event.offset, event.relayed_at))
                page_bytes += len(topic) + len(stamp) + len(envelope)
                # An event above `max_bytes` still has to come, or replay would stop before it.
                if page and page_bytes > max_bytes:
                    break
                page.append((topic, stamp, envelope))
                if len(page) == max_events:
                    break
        except (sqlite3.DatabaseError, DamagedContent) as error:
            raise JournalUnavailable(f"{self._path} cannot be read: {error}") from None
        return page

    def contradicts(self, stream: str, offset: int, checksum: int | None) -> bool:
        """Whether the journal cannot have published an event that a peer has received.

        The peer has the event at `offset` of `stream`, with `checksum` if it still holds the event
        itself. An event that retention has removed, or that cannot be read, contradicts nothing.
        """
        state = self.streams.get(stream)
        if state is None or offset < state.first_offset:
            return False
        if offset > state.last_offset:
            return True
        event = self._event_at(stream, offset)
        if checksum is None or event is None:
            return False
        topic, _, envelope = event.frames
        return event_checksum(event.relayed_at, topic, envelope) != checksum

    def _event_at(self, stream: str, offset: int) -> JournaledEvent | None:
        """Return the event at `offset` as it was received, None if it cannot be read."""
        try:
            event = next(self._reader.some_events(stream, offset - 1, 1, 1, offset), None)
        except (sqlite3.DatabaseError, DamagedContent):
            return None
        return event if event is not None and event.offset == offset and event.frames[0] else None

    @property
    def proofs(self) -> Proofs:
        """Proofs of the journal's acknowledgements."""
        return self._state.proofs

    @property
    def knows_all_emitters(self) -> bool:
        """Whether it never had an event of an emitter whose cursor it does not have."""
        return self._state.knows_all_emitters

    @property
    def damage(self) -> int:
        """How many events could not be read, or 1 if only a page of the file is damaged."""
        events = sum(map(len, self.damaged.values()))
        return events or int(self._page_check.has_found_damage)

    def close(self) -> None:
        """Close the connection."""
        self._page_check.close()
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _reopen(self) -> None:
        try:
            db = open_journal_file(self._path, read_only=True)
        except JournalRefused as error:
            # It was removed once more: the next heartbeat brings the next file.
            self._log.error("reopen", "%s", error)
            return
        self._db.close()
        self._db = db
        self._reader = JournalReader(db)

    def _note_damage(self, stream: str, offset: int) -> None:
        damaged = self.damaged[stream]
        if len(damaged) < MAX_NOTED_DAMAGE:
            damaged.add(offset)
        self._log.error("damage", "%s: %s %d cannot be read", self._path, stream, offset)
