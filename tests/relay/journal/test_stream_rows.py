"""Rows are read around whatever is damaged."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.retention import Limits
from relay.journal.file import JournalRefused
from relay.journal.reader import LOST_FRAMES, reading_journal
from relay.journal.stream_rows import StreamRows
from tests.relay.journal.journals import NOW_MS, STREAMS, batch, open_journal


@pytest.mark.parametrize("damaged", [3, 6, 9])
def test_a_damaged_row_is_left_out(filled: Path, damaged: int) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as db:
        db.execute("UPDATE stream_1 SET events = x'00' WHERE last = ?", (damaged,))
        rows = StreamRows(db, "stream_1", "checksum")
        assert (rows.first_offset(), rows.last_offset()) == (1, 9)
        lasts = [row.last_offset for row, _ in rows.whole_rows(0, 9)]
        assert lasts == [last for last in (3, 6, 9) if last != damaged]
        assert [row.last_offset for row, _ in rows.whole_rows(6, 9)] == (
            [] if damaged == 9 else [9]
        )


def test_the_size_of_a_row_is_that_of_its_events(filled: Path) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as db:
        sizes = [size for (size,) in db.execute("SELECT length(events) FROM stream_1")]
        rows = StreamRows(db, "stream_1", "checksum")
        assert [size for _, size in rows.whole_rows(0, 9)] == sizes


@pytest.mark.parametrize("value", ["x", b"x", 1.5, -1, 2**62])
@pytest.mark.parametrize("column", ["first", "relayed_at", "events", "checksum"])
@pytest.mark.parametrize("damaged", [3, 6, 9])
def test_a_value_of_another_type_damages_its_row_alone(
    filled: Path, damaged: int, column: str, value: object
) -> None:
    """SQLite keeps values of any type in any column, and damage may change the type."""
    with closing(sqlite3.connect(filled, isolation_level=None)) as db:
        db.execute(f"UPDATE stream_1 SET {column} = ? WHERE last = ?", (value, damaged))
    with closing(open_journal(filled)) as journal:
        journal.append(batch(10))
        lost = [each for each in range(1, 11) if each not in readable(filled)]
        assert lost == list(range(damaged - 2, damaged + 1))
        journal.retire(Limits(0, 0), NOW_MS + 10**9)
        assert readable(filled) == [10]


def readable(path: Path) -> list[int]:
    """The offsets of the events that can be read."""
    with reading_journal(path) as reader:
        assert [each.name for each in reader.streams()] == list(STREAMS)
        return [each.offset for each in reader.events("event", 0) if each.frames != LOST_FRAMES]


def test_a_stream_whose_name_cannot_be_read_is_not_begun_anew(filled: Path) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as db:
        db.execute("UPDATE streams SET name = x'ff' WHERE name = 'event'")
    with pytest.raises(JournalRefused, match="a row of `streams` is damaged"):
        open_journal(filled)
