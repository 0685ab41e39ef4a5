"""The disk spool: numbered events that outlive their process (protocol section 5).

A SQLite file in WAL mode. Committed events survive the end of the process, `kill -9` included; a
power cut may take the last of them, which the emitter notices when the relay has more than the
spool. The epoch belongs to the file, and is 0 until a relay has handed it out: sequence numbers go
on where an earlier process stopped, and the relay takes each event once.

A lock file beside the spool keeps other processes out. One thread uses a spool at a time.

Damage is never silent. A checksum of each event shows what the disk has changed: such an event is
sent without its content, so that its number is used up and the relay counts it as malformed. A file
`{path}.last` holds the last number beside the database, because SQLite passes over the end of a
write-ahead log that was damaged.
"""

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from emitters.core.identity import emitter_id_of_name, new_emitter_id
from emitters.core.outgoing import Outgoing
from emitters.errors import SpoolInUse, SpoolRefused, SpoolUnavailable
from emitters.forks import in_forked_child
from emitters.spool_rows import Unsuitable, packed_rows, read_events
from relay.shared.file_lock import PathInUse, lock_beside
from relay.shared.logs import LimitedLog
from relay.shared.private_modes import create_private, tighten
from relay.shared.sqlite_file import FileFormat, FileRefused, open_sqlite, refusal, transaction
from relay.wire.control_message import MAX_PROOF_BYTES
from relay.wire.errors import InvalidTopic

APPLICATION_ID = 0x45525350
SCHEMA_VERSION = 5
FORMAT = FileFormat(APPLICATION_ID, SCHEMA_VERSION)
_WITH_CHECKSUMS = 2
_WITH_RELAY_EPOCH = 3
_WITH_EMITTER_ID = 4
_WITH_PROOF = 5

