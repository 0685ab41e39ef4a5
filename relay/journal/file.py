"""The file of a journal: locked, opened, copied and restored, with refusals that people read."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import IO

from relay.journal.format import A_COPY, JOURNAL_FORMAT, DamagedContent
from relay.shared.file_lock import PathInUse, lock_beside
from relay.shared.sqlite_file import (
    FileRefused,
    ForeignFile,
    NewerFile,
    UnusableFile,
    open_sqlite,
    refusal,
)

FILE_NAME = "journal.db"
_ADVICE = "it was left unchanged: move it away to begin a new journal"


class JournalRefused(Exception):  # noqa: N818 - clear without a suffix
    """A journal that cannot be used, and was left unchanged. The text is for people."""


def lock_journal(path: Path) -> IO[bytes]:
    """Return the lock of the journal at `path`, held until it is closed; create its directory.

    Raises `JournalRefused` if another relay holds it, or if the lock file cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return lock_beside(path)
    except PathInUse:
        raise JournalRefused(f"{path} is in use by another relay") from None
    except OSError as error:
        raise JournalRefused(f"{path} cannot be used: {error}") from None


def note_beside(path: Path) -> Path:
    """Return the path of the note beside the journal at `path`."""
    return Path(f"{path}-tail")


def open_journal_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Return a connection to the journal at `path`, or raise `JournalRefused`.

    A missing or empty file is a new journal without tables, unless `read_only`.
    """
    try:
        return open_sqlite(path, JOURNAL_FORMAT, read_only=read_only)
    except FileRefused as error:
        raise refused(path, error) from None


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
    with closing(open_journal_file(path, read_only=True)) as source:
        # Exclusively: a copy must never replace an older one, or the journal itself.
        try:
            target.open("x").close()
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
    with lock_journal(path), closing(open_journal_file(copy, read_only=True)):
        if path.exists():
            raise JournalRefused(f"{path} exists: move it away first, with its -wal and -shm files")
        draft = Path(f"{path}.new")
        try:
            # A write-ahead log that a killed relay has left would be applied to the copy.
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            # A copy that is cut short must not look like a journal.
            shutil.copyfile(copy, draft)
            draft.rename(path)
        except OSError as error:
            raise JournalRefused(f"cannot write {path}: {error}") from None
