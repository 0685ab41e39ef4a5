"""Reading a journal, also beside the relay that writes it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.emitters import Cursor
from relay.journal.file import JournalRefused
from relay.journal.journal import Journal
from relay.journal.reader import LOST_FRAMES, reading_journal
from tests.relay.journal.journals import (
    EMITTER_ID,
    NOW_MS,
    batch,
    event,
    open_journal,
    problems_of,
)


def test_streams_and_emitters_are_listed(filled: Path) -> None:
    with reading_journal(filled) as reader:
        events, tasks = reader.streams()
        [emitter] = reader.emitters()
        assert (reader.epoch() or 0) > NOW_MS
    assert events[:4] == ("event", 1, 9, 3)
    assert events.oldest_at == NOW_MS + 1
    assert events.stored_bytes > 9 * len(event(1)[2])
    assert tasks[:4] == ("task", 1, 1, 1)
    assert emitter.cursor == Cursor(EMITTER_ID, "manager-1", 5, 10)


def test_an_empty_journal_has_empty_streams(path: Path) -> None:
    open_journal(path).close()
    with reading_journal(path) as reader:
        assert [stream[1:] for stream in reader.streams()] == [(1, 0, 0, 0, None, None)] * 2
        assert reader.emitters() == []
    assert problems_of(path) == []


@pytest.mark.parametrize("after", [0, 3, 4, 8, 9, 2**63, 2**64 - 1])
def test_events_follow_any_offset(filled: Path, after: int) -> None:
    with reading_journal(filled) as reader:
        found = list(reader.events("event", after))
    assert [each.offset for each in found] == list(range(after + 1, 10))
    for each in found:
        assert each.frames == event(each.offset)
        assert each.relayed_at == NOW_MS + 1 + (each.offset - 1) // 3 * 3


def test_new_commits_of_the_relay_are_seen(filled: Path) -> None:
    with closing(open_journal(filled)) as journal, reading_journal(filled) as reader:
        assert list(reader.events("event", 9)) == []
        journal.append(batch(10, 2))
        assert [each.offset for each in reader.events("event", 9)] == [10, 11]
        assert reader.stream("event").last_offset == 11


def test_a_snapshot_stands_still_while_the_relay_writes(filled: Path) -> None:
    with closing(open_journal(filled)) as journal, reading_journal(filled) as reader:
        with reader.snapshot():
            before = reader.streams()
            journal.append(batch(10, 2))
            assert reader.streams() == before
        assert reader.stream("event").last_offset == 11


class TestRefusal:
    """A file that is not a journal, or that is damaged."""

    def test_no_file(self, path: Path) -> None:
        with pytest.raises(JournalRefused, match="there is no journal at"), reading_journal(path):
            pass
        assert not path.parent.exists()

    def test_another_programs_database(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.db"
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE notes (text)")
        with pytest.raises(JournalRefused, match="another program's"), reading_journal(path):
            pass

    def test_an_empty_file(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.db"
        path.touch()
        with pytest.raises(JournalRefused, match="not a journal"), reading_journal(path):
            pass

    def test_a_newer_journal(self, filled: Path) -> None:
        with closing(sqlite3.connect(filled)) as db:
            db.execute("PRAGMA user_version = 99")
        with pytest.raises(JournalRefused, match="has version 99"), reading_journal(filled):
            pass

    def test_damage_that_is_met_later(self, journal: Journal, path: Path) -> None:
        journal.append(batch(1))
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE meta SET value = 'soon' WHERE key = 'epoch'")
        with pytest.raises(JournalRefused, match="'soon'"), reading_journal(path) as reader:
            reader.epoch()


class TestDamagedPages:
    """Everything beside a damaged page is read, and the rest is named."""

    ROWS = 40

    @pytest.fixture
    def large(self, path: Path) -> Path:
        """A journal of many pages: two events of about 3,000 bytes in each row."""
        with closing(open_journal(path)) as journal:
            for row in range(self.ROWS):
                journal.append(batch(2 * row + 1, 2, padding=3000))
        return path

    def read(self, path: Path) -> list[int]:
        """Return the offsets that are lost; all others are as they were written."""
        with reading_journal(path) as reader:
            found = list(reader.some_events("event", 0, 2**30, 2**30, 2 * self.ROWS))
        assert [each.offset for each in found] == list(range(1, 2 * self.ROWS + 1))
        for each in found:
            assert each.frames in (LOST_FRAMES, event(each.offset, padding=3000))
        return [each.offset for each in found if each.frames == LOST_FRAMES]

    def test_bytes_inside_a_row(self, large: Path) -> None:
        content = bytearray(large.read_bytes())
        place = content.index(b"id-51") - 1500
        content[place : place + 200] = b"\x5a" * 200
        large.write_bytes(content)
        first, last = self.read(large)
        assert last == first + 1, "one row"
        assert problems_of(large) == [
            f"stream event: {first} to {last} cannot be read: missing or damaged"
        ]

    def test_any_page(self, large: Path) -> None:
        """One leaf holds many rows; one page further down holds a part of one row's events."""
        whole = large.read_bytes()
        costs = []
        for page in range(9, len(whole) // 4096):
            content = bytearray(whole)
            content[page * 4096 : (page + 1) * 4096] = b"\x5a" * 4096
            large.write_bytes(content)
            costs.append(len(self.read(large)))
        assert sorted(costs)[len(costs) // 2] == 2, "most pages hold a part of one row"
        assert max(costs) < 2 * self.ROWS, "and none hides the whole stream"
