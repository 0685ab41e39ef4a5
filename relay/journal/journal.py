"""The relay's own journal, open for writing: appends batches, replays, and removes old events.

After any crash, events, cursors and task states agree: `relay.journal.format` explains why.
"""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from relay.core.emitters import Cursor
from relay.core.epochs import Origin, Tail, lost_tails
from relay.core.proofs import Proofs
from relay.core.retention import Limits, StoredRow, rows_to_retire
from relay.journal.batch import JournalBatch, Run
from relay.journal.file import (
    lock_journal,
    note_beside,
    open_journal_file,
    open_note,
    refused,
)
from relay.journal.format import (
    ALL_EMITTERS,
    EVENTS,
    RELAYED_AT,
    DamagedContent,
    note_lost_emitters,
    pack_events,
    prepare,
    row_checksum,
    stream_tables,
)
from relay.journal.latest_tables import write_latest
from relay.journal.once_table import forget_once, read_once, write_once
from relay.journal.origin import find_origin, meta_of, meta_of_run, new_epoch
from relay.journal.proof_key import key_of, meta_of_key
from relay.journal.reader import JournalReader, StoredTask
from relay.journal.repair import repair_tables
from relay.journal.state import NEVER_MS, JournalState, StreamState
from relay.journal.tail_note import StreamSize, TailNote
from relay.shared.logs import LimitedLog
from relay.shared.sqlite_file import BUSY_TIMEOUT_S, transaction

PROBE_BYTES = 128 * 1024
"""Free space without which the journal does not count as writable again. A smaller probe could
succeed where the next batch fails, again and again."""
MAX_RETIRED_ROWS = 64
"""Rows that one call of `retire` removes from a stream; more would make the relay's loop wait."""
SILENT_EMITTER_S = 30 * 86400
"""Cursors that have not moved for longer are forgotten."""
MAX_WAL_BYTES = 64 * 1024 * 1024
"""A larger write-ahead log is moved into the file with the next heartbeat."""
MAX_EMITTERS = 10_000
"""Cursors beyond it are forgotten, the oldest first."""

logger = logging.getLogger(__name__)


class JournalUnavailable(Exception):  # noqa: N818 - clear without a suffix
    """The journal cannot be written or read now; a later attempt may succeed."""


