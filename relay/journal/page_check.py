"""`PageCheck`: checks every page of a large journal while the relay is at work already.

A small file is checked before it is opened. A large one would keep the relay from its start for
seconds; the rows have checksums, so that damage which is found later has not been delivered.
"""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from relay.journal.file import MAX_CHECKED_BYTES, JournalRefused, open_journal_file

logger = logging.getLogger(__name__)


class PageCheck:
    """Checks the journal at `path` in a thread of its own, once, until `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        """The connection that is checking, for `close` to interrupt."""
        self._is_closed = False
        self.has_found_damage = False
        self._thread = threading.Thread(target=self._run, name="page check", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the check early."""
        with self._lock:
            self._is_closed = True
            if self._db is not None:
                self._db.interrupt()
        self._thread.join()

    def _run(self) -> None:
        try:
            if self._path.stat().st_size <= MAX_CHECKED_BYTES:
                return
            with closing(open_journal_file(self._path, read_only=True)) as db:
                with self._lock:
                    if self._is_closed:
                        return
                    self._db = db
                try:
                    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
                finally:
                    with self._lock:
                        self._db = None
        except (sqlite3.DatabaseError, JournalRefused, OSError) as error:
            if self._is_closed:
                return
            found = str(error)
        if found != "ok":
            self.has_found_damage = True
            logger.error(
                "%s is damaged: %s; what can be read is delivered: make a copy, and see"
                " `event-relay journal verify`",
                self._path,
                " ".join(found.split()),
            )
