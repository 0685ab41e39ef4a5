"""Rows survive packing, and damaged rows are found."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.journal.format import (
    JOURNAL_FORMAT,
    DamagedContent,
    pack_events,
    pack_unsigned,
    prepare,
    stream_tables,
    unpack_events,
    unpack_unsigned,
)
from relay.journal.journal import Journal
from relay.wire.header import ReceivedFrames

received = st.tuples(st.binary(), st.binary(), st.binary())


@given(st.lists(received))
def test_events_survive_a_row(events: list[ReceivedFrames]) -> None:
    assert list(unpack_events(pack_events(events))) == events


@given(st.binary(max_size=60))
def test_any_bytes_are_events_or_damaged(packed: bytes) -> None:
    try:
        events = list(unpack_events(packed))
    except DamagedContent:
        return
    assert all(isinstance(frame, bytes) for each in events for frame in each)


@given(st.integers(0, 2**64 - 1))
def test_unsigned_numbers_survive_and_keep_their_order(number: int) -> None:
    packed = pack_unsigned(number)
    assert (len(packed), unpack_unsigned(packed)) == (8, number)
    assert (packed < pack_unsigned(2**63)) == (number < 2**63)


@pytest.mark.parametrize(("power_safe", "synchronous"), [(True, 2), (False, 1)])
def test_commits_wait_for_the_disk_if_they_have_to_survive_a_power_cut(
    path: Path, power_safe: bool, synchronous: int
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        prepare(db, ("event",), power_safe=power_safe)
        assert db.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_only_missing_tables_are_created(journal: Journal, path: Path) -> None:
    assert journal.epoch
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        before = db.execute("PRAGMA data_version").fetchone()
        prepare(db, ("event", "task"), power_safe=False)
        assert not db.total_changes
        assert db.execute("PRAGMA data_version").fetchone() == before
        prepare(db, ("event", "audit"), power_safe=False)
        assert stream_tables(db).keys() == {"event", "task", "audit"}
        assert db.execute("PRAGMA user_version").fetchone() == (JOURNAL_FORMAT.version,)
