"""The queries of a journal, on a connection that may also be the relay's own."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, KeysView
from pathlib import Path
from typing import NamedTuple

from relay.core.emitters import Cursor
from relay.core.epochs import FoundTail, Origin, Tail
from relay.core.retained import topic_of
from relay.journal.file import JournalRefused, looked_at, refused
from relay.journal.format import (
    CHECKSUM,
    EVENTS,
    FIRST,
    MAX_OFFSET,
    RELAYED_AT,
    DamagedContent,
    row_checksum,
    stream_tables,
    unpack_unsigned,
)
from relay.journal.stream_rows import EventRow, StreamRows
from relay.wire.errors import WireError
from relay.wire.header import (
    EMITTER_ID_BYTES,
    ReceivedFrames,
    StampedFrames,
    unpack_header,
    unpack_stamp,
)


class StreamSummary(NamedTuple):
    """The content of one stream."""

    name: str
    first_offset: int
    """`last_offset + 1` when the stream is empty."""
    last_offset: int
    """0 before the first event."""
    rows: int
    stored_bytes: int
    oldest_at: int | None
    """When the first event was relayed, Unix time in milliseconds; None when it is empty."""
    newest_at: int | None
    """When the last event was relayed."""


class StoredEmitter(NamedTuple):
    """One emitter's cursor, and when the cursor moved last."""

    cursor: Cursor
    heard_at: int
    """Unix time in seconds."""


class StoredTask(NamedTuple):
    """The latest state of one task."""

    key: str
    """See `relay.core.retained.task_key`."""
    frames: StampedFrames
    is_finished: bool
    header: bytes
    """Of the emitter that has published it; empty if its publisher is not tracked."""


class LostRange(NamedTuple):
    """Consecutive offsets of one stream whose rows are missing or cannot be read."""

    first_offset: int
    last_offset: int


class EventRowEnds(NamedTuple):
    """A row without its events."""

    first_offset: int
    last_offset: int
    relayed_at: int


class JournaledEvent(NamedTuple):
    """One event of a stream."""

    offset: int
    relayed_at: int
    frames: ReceivedFrames
    """All empty if the event cannot be read."""


PART_EVENTS = 4096
PART_BYTES = 1024 * 1024
"""Events read in one transaction, rounded up to a row."""
LOST_FRAMES: ReceivedFrames = (b"", b"", b"")