_SCHEMA = (
    "CREATE TABLE spool"
    " (name TEXT NOT NULL, epoch INTEGER NOT NULL, acknowledged INTEGER NOT NULL, sent INTEGER,"
    " relay_epoch TEXT, emitter_id BLOB, proof BLOB)",
    "CREATE TABLE events"
    " (sequence INTEGER PRIMARY KEY, topic TEXT NOT NULL, envelope BLOB NOT NULL,"
    " checksum INTEGER)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?)"
_LAST_BYTES = 8

logger = logging.getLogger(__name__)


_Text = Annotated[str, Field(strict=True, min_length=1)]
_Number = Annotated[int, Field(strict=True, ge=0)]


class SpoolHead(NamedTuple):
    """The row of the table `spool`."""

    name: _Text
    epoch: _Number
    acknowledged: _Number
    sent: _Number | None
    """The last number that may have been sent; None when any may have been."""
    relay_epoch: Annotated[int, Field(ge=0, lt=2**64)] | None
    """The relay's epoch when it was met last. The table has it as a text, for SQLite has no
    integers of 64 bits without a sign."""
    emitter_id: Annotated[bytes, Field(strict=True, min_length=16, max_length=16)] | None
    """The id of its emitter; None in a spool that was made when names were identities."""
    proof: Annotated[bytes, Field(strict=True, max_length=MAX_PROOF_BYTES)] | None
    """The relay's proof that it has acknowledged `acknowledged`; None without one."""


_HEAD = TypeAdapter(SpoolHead)


class Spool:
    """Opens the spool at `path`, or makes it for the emitter `name`.

    With `name` None it takes whatever name the spool has; a new one gets `default_name`. Raises
    `SpoolInUse`, or `SpoolRefused` for a file that is not this emitter's spool, which is then left
    unchanged.
    """

    def __init__(self, path: Path, name: str | None, default_name: str) -> None:
        # A link to a spool is the same spool, with the same lock.
        path = path.resolve()
        self.path = path
        self._has_met_relay = False
        self._log = LimitedLog(logger)
        with _refusing(path), ExitStack() as undo:
            self._lock_file = undo.enter_context(lock_beside(path))
            _refuse_emptied(path)
            if not path.exists() or path.stat().st_size == 0:
                _create(path, name or default_name)
            self._database = open_sqlite(path, FORMAT)
            undo.callback(self._database.close)
            self._last_file = undo.enter_context(_open_last(path))
            head = _read_head(self._database)
            _make_private(path)
            if name not in (None, head.name):
                raise Unsuitable(f"belongs to the emitter {head.name!r}, not to {name!r}")
            self.name, self.epoch, self.acknowledged = head[:3]
            self.relay_epoch, self.proof = head.relay_epoch, head.proof
            self.emitter_id = head.emitter_id or emitter_id_of_name(head.name)
            self.kept = read_events(
                path,
                self._database,
                head.acknowledged,
                has_checksums=_version(self._database) >= _WITH_CHECKSUMS,
            )
            """The events that the relay may not have, in order, from `acknowledged` + 1."""
            last = self.acknowledged + len(self.kept)
            _report_lost(path, last, _read_last(self._last_file))
            self._note_last(last)
            self.sent: int = last if head.sent is None else max(head.sent, self.acknowledged)
            """The last sequence number that an earlier process may have sent."""
            self._prepare_to_write()
            undo.pop_all()
        in_forked_child(self, Spool._leave_to_parent)

    def append(self, first: int, events: Sequence[Outgoing]) -> None:
        """Commit `events`, numbered from `first`, or raise `SpoolUnavailable` and keep none."""
        rows = packed_rows(first, events)
        try:
            if len(rows) == 1:
                # Commits by itself, which takes half the time of a transaction.
                self._database.execute(_INSERT, rows[0])
            else:
                with transaction(self._database):
                    self._database.executemany(_INSERT, rows)
        except sqlite3.Error as error:
            raise self._unavailable(error) from None
        self._note_last(first + len(rows) - 1)

    def keep_epoch(self, epoch: int) -> None:
        """Note the epoch that the relay has handed out, or raise `SpoolUnavailable`."""
        with self._lasting():
            self._database.execute("UPDATE spool SET epoch = ?", (epoch,))
        self.epoch = epoch

    def keep_relay_epoch(self, epoch: int) -> None:
        """Note the relay's epoch. If that fails, the earlier one stays."""
        try:
            self._database.execute("UPDATE spool SET relay_epoch = ?", (str(epoch),))
        except sqlite3.Error as error:
            self._log.warning("epoch", "the spool %s cannot be written: %s", self.path, error)
        else:
            self.relay_epoch = epoch

    def relay_was_met(self) -> None:
        """Note that events may be sent from now on, or raise `SpoolUnavailable`."""
        if self._has_met_relay:
            return
        with self._lasting():
            self._database.execute("UPDATE spool SET sent = NULL")
        self._has_met_relay = True

    def forget(self, sequence: int, proof: bytes | None = None) -> None:
        """Drop the events up to `sequence`, which the relay has acknowledged with `proof`.

        If that fails they stay until the next time.
        """
        try:
            with transaction(self._database):
                self._database.execute("DELETE FROM events WHERE sequence <= ?", (sequence,))
                self._database.execute(
                    "UPDATE spool SET acknowledged = ?, proof = ?", (sequence, proof)
                )
        except sqlite3.Error as error:
            self._log.warning("forget", "the spool %s cannot be written: %s", self.path, error)

    def rewrite(
        self, acknowledged: int, events: Iterable[Outgoing], proof: bytes | None = None
    ) -> None:
        """Keep `events` alone, numbered from `acknowledged` + 1, or raise `SpoolUnavailable`.

        `proof` is that of `acknowledged`.
        """
        rows = packed_rows(acknowledged + 1, events)
        with self._lasting(), transaction(self._database):
            self._database.execute("DELETE FROM events")
            self._database.executemany(_INSERT, rows)
            self._database.execute(
                "UPDATE spool SET acknowledged = ?, sent = ?, proof = ?",
                (acknowledged, acknowledged, proof),
            )
        self._has_met_relay = False
        self._note_last(acknowledged + len(rows))

    def close(self) -> None:
        """Let another process open the spool. A second call does nothing."""
        self._database.close()
        self._last_file.close()
        self._lock_file.close()

    def _leave_to_parent(self) -> None:
        """In a forked child: give the lock up, or a child that outlives its parent would keep it.

        The database stays as it is: SQLite allows a child neither to use nor to close it.
        """
        self._lock_file.close()

    def _prepare_to_write(self) -> None:
        if (version := _version(self._database)) < SCHEMA_VERSION:
            with transaction(self._database):
                if version < _WITH_CHECKSUMS:
                    self._database.execute("ALTER TABLE events ADD COLUMN checksum INTEGER")
                if version < _WITH_RELAY_EPOCH:
                    self._database.execute("ALTER TABLE spool ADD COLUMN relay_epoch TEXT")
                if version < _WITH_EMITTER_ID:
                    self._database.execute("ALTER TABLE spool ADD COLUMN emitter_id BLOB")
                self._database.execute("ALTER TABLE spool ADD COLUMN proof BLOB")
                self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._database.execute("PRAGMA journal_mode = WAL")
        # Nothing is synced at a commit: the page cache outlives the process. Syncing at
        # checkpoints keeps the file whole through a power cut, which may cost the newest commits.
        self._database.execute("PRAGMA synchronous = NORMAL")
        # Until this process meets the relay, it only adds events that nobody has sent.
        self._database.execute("UPDATE spool SET sent = ?", (self.sent,))

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        """Have a change survive a power cut as well, or raise `SpoolUnavailable`.

        What is sent next depends on it: under another epoch or other numbers, the relay would take
        events of this spool a second time.
        """
        try:
            self._database.execute("PRAGMA synchronous = FULL")
            try:
                yield
            finally:
                self._database.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise self._unavailable(error) from None

    def _note_last(self, sequence: int) -> None:
        """Note the last number outside of the database. It outlives the process as that does."""
        try:
            os.pwrite(self._last_file.fileno(), sequence.to_bytes(_LAST_BYTES, "big"), 0)
        except OSError as error:
            # The event itself is in the spool.
            self._log.warning("last", "%s.last cannot be written: %s", self.path, error)

    def _unavailable(self, error: sqlite3.Error) -> SpoolUnavailable:
        return SpoolUnavailable(f"the spool {self.path} cannot be written: {error}")


def _make_private(path: Path) -> None:
    """Take the permissions of other users from a spool that an earlier version has made."""
    beside = (Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", ".last", ".lock"))
    if changed := tighten((path, *beside)):
        logger.warning("other users could read the spool; no longer: %s", ", ".join(changed))


def _create(path: Path, name: str) -> None:
    """Make an empty spool, so that a kill at any moment leaves a whole spool or none."""
    draft = Path(f"{path}.new")
    # SQLite would replay the log of a removed spool into the new one.
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size:
        logger.error("%s is missing; the events in its log %s are lost", path, wal)
    for left_behind in (draft, f"{draft}-journal", wal, f"{path}-shm", f"{path}.last"):
        Path(left_behind).unlink(missing_ok=True)
    create_private(draft)
    with closing(sqlite3.connect(draft, isolation_level=None)) as database, transaction(database):
        for statement in _SCHEMA:
            database.execute(statement)
        row = (name, new_emitter_id())
        database.execute("INSERT INTO spool VALUES (?, 0, 0, NULL, NULL, ?, NULL)", row)
    draft.rename(path)


def _read_head(database: sqlite3.Connection) -> SpoolHead:
    version = _version(database)
    relay_epoch = "relay_epoch" if version >= _WITH_RELAY_EPOCH else "NULL"
    emitter_id = "emitter_id" if version >= _WITH_EMITTER_ID else "NULL"
    proof = "proof" if version >= _WITH_PROOF else "NULL"
    columns = f"name, epoch, acknowledged, sent, {relay_epoch}, {emitter_id}, {proof}"
    rows = database.execute(f"SELECT {columns} FROM spool").fetchall()
    if len(rows) != 1:
        raise Unsuitable("is damaged (it does not say whose it is)")
    try:
        return _HEAD.validate_python(rows[0])
    except ValidationError as error:
        first = error.errors()[0]
        column = SpoolHead._fields[int(first["loc"][0])]
        raise Unsuitable(f"is damaged ({column}: {first['msg']})") from None


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _refuse_emptied(path: Path) -> None:
    """Refuse a database of 0 bytes whose write-ahead log still has events."""
    wal = Path(f"{path}-wal")
    if path.exists() and path.stat().st_size == 0 and wal.exists() and wal.stat().st_size:
        raise Unsuitable(
            f"is empty, but its log {wal} holds events: put the file back, or remove both"
        )


def _open_last(path: Path) -> BinaryIO:
    return os.fdopen(os.open(f"{path}.last", os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)


def _read_last(file: BinaryIO) -> int:
    return int.from_bytes(os.pread(file.fileno(), _LAST_BYTES, 0), "big")


def _report_lost(path: Path, last: int, noted: int) -> None:
    if noted > last:
        logger.error(
            "%s: %d events are lost, the numbers %d to %d: its log was damaged, or the machine"
            " lost power",
            path,
            noted - last,
            last + 1,
            noted,
        )


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn every reason why the file cannot be used into one line that names the setting."""
    try:
        yield
    except PathInUse:
        raise SpoolInUse(f"EMITTER_SPOOL: {path} is in use by another emitter") from None
    except FileRefused as error:
        raise SpoolRefused(f"EMITTER_SPOOL: {path} {error}") from None
    except OSError as error:
        raise SpoolRefused(f"EMITTER_SPOOL: {path} cannot be opened: {error.strerror}") from None
    except sqlite3.Error as error:
        raise SpoolRefused(f"EMITTER_SPOOL: {path} {refusal(error)}") from None
    except InvalidTopic as error:
        raise SpoolRefused(f"EMITTER_SPOOL: {path} is damaged: {error}") from None
