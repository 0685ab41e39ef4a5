"""The journal: a SQLite file with every event of the streams, and how far each emitter has come.

What one batch brought is one transaction, so that after any crash events and cursors agree. Each
stream has a table of its own; a row is what one batch brought to it. Deciding what may go is
`relay.core.retention`'s; who speaks to the file, and when, is the relay's.
"""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from relay.core.emitters import Cursor
from relay.core.retained import Item
from relay.core.retention import Limits, Row, rows_to_retire
from relay.journal.file import (
    A_COPY,
    connect,
    damaged,
    lock,
    pack_entries,
    prepare,
    tables,
    unpack_entries,
)
from relay.wire.header import Stamp, pack_stamp

ROOM = 128 * 1024
"""Bytes that must be free for the journal to count as writable again."""
RETIRED_AT_ONCE = 64
"""Rows; more would keep the relay's loop waiting."""
SILENT_EMITTER_S = 30 * 86400
MAX_EMITTERS = 10_000
"""Emitters that were not heard for so long, or beyond so many, are forgotten."""
NEVER_MS = 2**63 - 1
MAX_OFFSET = 2**63 - 1
"""SQLite's greatest integer."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

logger = logging.getLogger(__name__)


class JournalUnavailable(Exception):  # noqa: N818
    """Something could not be written or read now; later it may."""


class Run(NamedTuple):
    """Consecutive events of one stream."""

    first: int
    relayed_at: int
    """Unix time in milliseconds."""
    entries: Sequence[tuple[bytes, bytes, bytes]]

    @property
    def last(self) -> int:
        """The offset of the last event."""
        return self.first + len(self.entries) - 1


class TaskChange(NamedTuple):
    """A task's latest state, None when it may be forgotten."""

    topic: str
    item: Item | None
    finished: bool


class Batch(NamedTuple):
    """What is committed together."""

    runs: Mapping[str, Run]
    cursors: Iterable[Cursor]
    tasks: Iterable[TaskChange]


class StreamState(NamedTuple):
    """What the journal holds of a stream."""

    low: int
    """The first offset; `tip + 1` when it holds nothing."""
    tip: int
    stored_bytes: int
    oldest_at: int
    """When the first was relayed, Unix time in milliseconds; in the far future if there is none."""
    retired: int
    """Events that retention has removed since this process started."""