class JournalReader:
    """Reads from the connection `db`. Raises `sqlite3.DatabaseError` and `DamagedContent`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._tables = stream_tables(db)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        self._checksum = CHECKSUM if version >= 2 else "NULL"
        """The expression for a row's checksum: tables of version 1 have none."""

    @property
    def stream_names(self) -> KeysView[str]:
        """The streams of the journal."""
        return self._tables.keys()

    def meta(self) -> dict[str, str]:
        """Return the values of `meta` by key."""
        # A probe that was cut short by a crash is a large blob.
        return dict(self._db.execute("SELECT key, value FROM meta WHERE key <> 'probe'"))

    def origin(self) -> Origin | None:
        """Return the epoch of every stream and its begin, None before a relay has noted one."""
        meta = self.meta()
        if "epoch" not in meta:
            return None
        previous = meta.get("previous")
        try:
            began = {
                stream: int(last) for stream, last in json.loads(meta.get("began", "{}")).items()
            }
        except (ValueError, TypeError, AttributeError):
            raise DamagedContent("the begin of the epoch cannot be read") from None
        return Origin(_epoch(meta["epoch"]), None if previous is None else _epoch(previous), began)

    def epoch(self) -> int | None:
        """Return the epoch of every stream, None before a relay has noted one."""
        origin = self.origin()
        return None if origin is None else origin.epoch

    def tail(self, name: str) -> Tail:
        """Return the newest row of the stream `name`."""
        found = self._db.execute(
            f"SELECT last, {FIRST}, {RELAYED_AT}, {EVENTS}, {self._checksum}"
            f" FROM {self._tables[name]} ORDER BY last DESC LIMIT 1"
        ).fetchone()
        return Tail(0, 0) if found is None else Tail(found[0], _checksum(*found))

    def found_tail(self, name: str, offset: int) -> FoundTail:
        """Return the stream's place, and the checksum of its row that ends at `offset`."""
        table = self._tables[name]
        first = self._db.execute(f"SELECT {FIRST} FROM {table} ORDER BY last LIMIT 1").fetchone()
        found = self._db.execute(
            f"SELECT last, {FIRST}, {RELAYED_AT}, {EVENTS}, {self._checksum}"
            f" FROM {table} WHERE last = ?",
            (min(offset, MAX_OFFSET),),
        ).fetchone()
        last = self.tail(name).last_offset
        checksum = None if found is None else _checksum(*found)
        return FoundTail(first[0] if first else last + 1, last, checksum)

    def stream(self, name: str) -> StreamSummary:
        """Return the summary of the stream `name`."""
        first, last, rows, stored_bytes, *times = self._db.execute(
            f"SELECT min({FIRST}), max(last), count(*), sum(length(events)), min({RELAYED_AT}),"
            f" max({RELAYED_AT}) FROM {self._tables[name]}"
        ).fetchone()
        return StreamSummary(name, first or 1, last or 0, rows, stored_bytes or 0, *times)

    def ends(self, name: str) -> tuple[EventRowEnds, EventRowEnds] | None:
        """Return the first and the last row of the stream `name`, None if it is empty."""
        query = f"SELECT {FIRST}, last, {RELAYED_AT} FROM {self._tables[name]} ORDER BY last"
        oldest = self._db.execute(f"{query} LIMIT 1").fetchone()
        newest = self._db.execute(f"{query} DESC LIMIT 1").fetchone()
        return None if oldest is None else (EventRowEnds(*oldest), EventRowEnds(*newest))

    def stored_bytes(self, name: str) -> int:
        """Return the bytes of all events of the stream `name`. Reads every row."""
        (found,) = self._db.execute(
            f"SELECT sum(length(events)) FROM {self._tables[name]}"
        ).fetchone()
        return found or 0

    def streams(self) -> list[StreamSummary]:
        """Return the summary of every stream, in the order of names."""
        return [self.stream(name) for name in sorted(self._tables)]

    def emitters(self) -> list[StoredEmitter]:
        """Return every emitter, in the order in which their cursors moved last."""
        found = []
        for row in self._db.execute(
            "SELECT id, name, epoch, sequence, heard_at FROM emitters ORDER BY heard_at"
        ):
            # SQLite keeps values of any type in any column.
            if tuple(map(type, row)) != (bytes, str, bytes, bytes, int):
                raise DamagedContent("a row of `emitters` is damaged")
            emitter_id, name, epoch, sequence, heard_at = row
            if (len(emitter_id), len(epoch), len(sequence)) != (EMITTER_ID_BYTES, 8, 8):
                raise DamagedContent("a row of `emitters` is damaged")
            cursor = Cursor(emitter_id, name, unpack_unsigned(epoch), unpack_unsigned(sequence))
            found.append(StoredEmitter(cursor, heard_at))
        return found

    def tasks(self) -> Iterator[StoredTask]:
        """Yield the latest state of each task, oldest update first."""
        for key, stamp, envelope, finished, header in self._db.execute(
            "SELECT topic, stamp, envelope, finished, coalesce(header, x'') FROM tasks"
            " ORDER BY updated"
        ):
            types = (type(key), type(stamp), type(envelope), type(header))
            if types != (str, bytes, bytes, bytes):
                raise DamagedContent("a row of `tasks` is damaged")
            try:
                unpack_stamp(stamp)
                if header:
                    unpack_header(header)
            except WireError as error:
                raise DamagedContent(f"a row of `tasks` is damaged: {error}") from None
            frames = (topic_of(key).encode(), stamp, envelope)
            yield StoredTask(key, frames, bool(finished), header)

    def rows(self, stream: str, after: int = 0) -> Iterator[EventRow | LostRange]:
        """Yield the rows of `stream` with an offset above `after`, and the ranges between them."""
        # In parts: an open read transaction would keep the `-wal` file growing for as long as the
        # caller takes.
        while part := self.part(stream, after):
            yield from part
            after = part[-1].last_offset

    def part(
        self,
        stream: str,
        after: int,
        max_events: int = PART_EVENTS,
        max_bytes: int = PART_BYTES,
        end: int | None = None,
    ) -> list[EventRow | LostRange]:
        """Return the next rows of `stream` with an offset above `after`, and the ranges between.

        A row that is damaged, or on a damaged page, belongs to such a range, which ends before the
        next row that can be read. The rows hold `max_events` or `max_bytes` at least, if there are
        so many; empty at the end of the stream. `end` is its last offset, if that is known.
        """
        # A peer may ask for any offset of 64 bits, which SQLite would refuse.
        after = min(after, MAX_OFFSET)
        part: list[EventRow | LostRange] = []
        with contextlib.nullcontext() if self._db.in_transaction else self.snapshot():
            rows = StreamRows(self._db, self._tables[stream], self._checksum)
            end = rows.last_offset() if end is None else end
            # Retention removes the oldest rows, so that a stream may begin at any offset.
            expected = max(after + 1, rows.first_offset())
            for row, size in rows.whole_rows(after, end):
                if row.first_offset > expected:
                    part.append(LostRange(expected, row.first_offset - 1))
                part.append(row)
                expected = row.last_offset + 1
                max_events -= row.last_offset - max(row.first_offset - 1, after)
                max_bytes -= size
                if max_events <= 0 or max_bytes <= 0:
                    return part
            if expected <= end:
                part.append(LostRange(expected, end))
        return part

    def events(self, stream: str, after: int) -> Iterator[JournaledEvent]:
        """Yield the events of `stream` with an offset above `after`."""
        return _events_of(self.rows(stream, after), after)

    def some_events(
        self, stream: str, after: int, max_events: int, max_bytes: int, end: int
    ) -> Iterator[JournaledEvent]:
        """Yield the events of a `part`; more than `max_events` or `max_bytes` if rows have more."""
        return _events_of(self.part(stream, after, max_events, max_bytes, end), after)

    def page_problems(self) -> Iterator[str]:
        """Yield the inconsistencies that SQLite finds in the file."""
        for (line,) in self._db.execute("PRAGMA integrity_check").fetchall():
            if line != "ok":
                yield line

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make all reads in the body see the same moment, while a relay goes on writing."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            # Also when the body ends early: an open read transaction keeps the `-wal` file growing.
            self._db.execute("ROLLBACK")


