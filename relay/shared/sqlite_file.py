"""A SQLite file of one known format: opened only after it was identified and checked.

The journal and the spool are such files. Their tables, their messages to people and the recovery
from errors are their own business.
"""

import errno
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from relay.shared.private_modes import create_private

BUSY_TIMEOUT_S = 1.0

_CIRCUMSTANCES = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)
"""Error codes of SQLite for which the file itself is not at fault."""


class FileFormat(NamedTuple):
    """How to recognise a file."""

    application_id: int
    version: int
    """The newest schema version that this program reads (`PRAGMA user_version`)."""


class FileRefused(Exception):  # noqa: N818 - clear without a suffix
    """A file that cannot be used; it was left unchanged. The text continues `{path} …`."""


class ForeignFile(FileRefused):
    """A file of another program, or no SQLite file at all."""


class NewerFile(FileRefused):
    """A file that a newer program has written."""


class DamagedFile(FileRefused):
    """A file that SQLite finds inconsistent."""


class UnusableFile(FileRefused):
    """A file that cannot be used now: permissions, a full disk, another program's lock."""


def open_sqlite(
    path: Path,
    file: FileFormat,
    *,
    read_only: bool = False,
    immutable: bool = False,
    max_checked_bytes: int | None = None,
) -> sqlite3.Connection:
    """Return an open connection in autocommit mode, or raise a `FileRefused`.

    A missing or empty file is a new one, without tables, unless `read_only`. Before a connection
    that may write is opened, the file is identified and every page of it is checked, unless it has
    more than `max_checked_bytes`. A new file
    may be read by its owner only. With `immutable`, which implies `read_only`, nothing is made
    beside the file, which nobody may be writing. Any thread may use the connection; the caller
    provides the locking.
    """
    try:
        if not read_only and not path.exists():
            # SQLite gives the files that it makes beside it the same mode.
            create_private(path)
            return _connect(path, "rw")
        _refuse_other_programs(path, file)
        # A connection that may write changes the file even when it only closes: it moves the
        # write-ahead log there. So a file that may have to be refused is first opened for reading.
        reading = "ro&immutable=1" if immutable else "ro"
        with closing(_connect(path, reading)) as db:
            _check_identity(db, file, may_be_new=not (read_only or immutable))
            is_small = max_checked_bytes is None or path.stat().st_size <= max_checked_bytes
            if is_small and not (read_only or immutable):
                _check_pages(db)
        return _connect(path, reading if read_only or immutable else "rw")
    except OSError as error:
        raise UnusableFile(f"cannot be opened: {error.strerror}") from None
    except sqlite3.DatabaseError as error:
        raise refusal(error) from None


def refusal(error: Exception) -> FileRefused:
    """Return the refusal that an error of SQLite, met while reading a file, amounts to."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _CIRCUMSTANCES:
        return UnusableFile(f"cannot be used now: {error}")
    return DamagedFile(f"is damaged: {error}")


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is at fault, and not its circumstances."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


class transaction:  # noqa: N801 - used like `contextlib.closing`
    """Commit the statements of the body together; if it raises, undo them and raise the same.

    A class, because a generator would cost the relay 1% of the time of a small batch.
    """

    __slots__ = ("_db",)

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            # SQLite has rolled back by itself after some errors, a full disk among them.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(
        uri, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=True
    )


def _refuse_other_programs(path: Path, file: FileFormat) -> None:
    """Refuse by the first bytes, before SQLite makes files beside a database that is not ours.

    SQLite reads them: if this process closed a descriptor of its own, the system would take all
    locks on the file from it (POSIX), and other programs would take a database in use for idle.
    """
    _require_readable(path)
    # Of an immutable file no log is looked for, and nothing is made beside it.
    with closing(_connect(path, "ro&immutable=1")) as db:
        # Without its log, a database is shorter than its first page says if a full disk has ended
        # its last checkpoint: SQLite then reads on only in this mode.
        db.execute("PRAGMA writable_schema = ON")
        try:
            (application_id,) = db.execute("PRAGMA application_id").fetchone()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise ForeignFile("is not a SQLite database") from None
            raise
    # Zero also stands for our own file whose first transaction is still in the write-ahead log.
    if application_id not in (0, file.application_id):
        raise ForeignFile("is another program's database")


def _require_readable(path: Path) -> None:
    """Raise the `OSError` that reading the file would raise; SQLite does not tell the reason."""
    if stat.S_ISDIR(path.stat().st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check_identity(db: sqlite3.Connection, file: FileFormat, *, may_be_new: bool) -> None:
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (objects,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id == 0 and objects == 0 and may_be_new:
        return
    if application_id != file.application_id:
        raise ForeignFile("is another program's database")
    if version > file.version:
        raise NewerFile(f"has version {version}, and this program knows version {file.version}")


def _check_pages(db: sqlite3.Connection) -> None:
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DamagedFile(f"is damaged: {' '.join(found.split())}")
