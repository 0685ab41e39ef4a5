"""Rebuilds the tables of cursors and tasks from the events, if one of them is damaged."""

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from relay.core.emitters import Cursor
from relay.core.retained import task_key, topic_of
from relay.journal.format import (
    DamagedContent,
    create_tables,
    note_lost_emitters,
    pack_unsigned,
)
from relay.journal.once_table import read_once
from relay.journal.reader import JournaledEvent, JournalReader, StoredTask
from relay.shared.sqlite_file import is_damage, transaction
from relay.wire.envelope import is_finished_task, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Stamp, pack_stamp, unpack_header, unpack_stamp
from relay.wire.topics import TASK, decode_topic

logger = logging.getLogger(__name__)


def repair_tables(db: sqlite3.Connection, reader: JournalReader, path: Path, now_s: int) -> None:
    """Rebuild `emitters` and `tasks` of the journal at `path` if they cannot be read.

    Events hold the numbers of their emitters, and the states of tasks. Names of emitters and
    states that retention has removed are not found again: emitters say hello, and tasks go on.
    Raises `sqlite3.DatabaseError` for a file that cannot be mended so.
    """
    if _is_damaged(reader.emitters):
        logger.error("%s: the emitters' cursors are damaged: rebuilt from the events", path)
        _rebuild(
            db,
            "emitters",
            "INSERT INTO emitters VALUES (?, ?, ?, ?, ?)",
            [
                (emitter_id, name, pack_unsigned(epoch), pack_unsigned(sequence), now_s)
                for emitter_id, name, epoch, sequence in _cursors_of(reader).values()
            ],
        )
    if _is_damaged(lambda: list(reader.tasks())):
        logger.error("%s: the states of tasks are damaged: rebuilt from the events", path)
        _rebuild(
            db,
            "tasks",
            "INSERT INTO tasks (topic, stamp, envelope, finished, header) VALUES (?, ?, ?, ?, ?)",
            [
                (key, stamp, envelope, is_finished, header)
                for key, (_, stamp, envelope), is_finished, header in _tasks_of(reader).values()
            ],
        )
    if _is_damaged(lambda: read_once(db)):
        logger.error("%s: the ids taken once are damaged: they are forgotten", path)
        _rebuild(db, "once", "INSERT INTO once VALUES (?, ?)", ())
    _add_headers(db, reader)
    _add_users(db)


def _add_users(db: sqlite3.Connection) -> None:
    """Add the users to the keys of tasks, which earlier versions kept by their topics alone."""
    found = db.execute(
        "SELECT topic, envelope FROM tasks WHERE instr(topic, char(10)) = 0"
    ).fetchall()
    keys = []
    for topic, envelope in found:
        try:
            username = unpack_envelope(envelope, TASK).username
        except WireError:
            continue
        keys.append((task_key(topic, username or ""), topic))
    if keys:
        with transaction(db):
            db.executemany("UPDATE tasks SET topic = ? WHERE topic = ?", keys)


def _add_headers(db: sqlite3.Connection, reader: JournalReader) -> None:
    """Add the headers that earlier versions have not stored, as far as the events are there."""
    found = db.execute("SELECT topic, stamp, envelope FROM tasks WHERE header IS NULL").fetchall()
    headers = []
    for topic, stamp, envelope in found:
        offset = unpack_stamp(stamp).offset
        header = b""
        for event in reader.some_events(TASK, offset - 1, 1, 1, offset):
            # Another event has the offset if the journal was rolled back since.
            if (event.frames[0], event.frames[2]) == (topic_of(topic).encode(), envelope):
                header = event.frames[1]
        headers.append((header, topic))
    if headers:
        with transaction(db):
            db.executemany("UPDATE tasks SET header = ? WHERE topic = ?", headers)


def _rebuild(
    db: sqlite3.Connection, table: str, insert: str, rows: Iterable[tuple[object, ...]]
) -> None:
    """Put `rows` into a new table in the place of the damaged one."""
    with transaction(db):
        db.execute(f"DROP TABLE {table}")
        create_tables(db)
        if table == "emitters":
            # Retention may have removed all events of some.
            note_lost_emitters(db)
        db.executemany(insert, rows)


def _is_damaged(read: object) -> bool:
    assert callable(read)
    try:
        read()
    except DamagedContent:
        return True
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return True
    return False


def _events(reader: JournalReader) -> Iterator[tuple[str, JournaledEvent]]:
    for stream in reader.stream_names:
        for event in reader.events(stream, 0):
            if event.frames[0]:
                yield stream, event


def _cursors_of(reader: JournalReader) -> dict[bytes, Cursor]:
    cursors: dict[bytes, Cursor] = {}
    for _, event in _events(reader):
        if not event.frames[1]:
            continue
        emitter_id, epoch, sequence = unpack_header(event.frames[1])
        known = cursors.get(emitter_id)
        if known is None or (known.epoch, known.sequence) < (epoch, sequence):
            cursors[emitter_id] = Cursor(emitter_id, emitter_id.hex(), epoch, sequence)
    return cursors


def _tasks_of(reader: JournalReader) -> dict[str, StoredTask]:
    origin = reader.origin()
    tasks: dict[str, StoredTask] = {}
    for stream, event in _events(reader):
        if stream != TASK:
            continue
        topic_frame, header, payload = event.frames
        try:
            envelope = unpack_envelope(payload, TASK)
            key = task_key(decode_topic(topic_frame).text, envelope.username or "")
            is_finished = is_finished_task(envelope)
        except WireError:
            continue
        stamp = Stamp(0 if origin is None else origin.epoch, event.offset, event.relayed_at)
        # Removed first, so that the dict is in the order of the last updates.
        tasks.pop(key, None)
        frames = (topic_frame, pack_stamp(stamp), payload)
        tasks[key] = StoredTask(key, frames, is_finished, header)
    return tasks