class Journal:
    """One relay's journal, open for writing; `close` ends it.

    With `power_safe` a commit is on the disk before it returns; otherwise it survives the end of
    the process, and a power cut may take the last moments, which then begin a new epoch.

    Raises `JournalRefused` for a file that is damaged, newer than this program, not a journal, or
    in use by another relay.
    """

    def __init__(self, path: Path, streams: Iterable[str], *, power_safe: bool) -> None:
        # Whatever it is called, it is one file with one lock.
        path = path.resolve()
        self._path = path
        self._power_safe = power_safe
        self._unnoted: dict[str, str] = {}
        with contextlib.ExitStack() as undo:
            self._lock = undo.enter_context(lock(path))
            self._db = undo.enter_context(contextlib.closing(connect(path)))
            try:
                prepare(self._db, streams, power_safe=power_safe)
                self._tables = tables(self._db)
                self._epoch = self._begin_run()
                self._streams = {stream: self._state_of(stream) for stream in streams}
                with contextlib.suppress(JournalUnavailable):
                    self.probe()
            except (sqlite3.DatabaseError, ValueError) as error:
                raise damaged(path, error) from None
            undo.pop_all()

    @property
    def epoch(self) -> int:
        """The epoch of every stream in it."""
        return self._epoch

    @property
    def streams(self) -> Mapping[str, StreamState]:
        """What there is of each stream."""
        return self._streams

    @property
    def tips(self) -> dict[str, int]:
        """Stream to the offset of its newest event, 0 when there is none."""
        return {stream: state.tip for stream, state in self._streams.items()}

    def cursors(self) -> list[Cursor]:
        """Every emitter's cursor."""
        return [
            Cursor(emitter_id, name, int.from_bytes(epoch), int.from_bytes(sequence))
            for emitter_id, name, epoch, sequence in self._db.execute(
                "SELECT id, name, epoch, sequence FROM emitters ORDER BY heard_at"
            )
        ]

    def tasks(self) -> Iterator[tuple[Item, bool]]:
        """The latest state of each task and whether it is finished, oldest update first."""
        for topic, stamp, envelope, finished in self._db.execute(
            "SELECT topic, stamp, envelope, finished FROM tasks ORDER BY updated"
        ):
            yield Item(topic.encode(), stamp, envelope), bool(finished)

    def append(self, batch: Batch) -> None:
        """Commit `batch`, or raise `JournalUnavailable` and change nothing."""
        packed = {stream: pack_entries(run.entries) for stream, run in batch.runs.items()}
        with self._transaction():
            for stream, run in batch.runs.items():
                self._db.execute(
                    f"INSERT INTO {self._tables[stream]} VALUES (?, ?, ?, ?)",
                    (run.last, run.first, run.relayed_at, packed[stream]),
                )
            self._write_cursors(batch.cursors)
            self._write_tasks(batch.tasks)
        for stream, run in batch.runs.items():
            state = self._streams[stream]
            self._streams[stream] = state._replace(
                tip=run.last,
                stored_bytes=state.stored_bytes + len(packed[stream]),
                oldest_at=min(state.oldest_at, run.relayed_at),
            )

    def probe(self) -> None:
        """Write as much as a batch may need, or raise `JournalUnavailable`."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?))", (ROOM,))
        with self._transaction():
            self._db.execute("DELETE FROM meta WHERE key = 'probe'")

    def read(self, stream: str, after: int, max_events: int, max_bytes: int) -> list[Item]:
        """Return the events of `stream` that follow `after`, as they went out.

        At most `max_events`, about `max_bytes`, but one if there is any. Raises
        `JournalUnavailable`.
        """
        items: list[Item] = []
        size = 0
        try:
            for first, relayed_at, events in self._db.execute(
                f"SELECT first, relayed_at, events FROM {self._tables[stream]}"
                " WHERE last > ? ORDER BY last",
                (min(after, MAX_OFFSET),),
            ):
                for offset, entry in enumerate(unpack_entries(events), first):
                    if offset <= after:
                        continue
                    stamp = pack_stamp(Stamp(self._epoch, offset, relayed_at))
                    item = Item(entry.topic, stamp, entry.envelope)
                    size += sum(map(len, item))
                    if items and size > max_bytes:
                        return items
                    items.append(item)
                    if len(items) == max_events:
                        return items
        except (sqlite3.DatabaseError, ValueError) as error:
            raise JournalUnavailable(f"{self._path} cannot be read: {error}") from None
        return items

    def retire(self, limits: Limits, now_ms: int) -> None:
        """Remove what `limits` no longer keep, or a bounded part of it.

        The newest row of a stream always stays. Raises `JournalUnavailable`.
        """
        for stream in self._streams:
            self._retire(stream, limits, now_ms)

    def forget_silent_emitters(self, now_s: int) -> list[bytes]:
        """Remove the cursors of emitters long silent, or heard before too many others.

        Returns their ids. Raises `JournalUnavailable`.
        """
        with self._transaction():
            return [
                emitter_id
                for (emitter_id,) in self._db.execute(
                    "DELETE FROM emitters WHERE heard_at < ? OR id IN"
                    " (SELECT id FROM emitters ORDER BY heard_at DESC LIMIT -1 OFFSET ?)"
                    " RETURNING id",
                    (now_s - SILENT_EMITTER_S, MAX_EMITTERS),
                ).fetchall()
            ]

    def close(self) -> None:
        """Everything is on the disk, and another relay may open it."""
        with contextlib.suppress(JournalUnavailable, sqlite3.Error):
            with self._transaction():
                self._set_meta("boot_id", "")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        self._lock.close()

    def _begin_run(self) -> int:
        """Return the epoch: a new one if the journal may lack what was acknowledged.

        That this run has begun is noted with the first transaction that succeeds: there may be no
        room for it yet.
        """
        now_ms = time.time_ns() // 1_000_000
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        epoch = int(meta.get("epoch", now_ms))
        written_under = meta.get("boot_id", "")
        boot_id = _boot_id()
        if written_under and written_under != boot_id:
            epoch = max(now_ms, epoch + 1)
            logger.warning(
                "%s: what was acknowledged last may be missing, so epoch %d begins",
                "the journal is a copy"
                if written_under == A_COPY
                else "this machine went down while the journal was written",
                epoch,
            )
        self._unnoted = {"epoch": str(epoch), "boot_id": "" if self._power_safe else boot_id}
        return epoch

    def _state_of(self, stream: str) -> StreamState:
        low, tip, stored, oldest_at = self._db.execute(
            "SELECT min(first), max(last), sum(length(events)), min(relayed_at)"
            f" FROM {self._tables[stream]}"
        ).fetchone()
        return StreamState(low or 1, tip or 0, stored or 0, oldest_at or NEVER_MS, 0)

    def _write_cursors(self, cursors: Iterable[Cursor]) -> None:
        heard_at = int(time.time())
        self._db.executemany(
            "INSERT OR REPLACE INTO emitters VALUES (?, ?, ?, ?, ?)",
            [
                (each.emitter_id, each.name, _eight(each.epoch), _eight(each.sequence), heard_at)
                for each in cursors
            ],
        )

    def _write_tasks(self, changes: Iterable[TaskChange]) -> None:
        for topic, item, finished in changes:
            self._db.execute("DELETE FROM tasks WHERE topic = ?", (topic,))
            if item is not None:
                self._db.execute(
                    "INSERT INTO tasks (topic, stamp, envelope, finished) VALUES (?, ?, ?, ?)",
                    (topic, item.stamp, item.envelope, finished),
                )

    def _retire(self, stream: str, limits: Limits, now_ms: int) -> None:
        state = self._streams[stream]
        if state.stored_bytes <= limits.max_bytes and state.oldest_at >= now_ms - limits.max_age_ms:
            return
        table = self._tables[stream]
        with self._transaction():
            found = self._db.execute(
                f"SELECT last, relayed_at, length(events) FROM {table} ORDER BY last LIMIT ?",
                (RETIRED_AT_ONCE + 1,),
            )
            rows = [Row(*row) for row in found]
            count = rows_to_retire(rows, state.stored_bytes, limits, now_ms)
            if not count:
                return
            retired = rows[:count]
            self._db.execute(f"DELETE FROM {table} WHERE last <= ?", (retired[-1].last,))
        self._streams[stream] = state._replace(
            low=retired[-1].last + 1,
            stored_bytes=state.stored_bytes - sum(row.stored_bytes for row in retired),
            oldest_at=rows[count].relayed_at,
            retired=state.retired + retired[-1].last + 1 - state.low,
        )

    def _set_meta(self, key: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(value)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for key, value in self._unnoted.items():
                self._set_meta(key, value)
            yield
            self._db.execute("COMMIT")
            if self._unnoted:
                # On the disk, before anything that a power cut could take is acknowledged. If there
                # is no room for that, what was committed is committed: the next transaction notes
                # it again.
                with contextlib.suppress(sqlite3.DatabaseError):
                    self._db.execute("PRAGMA wal_checkpoint")
                    self._unnoted = {}
        except sqlite3.DatabaseError as error:
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise JournalUnavailable(f"{self._path} cannot be written: {error}") from None


def _eight(number: int) -> bytes:
    """SQLite's integers have a sign; these do not."""
    return number.to_bytes(8)


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
