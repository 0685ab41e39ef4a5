"""The file of a journal: locked, opened, copied and restored, with refusals that people read."""

import logging
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from relay.journal.format import A_COPY, JOURNAL_FORMAT, DamagedContent
from relay.journal.tail_note import TailNoteFile
from relay.shared.file_lock import PathInUse, is_locked, lock_beside
from relay.shared.private_modes import create_private, make_private_directory, tighten
from relay.shared.sqlite_file import (
    FileRefused,
    ForeignFile,
    NewerFile,
    UnusableFile,
    open_sqlite,
    refusal,
)

FILE_NAME = "journal.db"
LOCK_PATIENCE_S = 0.2
"""A program that looks at the journal holds the lock for a moment, to find out who has it."""
MAX_CHECKED_BYTES = 32 * 1024 * 1024
"""A larger file is not checked before it is opened: see `relay.journal.page_check`."""
logger = logging.getLogger(__name__)

_ADVICE = "it was left unchanged: move it away to begin a new journal"


class JournalRefused(Exception):  # noqa: N818 - clear without a suffix
    """A journal that cannot be used, and was left unchanged. The text is for people."""


def lock_journal(path: Path) -> IO[bytes]:
    """Return the lock of the journal at `path`, held until it is closed; create its directory.

    Raises `JournalRefused` if another relay holds it, or if the lock file cannot be created.
    """
    give_up_at = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            make_private_directory(path.parent)
            return lock_beside(path)
        except PathInUse:
            if time.monotonic() >= give_up_at:
                raise JournalRefused(f"{path} is in use by another relay") from None
            time.sleep(LOCK_PATIENCE_S / 10)
        except OSError as error:
            raise JournalRefused(f"{path} cannot be used: {error}") from None


def note_beside(path: Path) -> Path:
    """Return the path of the note beside the journal at `path`."""
    return Path(f"{path}-tail")


def open_note(path: Path) -> TailNoteFile:
    """Return the note beside the journal at `path`, made if it is missing."""
    try:
        return TailNoteFile(note_beside(path))
    except OSError as error:
        raise JournalRefused(f"{note_beside(path)} cannot be used: {error.strerror}") from None


def open_journal_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Return a connection to the journal at `path`, or raise `JournalRefused`.

    A missing or empty file is a new journal without tables, unless `read_only`.
    """
    try:
        db = open_sqlite(
            path, JOURNAL_FORMAT, read_only=read_only, max_checked_bytes=MAX_CHECKED_BYTES
        )
    except FileRefused as error:
        raise refused(path, error) from None
    if not read_only:
        _make_private(path)
    return db


def _make_private(path: Path) -> None:
    """Take the permissions of other users from the journal at `path` and the files beside it.

    They hold every user's events. Earlier versions, and copies by other means, left them readable.
    """
    beside = (Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-tail", ".lock"))
    if changed := tighten((path, *beside)):
        logger.warning("other users could read the journal; no longer: %s", ", ".join(changed))


def is_in_use(path: Path) -> bool:
    """Return whether a relay has the journal at `path` open."""
    locked = is_locked(path)
    # Without permission to read the lock: SQLite removes an empty log when a relay ends.
    return _wal_bytes(path) > 0 if locked is None else locked


@contextmanager
def looked_at(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that reads the journal at `path`. Raises `JournalRefused`.

    Nothing beside the file is made or changed: a file of another user's would keep the relay from
    its next start.
    """
    if is_in_use(path):
        with closing(open_journal_file(path, read_only=True)) as db:
            yield db
    elif _wal_bytes(path):
        # The log of a killed relay. SQLite reads it by an index, which it would have to make.
        with (
            TemporaryDirectory(prefix="event-relay-") as directory,
            closing(_copied(path, Path(directory))) as db,
        ):
            yield db
    else:
        try:
            db = open_sqlite(path, JOURNAL_FORMAT, immutable=True)
        except FileRefused as error:
            raise refused(path, error) from None
        with closing(db):
            yield db


def _copied(path: Path, directory: Path) -> sqlite3.Connection:
    copy = directory / path.name
    try:
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        return open_sqlite(copy, JOURNAL_FORMAT, read_only=True)
    except FileRefused as error:
        raise refused(path, error) from None
    except OSError as error:
        raise JournalRefused(f"{path} cannot be read: {error}") from None


def _wal_bytes(path: Path) -> int:
    try:
        return Path(f"{path}-wal").stat().st_size
    except OSError:
        return 0


def refused(
    path: Path, error: FileRefused | sqlite3.DatabaseError | DamagedContent
) -> JournalRefused:
    """Return the refusal of the journal at `path` because of `error`."""
    if isinstance(error, sqlite3.DatabaseError):
        error = refusal(error)
    match error:
        case UnusableFile():
            problem = f"{error}"
        case NewerFile():
            problem = f"{error}: use a newer Event Relay, or another RELAY_DATA_DIR"
        case ForeignFile():
            problem = f"{error}, not a journal of Event Relay; {_ADVICE}"
        case DamagedContent():
            problem = f"is damaged: {error}; {_ADVICE}"
        case _:
            problem = f"{error}; {_ADVICE}"
    return JournalRefused(f"{path} {problem}")


def copy_journal(path: Path, target: Path) -> None:
    """Write the present content of the journal at `path` to a new file `target`.

    A relay may write meanwhile. The copy lacks the events that come later, and their offsets are
    given again by a relay that opens it: it is marked, so that such a relay starts a new epoch.
    Raises `JournalRefused`.
    """
    with looked_at(path) as source:
        # Exclusively: a copy must never replace an older one, or the journal itself.
        try:
            create_private(target)
        except OSError as error:
            raise JournalRefused(f"cannot write {target}: {error}") from None
        try:
            with closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
                with copy:
                    copy.execute("REPLACE INTO meta VALUES ('boot_id', ?)", (A_COPY,))
        except sqlite3.DatabaseError as error:
            target.unlink()
            raise JournalRefused(f"cannot write {target}: {error}") from None


def restore_journal(path: Path, copy: Path) -> None:
    """Make `copy` the journal at `path`, where no journal may be. Raises `JournalRefused`."""
    path = path.resolve()
    with lock_journal(path), looked_at(copy):
        if path.exists():
            raise JournalRefused(f"{path} exists: move it away first, with its -wal and -shm files")
        draft = Path(f"{path}.new")
        try:
            # A write-ahead log that a killed relay has left would be applied to the copy.
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            # A copy that is cut short must not look like a journal.
            draft.unlink(missing_ok=True)
            create_private(draft)
            shutil.copyfile(copy, draft)
            draft.rename(path)
        except OSError as error:
            raise JournalRefused(f"cannot write {path}: {error}") from None
