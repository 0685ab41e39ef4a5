"""The table `once` of a journal: digests of the ids that were taken once, and when."""

import sqlite3
from collections.abc import Iterable

from relay.core.once import MAX_IDS, REMEMBERED_S
from relay.journal.batch import JournalBatch
from relay.journal.format import DamagedContent
from relay.wire.once import KEY_BYTES


def write_once(db: sqlite3.Connection, batches: Iterable[JournalBatch]) -> None:
    """Add the digests of `batches`, in the present transaction."""
    for batch in batches:
        if batch.once:
            db.executemany(
                "INSERT OR REPLACE INTO once VALUES (?, ?)",
                [(digest, batch.heard_at) for digest in batch.once],
            )


def forget_once(db: sqlite3.Connection, now_s: int) -> None:
    """Remove the digests that count no more, in the present transaction."""
    db.execute(
        "DELETE FROM once WHERE taken_at <= ? OR id IN"
        " (SELECT id FROM once ORDER BY taken_at DESC LIMIT -1 OFFSET ?)",
        (now_s - REMEMBERED_S, MAX_IDS),
    )


def read_once(db: sqlite3.Connection) -> list[tuple[bytes, int]]:
    """Return digests and times (Unix seconds), oldest first. Raises `DamagedContent`."""
    rows = db.execute(
        "SELECT id, taken_at FROM"
        " (SELECT id, taken_at FROM once ORDER BY taken_at DESC LIMIT ?) ORDER BY taken_at",
        (MAX_IDS,),
    ).fetchall()
    for digest, taken_at in rows:
        is_digest = isinstance(digest, bytes) and len(digest) == KEY_BYTES
        if not (is_digest and type(taken_at) is int):
            raise DamagedContent("a row of `once` is damaged")
    return rows
