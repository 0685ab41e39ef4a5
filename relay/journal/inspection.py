"""Reads a journal without disturbing the relay that writes it: what `event-relay journal` shows."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from relay.journal.file import (
    A_COPY,
    Entry,
    JournalRefused,
    connect,
    damaged,
    tables,
    unpack_entries,
)
from relay.wire.envelope import unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Header, unpack_header
from relay.wire.topics import decode_topic


class StreamLine(NamedTuple):
    """One stream, for people."""

    name: str
    low: int
    tip: int
    rows: int
    stored_bytes: int
    oldest_at: int | None
    """Unix time in milliseconds."""


class EmitterLine(NamedTuple):
    """One emitter, for people."""

    emitter_id: bytes
    name: str
    epoch: int
    sequence: int
    heard_at: int
    """Unix time in seconds."""


class StoredEvent(NamedTuple):
    """One event of the journal."""

    stream: str
    offset: int
    relayed_at: int
    entry: Entry


class Inspection:
    """An open journal that is only read. Raises `JournalRefused`, also when it is damaged."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise JournalRefused(f"there is no journal at {path}")
        self._path = path
        self._db = connect(path, read_only=True)
        with self._reading():
            self._tables = tables(self._db)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def epoch(self) -> int:
        """The epoch of every stream."""
        with self._reading():
            found = self._db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
            return int(found[0]) if found else 0

    def streams(self) -> list[StreamLine]:
        """What there is of each stream."""
        with self._reading():
            return [
                StreamLine(
                    name,
                    *self._db.execute(
                        "SELECT coalesce(min(first), 1), coalesce(max(last), 0), count(*),"
                        " coalesce(sum(length(events)), 0), min(relayed_at)"
                        f" FROM {table}"
                    ).fetchone(),
                )
                for name, table in sorted(self._tables.items())
            ]

    def emitters(self) -> list[EmitterLine]:
        """Every emitter's cursor, the one heard last at the end."""
        with self._reading():
            return [
                EmitterLine(
                    emitter_id, name, int.from_bytes(epoch), int.from_bytes(sequence), heard_at
                )
                for emitter_id, name, epoch, sequence, heard_at in self._db.execute(
                    "SELECT id, name, epoch, sequence, heard_at FROM emitters ORDER BY heard_at"
                )
            ]

    def events(self, stream: str, after: int) -> Iterator[StoredEvent]:
        """The events of `stream` that follow `after`."""
        for first, _last, relayed_at, entries in self._rows(stream, after):
            for offset, entry in enumerate(entries, first):
                if offset > after:
                    yield StoredEvent(stream, offset, relayed_at, entry)

    def copy(self, path: Path) -> None:
        """Write what there is now to a new file at `path`.

        A relay that opens the copy begins a new epoch with it: events that came later are not in
        it, and their offsets are given again. Raises `JournalRefused`.
        """
        try:
            path.open("x").close()
        except OSError as error:
            raise JournalRefused(f"cannot write {path}: {error}") from None
        try:
            with closing(sqlite3.connect(path)) as copy:
                self._db.backup(copy)
                with copy:
                    copy.execute("REPLACE INTO meta VALUES ('boot_id', ?)", (A_COPY,))
        except sqlite3.DatabaseError as error:
            path.unlink()
            raise JournalRefused(f"cannot write {path}: {error}") from None

    def problems(self) -> Iterator[str]:
        """What is wrong with the journal, nothing if all is well.

        The relay may write meanwhile: all of it is one read transaction.
        """
        with self._reading():
            self._db.execute("BEGIN")
            for (line,) in self._db.execute("PRAGMA integrity_check").fetchall():
                if line != "ok":
                    yield f"{self._path}: {line}"
        cursors = {each.emitter_id: each for each in self.emitters()}
        numbers: dict[tuple[bytes, int], Numbers] = {}
        for stream in self._tables:
            yield from self._problems_of(stream, numbers)
        for (emitter_id, epoch), seen in numbers.items():
            name = emitter_id.hex()
            cursor = cursors.get(emitter_id)
            if cursor is not None:
                name = cursor.name
                if epoch > cursor.epoch or (epoch == cursor.epoch and seen.last > cursor.sequence):
                    yield f"emitter {name}: sequence {seen.last} is beyond its cursor"
            if seen.count > seen.last - seen.first + 1:
                yield f"emitter {name}: a sequence number was journaled twice"
        self._db.execute("COMMIT")

    def _problems_of(
        self, stream: str, numbers: "dict[tuple[bytes, int], Numbers]"
    ) -> Iterator[str]:
        expected: int | None = None
        last_of: dict[tuple[bytes, int], int] = {}
        for first, last, _relayed_at, entries in self._rows(stream, 0):
            if expected is not None and first != expected:
                yield f"stream {stream}: offset {expected} is followed by {first}"
            expected = last + 1
            if len(entries) != last - first + 1:
                yield f"stream {stream}: {first} to {last} has {len(entries)} events"
            for offset, entry in enumerate(entries, first):
                try:
                    header = _check(entry, stream)
                except WireError as error:
                    yield f"stream {stream}: offset {offset}: {error}"
                    continue
                if header is None:
                    continue
                key = (header.emitter_id, header.epoch)
                if header.sequence <= last_of.get(key, 0):
                    yield f"stream {stream}: offset {offset}: sequence {header.sequence} again"
                last_of[key] = header.sequence
                numbers.setdefault(key, Numbers(header.sequence)).add(header.sequence)

    def _rows(self, stream: str, after: int) -> Iterator[tuple[int, int, int, list[Entry]]]:
        with self._reading():
            for first, last, relayed_at, events in self._db.execute(
                f"SELECT first, last, relayed_at, events FROM {self._tables[stream]}"
                " WHERE last > ? ORDER BY last",
                (after,),
            ):
                yield first, last, relayed_at, list(unpack_entries(events))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, ValueError) as error:
            raise damaged(self._path, error) from None


class Numbers:
    """The sequence numbers seen of one emitter's epoch."""

    def __init__(self, first: int) -> None:
        self.first = self.last = first
        self.count = 0

    def add(self, sequence: int) -> None:
        """`sequence` was seen."""
        self.first = min(self.first, sequence)
        self.last = max(self.last, sequence)
        self.count += 1


def as_message(event: StoredEvent) -> dict[str, Any]:
    """Return `event` as `event-relay journal tail` prints it. Raises `WireError`."""
    envelope = unpack_envelope(event.entry.envelope, event.stream)
    message: dict[str, Any] = {
        "type": envelope.type,
        "topic": event.entry.topic.decode(),
        "data": envelope.data,
        "source": envelope.source,
        "emitted_at": envelope.emitted_at,
        "offset": event.offset,
        "relayed_at": event.relayed_at,
    }
    if envelope.username is not None:
        message["username"] = envelope.username
    if event.entry.header:
        message["sequence"] = unpack_header(event.entry.header).sequence
    return message


def _check(entry: Entry, stream: str) -> Header | None:
    topic = decode_topic(entry.topic)
    if topic.kind != stream:
        raise WireError(f"topic {topic.text!r} does not belong here")
    unpack_envelope(entry.envelope, topic.kind)
    return unpack_header(entry.header) if entry.header else None