class Journal:
    """The journal at `path`, with a table for each of `streams`, until `close`.

    With `power_safe` a commit is on the disk before it returns. Otherwise it survives the end of
    the process, and a power cut may take the newest commits; the next relay then starts a new
    epoch.

    Raises `JournalRefused` for a file that is damaged, newer than this program, not a journal, or
    in use by another relay.
    """

    def __init__(
        self,
        path: Path,
        streams: Iterable[str],
        *,
        power_safe: bool,
        noted: TailNote | None = None,
    ) -> None:
        """`noted` is the content before the file was lost, instead of the note beside it."""
        # Two names of one file, by a symbolic link, have to share one lock and one `-wal` file.
        path = path.resolve()
        self._path = path
        with contextlib.ExitStack() as undo:
            undo.enter_context(lock_journal(path))
            self._db = undo.enter_context(contextlib.closing(open_journal_file(path)))
            try:
                self._note = undo.enter_context(contextlib.closing(open_note(path)))
                read_note = self._note.read()
                prepare(self._db, streams, power_safe=power_safe)
                self._tables = stream_tables(self._db)
                self._reader = JournalReader(self._db)
                repair_tables(self._db, self._reader, path, int(time.time()))
                found = find_origin(self._reader, noted or read_note, streams)
                self._streams = {name: self._state_of(name, read_note) for name in streams}
                self._tails = {stream: self._reader.tail(stream) for stream in streams}
                meta = self._reader.meta()
                self._knows_all_emitters = ALL_EMITTERS in meta
                key = key_of(meta)
            except (sqlite3.DatabaseError, DamagedContent) as error:
                raise refused(path, error) from None
            self._place = _place_of(path)
            self._log = LimitedLog(logger)
            self._origin, self._is_epoch_new, is_rolled_back = found
            self._rollbacks = int(is_rolled_back)
            self._start_offsets = self.last_offsets
            self._proofs = Proofs(key)
            run = meta_of_run(power_safe=power_safe)
            self._unnoted = meta_of(found.origin) | run | meta_of_key(key)
            self._note_begin()
            self._closing = undo.pop_all()

    @property
    def epoch(self) -> int:
        """The epoch of every stream."""
        return self._origin.epoch

    @property
    def path(self) -> Path:
        """The file, with all symbolic links resolved."""
        return self._path

    @property
    def note(self) -> TailNote:
        """The newest rows, as they are noted beside the file."""
        sizes = {
            name: StreamSize(each.first_offset, each.stored_bytes)
            for name, each in self._streams.items()
        }
        return TailNote(self.epoch, dict(self._tails), sizes)

    @property
    def state(self) -> JournalState:
        """The state after the last commit, which further commits do not change."""
        return JournalState(
            self._origin,
            self._rollbacks,
            self._place,
            dict(self._streams),
            self._knows_all_emitters,
            self._proofs,
        )

    @property
    def streams(self) -> Mapping[str, StreamState]:
        """The content of each stream."""
        return self._streams

    @property
    def last_offsets(self) -> dict[str, int]:
        """Stream to the offset of its newest event, 0 before the first."""
        return {stream: state.last_offset for stream, state in self._streams.items()}

    def cursors(self) -> list[Cursor]:
        """Return every emitter's cursor."""
        return [each.cursor for each in self._reader.emitters()]

    def tasks(self) -> Iterator[StoredTask]:
        """Yield the latest state of each task, oldest update first."""
        return self._reader.tasks()

    def once(self) -> list[tuple[bytes, int]]:
        """Return the ids that are taken once, as `relay.core.once.OnceIds` takes them."""
        return read_once(self._db)

    def append(self, *batches: JournalBatch) -> None:
        """Commit `batches` in one transaction, or raise `JournalUnavailable` and change nothing."""
        rows = [(stream, _pack_row(run)) for batch in batches for stream, run in batch.runs.items()]
        with self._transaction():
            for stream, row in rows:
                self._db.execute(f"INSERT INTO {self._tables[stream]} VALUES (?, ?, ?, ?, ?)", row)
            write_latest(self._db, batches)
            write_once(self._db, batches)
        for stream, (last, _, relayed_at, packed, checksum) in rows:
            state = self._streams[stream]
            self._tails[stream] = Tail(last, checksum)
            self._streams[stream] = state._replace(
                last_offset=last,
                stored_bytes=state.stored_bytes + len(packed),
                oldest_at=min(state.oldest_at, relayed_at),
                newest_at=max(state.newest_at, relayed_at),
            )
        # Before anybody is told of the events: from then on the journal may not lose them.
        self._write_note()

    def begin_epoch(self, reason: str) -> None:
        """Continue under a new epoch: `reason` proves that acknowledged events are missing.

        It begins where this process started, since the events were lost before. If the present
        epoch began with this process, nothing changes: its peers know already.
        """
        if self._is_epoch_new:
            return
        self._origin = Origin(new_epoch([self.epoch]), self.epoch, self._start_offsets)
        self._is_epoch_new = True
        self._rollbacks += 1
        self._unnoted |= meta_of(self._origin)
        logger.error(
            "the journal was rolled back: %s; offsets may name two events, so epoch %d begins",
            reason,
            self.epoch,
        )
        self._note_begin()

    def probe(self) -> None:
        """Write `PROBE_BYTES` and remove them, or raise `JournalUnavailable`."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?))", (PROBE_BYTES,)
            )
        with self._transaction():
            self._db.execute("DELETE FROM meta WHERE key = 'probe'")

    def retire(self, limits: Limits, now_ms: int) -> bool:
        """Remove the oldest rows that exceed `limits`, at most `MAX_RETIRED_ROWS` of each stream.

        The newest row of a stream always stays. Returns whether any were removed. Raises
        `JournalUnavailable`.
        """
        retired = [self._retire(stream, limits.of(stream), now_ms) for stream in self._streams]
        if any(retired):
            self._write_note()
        return any(retired)

    def forget_silent_emitters(self, now_s: int) -> list[bytes]:
        """Remove the cursors beyond `SILENT_EMITTER_S` and `MAX_EMITTERS`; return their ids.

        Also the ids of `once` that count no more. Raises `JournalUnavailable`.
        """
        with self._transaction():
            forget_once(self._db, now_s)
            forgotten = [
                emitter_id
                for (emitter_id,) in self._db.execute(
                    "DELETE FROM emitters WHERE heard_at < ? OR id IN"
                    " (SELECT id FROM emitters ORDER BY heard_at DESC LIMIT -1 OFFSET ?)"
                    " RETURNING id",
                    (now_s - SILENT_EMITTER_S, MAX_EMITTERS),
                ).fetchall()
            ]
            if forgotten:
                note_lost_emitters(self._db)
                self._knows_all_emitters = False
        return forgotten

    def check_place(self) -> None:
        """Raise `JournalUnavailable` if the file was removed or replaced."""
        try:
            place = _place_of(self._path)
        except OSError:
            raise JournalUnavailable(f"{self._path} was removed while it was in use") from None
        if place != self._place:
            raise JournalUnavailable(f"{self._path} was replaced while it was in use")

    def has_its_tail(self) -> bool:
        """Whether the newest rows are in the file, at its place, as they were committed."""
        try:
            self.check_place()
            found = {
                stream: self._reader.found_tail(stream, tail.last_offset)
                for stream, tail in self._tails.items()
            }
        except (JournalUnavailable, sqlite3.DatabaseError):
            return False
        return not lost_tails(self._tails, found)

    def bound_wal(self) -> None:
        """Move the write-ahead log into the file if it has grown beyond `MAX_WAL_BYTES`.

        SQLite cannot do that while a program reads an older state of the journal.
        """
        wal = Path(f"{self._path}-wal")
        if not wal.exists() or (size := wal.stat().st_size) <= MAX_WAL_BYTES:
            return
        try:
            # Without waiting for the other program: events wait here.
            self._db.execute("PRAGMA busy_timeout = 0")
            try:
                (is_busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        except sqlite3.DatabaseError as error:
            raise JournalUnavailable(f"{self._path} cannot be written: {error}") from None
        if is_busy:
            self._log.warning(
                "wal",
                "%s has %d MiB: another program keeps reading an older state of the journal",
                wal,
                size // 2**20,
            )

    def close(self) -> None:
        """Move everything into the one file, and let another relay open it."""
        with contextlib.suppress(JournalUnavailable, sqlite3.Error):
            # A clean end: from here on, a power cut takes nothing and the epoch stays.
            with self._transaction():
                self._set_meta("boot_id", "")
                self._set_meta("noted", "")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._closing.close()

    def _state_of(self, stream: str, noted: TailNote | None) -> StreamState:
        ends = self._reader.ends(stream)
        if ends is None:
            return StreamState(1, 0, 0, NEVER_MS, retired=0)
        oldest, newest = ends
        first, last = oldest.first_offset, newest.last_offset
        size = noted.sizes.get(stream) if noted else None
        is_known = size and (size.first_offset, noted.tails[stream].last_offset) == (first, last)  # type: ignore[union-attr]
        stored = size.stored_bytes if size and is_known else self._reader.stored_bytes(stream)
        return StreamState(first, last, stored, oldest.relayed_at, 0, newest.relayed_at)

    def _retire(self, stream: str, limits: Limits, now_ms: int) -> bool:
        state = self._streams[stream]
        if state.stored_bytes <= limits.max_bytes and state.oldest_at >= now_ms - limits.max_age_ms:
            return False
        table = self._tables[stream]
        with self._transaction():
            found = self._db.execute(
                f"SELECT last, {RELAYED_AT}, length({EVENTS}) FROM {table} ORDER BY last LIMIT ?",
                # One more than can be removed, because the newest row always stays.
                (MAX_RETIRED_ROWS + 1,),
            )
            rows = [StoredRow(*row) for row in found]
            count = rows_to_retire(rows, state.stored_bytes, limits, now_ms)
            if not count:
                return False
            last_retired = rows[count - 1].last_offset
            self._db.execute(f"DELETE FROM {table} WHERE last <= ?", (last_retired,))
        self._streams[stream] = state._replace(
            first_offset=last_retired + 1,
            stored_bytes=state.stored_bytes - sum(row.stored_bytes for row in rows[:count]),
            oldest_at=rows[count].relayed_at,
            retired=state.retired + last_retired + 1 - state.first_offset,
        )
        return True

    def _note_begin(self) -> None:
        """Note the epoch before any peer is told of it, and the key before an acknowledgement.

        On a full disk, the first transaction that succeeds notes them.
        """
        with contextlib.suppress(JournalUnavailable):
            self.probe()
        self._write_note()

    def _write_note(self) -> None:
        try:
            self._note.write(self.note)
        except OSError as error:
            # The journal has the events. Only a rollback of the file would stay unnoticed here.
            self._log.error("note", "%s cannot be written: %s", note_beside(self._path), error)

    def _set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit the body, with the notes about this run that are not yet on the disk."""
        try:
            with transaction(self._db):
                for key, value in self._unnoted.items():
                    self._set_meta(key, value)
                yield
        except sqlite3.DatabaseError as error:
            raise JournalUnavailable(f"{self._path} cannot be written: {error}") from None
        if self._unnoted:
            # The boot id must be on the disk before an acknowledged event can be lost with the
            # machine. Without room for the checkpoint, the next transaction writes it again.
            with contextlib.suppress(sqlite3.DatabaseError):
                self._db.execute("PRAGMA wal_checkpoint")
                self._unnoted = {}


def _pack_row(run: Run) -> tuple[int, int, int, bytes, int]:
    numbers = (run.last_offset, run.first_offset, run.relayed_at)
    packed = pack_events(run.events)
    return *numbers, packed, row_checksum(*numbers, packed)


def _place_of(path: Path) -> tuple[int, int]:
    return (found := path.stat()).st_dev, found.st_ino
