"""The journal holds the ids that were taken once, with the events that they belong to."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.once import REMEMBERED_S
from relay.journal import once_table
from relay.journal.batch import JournalBatch
from tests.relay.journal.journals import NOW_MS, batch, open_journal

NOW_S = NOW_MS // 1000
FIRST, SECOND = b"1" * 16, b"2" * 16


def once(*digests: bytes, at: int = NOW_S) -> JournalBatch:
    return JournalBatch({}, heard_at=at, once=digests)


def test_ids_come_back_in_their_order(path: Path) -> None:
    with closing(open_journal(path)) as journal:
        journal.append(batch(1, 3)._replace(once=[SECOND], heard_at=NOW_S))
        journal.append(once(FIRST, at=NOW_S + 1), once(SECOND, at=NOW_S + 2))
    with closing(open_journal(path)) as journal:
        assert journal.once() == [(FIRST, NOW_S + 1), (SECOND, NOW_S + 2)]


def test_old_ids_are_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_journal(path)) as journal:
        journal.append(once(FIRST), once(SECOND, at=NOW_S + 1))
        journal.forget_silent_emitters(NOW_S + REMEMBERED_S)
        assert journal.once() == [(SECOND, NOW_S + 1)]
        journal.append(once(FIRST, at=NOW_S + 2))
        monkeypatch.setattr(once_table, "MAX_IDS", 1)
        journal.forget_silent_emitters(NOW_S + 2)
        assert journal.once() == [(FIRST, NOW_S + 2)]


@pytest.mark.parametrize("damage", ["x'00', 5", "'text', 5", f"x'{FIRST.hex()}', 'never'"])
def test_a_damaged_table_is_forgotten(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_journal(path)) as journal:
        journal.append(once(SECOND))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"INSERT INTO once VALUES ({damage})")
    with closing(open_journal(path)) as journal:
        assert journal.once() == []
        journal.append(once(FIRST))
    assert "the ids taken once are damaged" in caplog.text


def test_a_journal_of_the_version_before_gets_the_table(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as db, db:
        db.execute("DROP TABLE once")
        db.execute("PRAGMA user_version = 3")
    with closing(open_journal(filled)) as journal:
        assert journal.once() == []
        assert journal.last_offsets["event"] == 9
