"""The journal's file format: tables, the layout of a row, and the assumptions about crashes.

A journal is a SQLite database in WAL mode, with `application_id` 0x45564A4C ("EVJL") and the schema
version in `user_version`. One transaction holds one batch of the relay, and one row of a stream's
table holds the events that the batch brought to the stream:

    stream_{id}, one table for each stream
    ┌───────────────┬──────────────┬───────────────┬───────────────────────────────┬──────────┐
    │ last          │ first        │ relayed_at    │ events                        │ checksum │
    │ INTEGER, key  │ INTEGER      │ INTEGER       │ BLOB                          │ INTEGER  │
    │ offset of the │ offset of    │ Unix time, ms │ msgpack array of binary items,│ CRC-32   │
    │ last event    │ the first    │               │ three for each event:         │          │
    │               │              │               │ topic, header, envelope, …    │          │
    └───────────────┴──────────────┴───────────────┴───────────────────────────────┴──────────┘
    A header has 33 bytes, or none if the event is not tracked. The offsets of the rows are
    contiguous: `first` is 1 more than `last` of the row before. The checksum is that of `last`,
    `first` and `relayed_at` (8 bytes each, big-endian) and `events`. Version 1 had none: it is
    NULL in rows of that version, which are read unchecked.

    streams     id INTEGER, name TEXT
    emitters    id BLOB (16 bytes), name TEXT, epoch BLOB, sequence BLOB, heard_at INTEGER (Unix time, s)
                epoch and sequence have 8 bytes, big-endian: SQLite's integers are signed.
    tasks       updated INTEGER (ascending), topic TEXT, stamp BLOB, envelope BLOB, finished INTEGER
                The latest state of each task, as it was published. `topic` is the topic, a newline
                and the user.
    once        id BLOB (16 bytes, digest of an id that is taken once), taken_at INTEGER (Unix time, s)
    meta        key TEXT, value TEXT
                epoch     the epoch of every stream; `relay.core.epochs` chooses it
                previous  the epoch before, of this journal or of one that was lost; or missing
                began     JSON, stream to the last offset that both epochs share
                boot_id   the machine's boot id while a relay with durability `process` has the file
                          open; empty otherwise; "a copy" in a copy
                noted     the machine's boot id while a relay has the file open; empty otherwise
                proof_key the secret of the relay's proofs of acknowledgements, 64 hexadecimal digits
                probe     zeros that are written and removed to find out whether there is room

journal.db-tail, beside the file, notes the epoch and the newest row of each stream after each
commit: see `relay.journal.tail_note`.

Crashes. SQLite undoes a transaction that was interrupted, so that events, cursors and tasks agree.
When the process is killed, every committed transaction is in the file or in the `-wal` file beside
it. When the machine goes down, the newest transactions may be missing with durability `process`
(`synchronous = NORMAL`), and none with `power` (`FULL`). A boot id that is not the machine's, or
"a copy", therefore means that acknowledged events may be missing and that their offsets would be
given again: the next relay starts a new epoch. So does a note whose rows the file no longer has, and
a missing note while `noted` is the machine's boot id: the file, or the write-ahead log, was lost,
damaged or replaced. A damaged page or a damaged row is never repaired.
"""  # noqa: E501 - the table reads best in one line each

import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

import msgpack

from relay.shared.sqlite_file import FileFormat, transaction
from relay.wire.header import ReceivedFrames

