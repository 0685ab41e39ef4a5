"""The tables `emitters` and `tasks` of a journal: the latest number of each emitter, and the latest
state of each task."""

import sqlite3
from collections.abc import Iterable

from relay.journal.batch import JournalBatch
from relay.journal.format import pack_unsigned


def write_latest(db: sqlite3.Connection, batches: Iterable[JournalBatch]) -> None:
    """Write the cursors and tasks of `batches`, in the present transaction."""
    for batch in batches:
        _write_cursors(db, batch)
        _write_tasks(db, batch)


def _write_cursors(db: sqlite3.Connection, batch: JournalBatch) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO emitters VALUES (?, ?, ?, ?, ?)",
        [
            (emitter_id, name, pack_unsigned(epoch), pack_unsigned(sequence), batch.heard_at)
            for emitter_id, name, epoch, sequence in batch.cursors
        ],
    )


def _write_tasks(db: sqlite3.Connection, batch: JournalBatch) -> None:
    for key in batch.forgotten_tasks:
        db.execute("DELETE FROM tasks WHERE topic = ?", (key,))
    for key, (_, stamp, envelope), is_finished, header in batch.tasks:
        # Not REPLACE: the new row needs a new `updated`, which is the order of updates.
        db.execute("DELETE FROM tasks WHERE topic = ?", (key,))
        db.execute(
            "INSERT INTO tasks (topic, stamp, envelope, finished, header) VALUES (?, ?, ?, ?, ?)",
            (key, stamp, envelope, is_finished, header),
        )
