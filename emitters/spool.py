"""The disk spool: numbered events that outlive their process (protocol section 5).

An SQLite file in WAL mode. What was committed survives the end of the process, `kill -9`
included; a power cut may take the last events before it, which the emitter notices when the relay
has more than the spool. The epoch belongs to the file, so sequence numbers go on where an earlier
process stopped, and the relay takes each event once.

The caller provides the locking between threads; a lock file beside the spool keeps other
processes out.
"""

import fcntl
import logging
import os
import sqlite3
import struct
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from emitters.core.outgoing import Outgoing
from emitters.errors import SpoolInUse, SpoolRefused, SpoolUnavailable
from relay.shared.logs import LimitedLog
from relay.wire.errors import InvalidTopic
from relay.wire.topics import parse_topic

APPLICATION_ID = 0x45525350
SCHEMA_VERSION = 1

_SCHEMA = f"""
BEGIN;
CREATE TABLE spool (
    name TEXT NOT NULL, epoch INTEGER NOT NULL, acknowledged INTEGER NOT NULL, sent INTEGER
);
CREATE TABLE events (sequence INTEGER PRIMARY KEY, topic TEXT NOT NULL, envelope BLOB NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
_MAGIC = b"SQLite format 3\x00"
_VERSIONS = struct.Struct("!60xI4xI")
"""`user_version` and `application_id` in the first bytes of an SQLite file."""

logger = logging.getLogger(__name__)


class Spool:
    """Opens the spool at `path`, or makes it for the emitter `name`.

    `name` None stands for whatever name the spool has; one that is made then gets `default_name`.
    Raises `SpoolInUse`, or `SpoolRefused` for a file that is not this emitter's spool, which is
    then left as it is.
    """

    def __init__(self, path: Path, name: str | None, default_name: str) -> None:
        # Whatever it is called, it is one file with one lock.
        path = path.resolve()
        self.path = path
        self._has_met_relay = False
        self._log = LimitedLog(logger)
        self._lock_file = _lock(path)
        try:
            with _refusing(path):
                if not path.exists() or path.stat().st_size == 0:
                    _create(path, name or default_name)
                _check_header(path)
                self._database = sqlite3.connect(
                    path, isolation_level=None, check_same_thread=False
                )
            try:
                with _refusing(path):
                    self._read(name)
                    self._prepare_to_write()
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._lock_file.close()
            raise
        _OPEN.add(self)

    def append(self, sequence: int, event: Outgoing) -> None:
        """Commit `event`, or raise `SpoolUnavailable`; then it is not in the spool."""
        try:
            # One that was given up half-way by an exception has left its number.
            self._database.execute(
                "REPLACE INTO events VALUES (?, ?, ?)", (sequence, event.topic.text, event.envelope)
            )
        except sqlite3.Error as error:
            raise self._unavailable(error) from None

    def relay_was_met(self) -> None:
        """Note that events are sent from now on, or raise `SpoolUnavailable`."""
        if self._has_met_relay:
            return
        try:
            self._database.execute("UPDATE spool SET sent = NULL")
        except sqlite3.Error as error:
            raise self._unavailable(error) from None
        self._has_met_relay = True

    def forget(self, sequence: int) -> None:
        """Drop the events up to `sequence`. If that fails they stay until the next time."""
        try:
            with self._transaction():
                self._database.execute("DELETE FROM events WHERE sequence <= ?", (sequence,))
                self._database.execute("UPDATE spool SET acknowledged = ?", (sequence,))
        except sqlite3.Error as error:
            self._log.warning("forget", "the spool %s cannot be written: %s", self.path, error)

    def rewrite(self, acknowledged: int, events: Iterable[Outgoing]) -> None:
        """Keep `events` alone, numbered from `acknowledged` + 1, or raise `SpoolUnavailable`."""
        rows = [
            (sequence, event.topic.text, event.envelope)
            for sequence, event in enumerate(events, acknowledged + 1)
        ]
        try:
            with self._transaction():
                self._database.execute("DELETE FROM events")
                self._database.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
                self._database.execute(
                    "UPDATE spool SET acknowledged = ?, sent = ?", (acknowledged, acknowledged)
                )
            self._has_met_relay = False
        except sqlite3.Error as error:
            raise self._unavailable(error) from None

    def close(self) -> None:
        """Let another process have the spool."""
        _OPEN.discard(self)
        self._database.close()
        self._lock_file.close()

    def leave_to_parent(self) -> None:
        """In a forked child: do not keep the lock when the parent has ended."""
        self._lock_file.close()

    def _read(self, name: str | None) -> None:
        [(problem,)] = self._database.execute("PRAGMA quick_check(1)").fetchall()
        if problem != "ok":
            raise SpoolRefused(_refusal(self.path, f"is damaged ({problem})"))
        rows = self._database.execute(
            "SELECT name, epoch, acknowledged, sent FROM spool"
        ).fetchall()
        if len(rows) != 1:
            raise SpoolRefused(_refusal(self.path, "is damaged (it does not say whose it is)"))
        self.name, self.epoch, self.acknowledged, sent = rows[0]
        if name not in (None, self.name):
            problem = f"belongs to the emitter {self.name!r}, not to {name!r}"
            raise SpoolRefused(_refusal(self.path, problem))
        self.kept = list(self._kept())
        """What the relay is not known to have, in order, from `acknowledged` + 1."""
        last = self.acknowledged + len(self.kept)
        self.sent: int = last if sent is None else max(sent, self.acknowledged)
        """Up to here an earlier process may have sent them."""

    def _kept(self) -> Iterator[Outgoing]:
        rows = self._database.execute(
            "SELECT sequence, topic, envelope FROM events WHERE sequence > ? ORDER BY sequence",
            (self.acknowledged,),
        )
        for expected, (sequence, topic, envelope) in enumerate(rows, self.acknowledged + 1):
            if sequence != expected:
                problem = f"is damaged (event {expected} is missing)"
                raise SpoolRefused(_refusal(self.path, problem))
            yield Outgoing(parse_topic(topic), envelope)

    def _prepare_to_write(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        # Nothing is synced at a commit: the page cache outlives the process. Syncing at
        # checkpoints keeps the file whole through a power cut, which may cost the newest commits.
        self._database.execute("PRAGMA synchronous = NORMAL")
        # Until this process meets the relay, what it adds was sent by nobody.
        self._database.execute("UPDATE spool SET sent = ?", (self.sent,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _unavailable(self, error: sqlite3.Error) -> SpoolUnavailable:
        return SpoolUnavailable(f"the spool {self.path} cannot be written: {error}")


_OPEN: "weakref.WeakSet[Spool]" = weakref.WeakSet()


def _leave_spools_to_parent() -> None:
    for spool in _OPEN:
        spool.leave_to_parent()


os.register_at_fork(after_in_child=_leave_spools_to_parent)


def _lock(path: Path) -> IO[str]:
    try:
        lock = open(f"{path}.lock", "a")  # noqa: SIM115 - held until the spool is closed
    except OSError as error:
        raise SpoolRefused(_refusal(path, f"cannot be opened: {error.strerror}")) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise SpoolInUse(_refusal(path, "is in use by another emitter")) from None
    return lock


def _create(path: Path, name: str) -> None:
    """Make an empty spool, whole or not at all."""
    draft = Path(f"{path}.new")
    for left_behind in (f"{draft}", f"{draft}-journal", f"{path}-wal", f"{path}-shm"):
        Path(left_behind).unlink(missing_ok=True)
    database = sqlite3.connect(draft, isolation_level=None)
    try:
        database.executescript(_SCHEMA)
        database.execute("INSERT INTO spool VALUES (?, ?, 0, NULL)", (name, time.time_ns()))
    finally:
        database.close()
    draft.rename(path)


def _check_header(path: Path) -> None:
    """Refuse what is not a spool before SQLite opens it, which might write to it."""
    with path.open("rb") as file:
        header = file.read(_VERSIONS.size)
    if len(header) < _VERSIONS.size or not header.startswith(_MAGIC):
        raise SpoolRefused(_refusal(path, "is not an emitter's spool"))
    version, application_id = _VERSIONS.unpack(header)
    if application_id != APPLICATION_ID:
        raise SpoolRefused(_refusal(path, "is another program's database"))
    if version != SCHEMA_VERSION:
        problem = f"has version {version}, and this program knows version {SCHEMA_VERSION}"
        raise SpoolRefused(_refusal(path, problem))


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolRefused(_refusal(path, f"cannot be opened: {error.strerror}")) from None
    except (sqlite3.Error, InvalidTopic) as error:
        raise SpoolRefused(_refusal(path, f"cannot be used: {error}")) from None


def _refusal(path: Path, problem: str) -> str:
    return f"EMITTER_SPOOL: {path} {problem}"
