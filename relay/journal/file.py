"""The file that a journal is: whether it is one, who may write it, and its tables."""

import contextlib
import fcntl
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import msgpack

FILE_NAME = "journal.db"
APPLICATION_ID = 0x45564A4C
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 1.0

A_COPY = "a copy"
"""Stands in a copy instead of the machine's start under which it was written."""

_CIRCUMSTANCES = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)
"""What SQLite says when not the file is at fault."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS emitters (
    id BLOB PRIMARY KEY, name TEXT NOT NULL, epoch BLOB NOT NULL, sequence BLOB NOT NULL,
    heard_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks (
    updated INTEGER PRIMARY KEY, topic TEXT NOT NULL UNIQUE, stamp BLOB NOT NULL,
    envelope BLOB NOT NULL, finished INTEGER NOT NULL
);
"""
_STREAM_TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    last INTEGER PRIMARY KEY, first INTEGER NOT NULL, relayed_at INTEGER NOT NULL,
    events BLOB NOT NULL
)
"""
"""A row is what one batch brought to the stream: the events of the offsets `first` to `last`."""


class JournalRefused(Exception):  # noqa: N818
    """A file that cannot be used; it is left as it is."""


class Entry(NamedTuple):
    """An event as it came: the frames, the header empty for plain publishers."""

    topic: bytes
    header: bytes
    envelope: bytes


def pack_entries(entries: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """Return the `events` of a row."""
    packed: bytes = msgpack.packb(list(chain.from_iterable(entries)))
    return packed


def unpack_entries(events: bytes) -> Iterator[Entry]:
    """Yield the entries in the `events` of a row. Raises `ValueError` if they are damaged."""
    try:
        frames = msgpack.unpackb(events)
    except (TypeError, OverflowError, msgpack.UnpackException) as error:
        raise ValueError(f"a row is damaged: {error}") from None
    if not isinstance(frames, list) or len(frames) % 3 or set(map(type, frames)) - {bytes}:
        raise ValueError("a row is damaged: it does not hold events")
    following = iter(frames)
    return map(Entry, following, following, following)


def lock(path: Path) -> IO[str]:
    """Return the lock of the journal at `path`, held until it is closed; make its directory.

    Raises `JournalRefused`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = open(f"{path}.lock", "w")  # noqa: SIM115 - held until the relay ends
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.close()
            raise
    except BlockingIOError:
        raise JournalRefused(f"{path} is in use by another relay") from None
    except OSError as error:
        raise JournalRefused(f"cannot use {path}: {error}") from None
    return held


def restore(path: Path, copy: Path) -> None:
    """Make `copy` the journal at `path`, where there is none.

    Not by hand: the write-ahead log that a killed relay has left there would be applied to it.
    Raises `JournalRefused`.
    """
    path = path.resolve()
    with lock(path), contextlib.closing(connect(copy, read_only=True)):
        if path.exists():
            raise JournalRefused(f"{path} is there: move it away first, with its -wal and -shm")
        draft = Path(f"{path}.new")
        try:
            for beside in ("-wal", "-shm"):
                Path(f"{path}{beside}").unlink(missing_ok=True)
            shutil.copyfile(copy, draft)
            draft.rename(path)
        except OSError as error:
            raise JournalRefused(f"cannot write {path}: {error}") from None


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the file, or raise `JournalRefused` if it is not a journal that we can read.

    A file that is missing or empty is a journal without anything, unless `read_only`. Unless
    `read_only`, every page of it has been looked at.
    """
    try:
        if not read_only:
            if path.exists():
                # What can write the file changes it even by closing it: it moves the WAL there.
                with contextlib.closing(_open(path, "ro")) as db:
                    _check_identity(db, path, may_be_new=True)
                    _check_pages(db, path)
            return _open(path, "rwc")
        db = _open(path, "ro")
        try:
            _check_identity(db, path, may_be_new=False)
        except BaseException:
            db.close()
            raise
        return db
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from None


def prepare(db: sqlite3.Connection, streams: Iterable[str], *, power_safe: bool) -> None:
    """Make what is missing: the tables, and one for each of `streams`.

    Writes nothing if nothing is missing, so that a journal on a full disk can be opened.
    """
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION and set(streams) <= tables(db).keys():
        return
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
    for stream in streams:
        db.execute("INSERT OR IGNORE INTO streams (name) VALUES (?)", (stream,))
    for table in tables(db).values():
        db.execute(_STREAM_TABLE.format(table=table))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")


def tables(db: sqlite3.Connection) -> dict[str, str]:
    """Stream to the name of its table."""
    return dict(db.execute("SELECT name, 'stream_' || id FROM streams"))


def damaged(path: Path, error: Exception | str) -> JournalRefused:
    """The refusal of a file that SQLite cannot make sense of, or cannot have now."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _CIRCUMSTANCES:
        return JournalRefused(f"cannot use {path}: {error}")
    return JournalRefused(
        f"cannot use {path}: {error}; it is left as it is: move it away to begin a new journal"
    )


def _open(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, BUSY_TIMEOUT_S, isolation_level=None, uri=True)


def _foreign(path: Path) -> JournalRefused:
    return JournalRefused(f"{path} is not a journal of Event Relay; it is left as it is")


def _check_identity(db: sqlite3.Connection, path: Path, *, may_be_new: bool) -> None:
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (objects,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id == 0 and objects == 0 and may_be_new:
        return
    if application_id != APPLICATION_ID:
        raise _foreign(path)
    if version > SCHEMA_VERSION:
        raise JournalRefused(
            f"{path} has schema version {version}, and this program knows {SCHEMA_VERSION}:"
            " use a newer Event Relay, or another directory"
        )


def _check_pages(db: sqlite3.Connection, path: Path) -> None:
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path, " ".join(found.split()))
