"""Rows are read around whatever is damaged."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.journal.stream_rows import StreamRows


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