JOURNAL_FORMAT = FileFormat(application_id=0x45564A4C, version=4)
A_COPY = "a copy"
"""The boot id in a copy."""
MAX_OFFSET = 2**63 - 1
"""SQLite's greatest integer."""
ALL_EMITTERS = "all_emitters"
"""The key in `meta` that is there while the cursors of all emitters are, of which there was ever an
event."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS emitters (
    id BLOB PRIMARY KEY, name TEXT NOT NULL, epoch BLOB NOT NULL, sequence BLOB NOT NULL,
    heard_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks (
    updated INTEGER PRIMARY KEY, topic TEXT NOT NULL UNIQUE, stamp BLOB NOT NULL,
    envelope BLOB NOT NULL, finished INTEGER NOT NULL, header BLOB
);
CREATE TABLE IF NOT EXISTS once (id BLOB PRIMARY KEY, taken_at INTEGER NOT NULL) WITHOUT ROWID;
"""
_STREAM_TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    last INTEGER PRIMARY KEY, first INTEGER NOT NULL, relayed_at INTEGER NOT NULL,
    events BLOB NOT NULL, checksum INTEGER
)
"""
_ROW_NUMBERS = struct.Struct("!qqq")

# Expressions for the columns of a stream's row. SQLite keeps values of any type in any column, and
# damage may change a type: what is read is always of the right type, and the checksum tells.
FIRST = "CASE WHEN typeof(first) = 'integer' AND first BETWEEN 1 AND last THEN first ELSE last END"
RELAYED_AT = "CASE WHEN typeof(relayed_at) = 'integer' THEN max(relayed_at, 0) ELSE 0 END"
EVENTS = "ifnull(CAST(events AS BLOB), x'')"
CHECKSUM = "CAST(checksum AS INTEGER) & 0xFFFFFFFF"
"""NULL in rows of version 1."""


class DamagedContent(Exception):  # noqa: N818 - clear without a suffix
    """A value that no relay has written, although SQLite finds the file consistent."""


def prepare(db: sqlite3.Connection, streams: Iterable[str], *, power_safe: bool) -> None:
    """Set the durability of commits, and create the missing tables.

    Writes nothing if no table is missing, so that a journal on a full disk can be opened.
    """
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == JOURNAL_FORMAT.version and set(streams) <= stream_tables(db).keys():
        return
    # One transaction: a relay that is killed in it leaves a file without tables, which is new.
    with transaction(db):
        create_tables(db)
        if version == 1:
            for table in stream_tables(db).values():
                db.execute(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER")
        if version in (1, 2):
            db.execute("ALTER TABLE tasks ADD COLUMN header BLOB")
        if version == 0:
            db.execute("INSERT INTO meta VALUES (?, '')", (ALL_EMITTERS,))
        for stream in streams:
            db.execute("INSERT OR IGNORE INTO streams (name) VALUES (?)", (stream,))
        for table in stream_tables(db).values():
            db.execute(_STREAM_TABLE.format(table=table))
        db.execute(f"PRAGMA application_id = {JOURNAL_FORMAT.application_id}")
        db.execute(f"PRAGMA user_version = {JOURNAL_FORMAT.version}")


def create_tables(db: sqlite3.Connection) -> None:
    """Create the missing tables that are not streams, in the present transaction."""
    for statement in _SCHEMA.split(";"):
        db.execute(statement)


def note_lost_emitters(db: sqlite3.Connection) -> None:
    """Note, in the present transaction, that the cursors of some emitters are gone."""
    db.execute("DELETE FROM meta WHERE key = ?", (ALL_EMITTERS,))


def stream_tables(db: sqlite3.Connection) -> dict[str, str]:
    """Return the name of each stream's table by stream. Raises `DamagedContent`."""
    tables = dict(db.execute("SELECT name, 'stream_' || id FROM streams"))
    if not all(isinstance(name, str) for name in tables):
        raise DamagedContent("a row of `streams` is damaged")
    return tables


def row_checksum(last: int, first: int, relayed_at: int, events: bytes) -> int:
    """Return the checksum of a row."""
    return zlib.crc32(events, zlib.crc32(_ROW_NUMBERS.pack(last, first, relayed_at)))


def pack_events(events: Iterable[ReceivedFrames]) -> bytes:
    """Return the `events` of a row."""
    packed: bytes = msgpack.packb(list(chain.from_iterable(events)))
    return packed


def unpack_events(packed: bytes) -> Iterator[ReceivedFrames]:
    """Yield the events in the `events` of a row. Raises `DamagedContent`."""
    try:
        frames = msgpack.unpackb(packed)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise DamagedContent(f"a row is damaged: {error}") from None
    if not isinstance(frames, list) or len(frames) % 3 or set(map(type, frames)) - {bytes}:
        raise DamagedContent("a row is damaged: it does not hold events")
    following = iter(frames)
    return zip(following, following, following, strict=True)


def pack_unsigned(number: int) -> bytes:
    """Return `number`, of up to 64 bits, as `emitters` holds it."""
    return number.to_bytes(8)


def unpack_unsigned(packed: bytes) -> int:
    """Return the number in a column of `emitters`."""
    return int.from_bytes(packed)