def _epoch(text: str) -> int:
    if not text.isdecimal():
        raise DamagedContent(f"the epoch {text!r} is not a number")
    return int(text)


def _checksum(last: int, first: int, relayed_at: int, events: bytes, checksum: int | None) -> int:
    """Return the checksum of a row; rows of version 1 have none stored."""
    # The stored one names the row even if its events are damaged.
    return row_checksum(last, first, relayed_at, events) if checksum is None else checksum


def _events_of(rows: Iterable[EventRow | LostRange], after: int) -> Iterator[JournaledEvent]:
    for row in rows:
        # `after` may lie in the middle of a row.
        if isinstance(row, LostRange):
            for offset in range(max(row.first_offset, after + 1), row.last_offset + 1):
                yield JournaledEvent(offset, 0, LOST_FRAMES)
            continue
        for offset, frames in enumerate(row.events, row.first_offset):
            if offset > after:
                yield JournaledEvent(offset, row.relayed_at, frames)


@contextlib.contextmanager
def reading_journal(path: Path) -> Iterator[JournalReader]:
    """Open the journal at `path` for reading, also while a relay writes it.

    Raises `JournalRefused`, also out of the body when it meets damage.
    """
    # Before `looked_at`, whose message would name the error of SQLite.
    if not path.exists():
        raise JournalRefused(f"there is no journal at {path}")
    with looked_at(path) as db:
        try:
            yield JournalReader(db)
        except (sqlite3.DatabaseError, DamagedContent) as error:
            raise refused(path, error) from None
