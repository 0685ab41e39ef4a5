"""The journal keeps exactly the events that were committed."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import relay.journal.journal
from relay.core.emitters import Cursor
from relay.core.retention import Limits
from relay.journal.batch import JournalBatch, Run
from relay.journal.file import note_beside
from relay.journal.journal import MAX_RETIRED_ROWS, SILENT_EMITTER_S, Journal, JournalUnavailable
from relay.journal.reader import StoredTask, reading_journal
from relay.journal.state import NEVER_MS, StreamState
from relay.journal.tail_note import StreamSize, TailNoteFile
from relay.wire.header import Stamp, pack_stamp, unpack_stamp
from tests.relay.journal.journals import (
    EMITTER_ID,
    NOW_MS,
    UNLIMITED_BYTES,
    batch,
    event,
    offsets,
    open_journal,
    published,
    read,
)

STAMP = pack_stamp(Stamp(1, 1, NOW_MS))


class TestAppendAndRead:
    """Committed events are replayed as they were published."""

    def test_a_new_journal_holds_nothing(self, journal: Journal) -> None:
        for stream in ("event", "task"):
            state = journal.streams[stream]
            assert state == StreamState(1, 0, 0, NEVER_MS, retired=0)
            assert read(journal, stream, 0, 10, 100) == []
        assert (journal.cursors(), list(journal.tasks())) == ([], [])

    def test_appended_events_are_read_with_their_stamps(self, journal: Journal) -> None:
        journal.append(batch(1, 2))
        journal.append(batch(3, relayed_at=NOW_MS + 9))
        assert read(journal, "event", 0, 10, UNLIMITED_BYTES) == [
            (
                event(number)[0],
                pack_stamp(Stamp(journal.epoch, number, relayed_at)),
                event(number)[2],
            )
            for number, relayed_at in ((1, NOW_MS), (2, NOW_MS), (3, NOW_MS + 9))
        ]
        assert journal.streams["event"][:2] == (1, 3)
        assert read(journal, "task", 0, 10, UNLIMITED_BYTES) == []

    def test_streams_have_offsets_of_their_own(self, journal: Journal) -> None:
        task = event(2, topic="task:1")
        runs = {"event": Run(1, NOW_MS, [event(1)]), "task": Run(1, NOW_MS, [task])}
        journal.append(JournalBatch(runs))
        [(topic, stamp, _)] = read(journal, "task", 0, 10, UNLIMITED_BYTES)
        assert (topic, unpack_stamp(stamp).offset) == (b"task:1", 1)
        assert offsets(journal) == [1]

    @pytest.mark.parametrize(
        ("after", "limit", "expected"),
        [
            (0, 4, [1, 2, 3, 4]),
            (2, 100, [3, 4, 5, 6, 7, 8, 9]),
            (3, 1, [4]),
            (5, 3, [6, 7, 8]),
            (9, 10, []),
            (100, 10, []),
            (2**63, 10, []),
            (2**64 - 1, 10, []),
        ],
    )
    def test_a_page_begins_after_any_offset(
        self, journal: Journal, after: int, limit: int, expected: list[int]
    ) -> None:
        for first in (1, 4, 7):
            journal.append(batch(first, 3))
        assert offsets(journal, after, limit) == expected

    def test_a_page_has_about_so_many_bytes_and_one_event_at_least(self, journal: Journal) -> None:
        journal.append(batch(1, 10, padding=1000))
        [one, *_] = read(journal, "event", 0, 10, UNLIMITED_BYTES)
        size = sum(map(len, one))

        def count(max_bytes: int) -> int:
            return len(read(journal, "event", 0, 10, max_bytes))

        assert (count(1), count(size), count(size * 3 - 1), count(size * 3 + 5)) == (1, 1, 2, 3)

    @settings(max_examples=15)
    @given(
        st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(1, 6), st.integers(1, 999)
    )
    def test_pages_bring_everything_once_and_in_order(
        self, counts: list[int], limit: int, max_bytes: int
    ) -> None:
        with journal_of_its_own() as journal:
            last = 0
            for count in counts:
                journal.append(batch(last + 1, count))
                last += count
            found: list[int] = []
            while page := read(journal, "event", len(found), limit, max_bytes):
                assert len(page) <= limit
                found += [unpack_stamp(stamp).offset for _, stamp, _ in page]
            assert found == list(range(1, last + 1))

    @pytest.mark.parametrize("checksum", ["checksum", "NULL"])
    @pytest.mark.parametrize(
        "damage",
        [b"", b"\xc1", b"\x01", b"\x93\xc4\x00", b"\x91\xc4\x00", b"\x93\x01\x02\x03"],
    )
    def test_a_damaged_row_is_named_and_the_events_behind_it_come(
        self, journal: Journal, path: Path, damage: bytes, checksum: str
    ) -> None:
        """Also in a row that an older version wrote without a checksum."""
        for first in (1, 4, 7):
            journal.append(batch(first, 3))
        with closing(sqlite3.connect(path)) as other, other:
            other.execute(
                f"UPDATE stream_1 SET events = ?, checksum = {checksum} WHERE last = 6", (damage,)
            )
        with published(journal) as found:
            page = found.read("event", 1, 10, UNLIMITED_BYTES)
            assert found.damaged == {"event": {4, 5, 6}, "task": set()}
        assert [unpack_stamp(stamp).offset for _, stamp, _ in page] == list(range(2, 10))
        lost = [unpack_stamp(stamp).offset for topic, stamp, envelope in page if not topic]
        assert lost == [4, 5, 6]
        assert not any(envelope for topic, _, envelope in page if not topic)
        assert offsets(journal, 4, 2) == [5, 6]

    def test_rows_that_are_gone_are_lost_and_retired_ones_are_not(
        self, journal: Journal, path: Path
    ) -> None:
        for first in range(1, 10, 3):
            journal.append(batch(first, 3, relayed_at=NOW_MS + first))
        journal.retire(Limits(0, UNLIMITED_BYTES), NOW_MS + 3)
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("DELETE FROM stream_1 WHERE last = 9")
        page = read(journal, "event", 0, 10, UNLIMITED_BYTES)
        assert [(unpack_stamp(stamp).offset, topic) for topic, stamp, _ in page] == [
            (4, b"event:x"),
            (5, b"event:x"),
            (6, b"event:x"),
            (7, b""),
            (8, b""),
            (9, b""),
        ]


@contextmanager
def journal_of_its_own() -> Iterator[Journal]:
    """A journal in a directory of its own, for tests that make many."""
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(open_journal(Path(directory) / "journal.db")) as journal,
    ):
        yield journal


def test_a_stream_that_is_configured_later_begins_then(path: Path) -> None:
    with closing(Journal(path, ("task",), power_safe=False)) as journal:
        assert list(journal.streams) == ["task"]
    with closing(Journal(path, ("task", "audit", "event"), power_safe=False)) as journal:
        journal.append(batch(1))
    with closing(Journal(path, ("event",), power_safe=False)) as journal:
        assert list(journal.streams) == ["event"]
        assert offsets(journal) == [1]


class TestCursors:
    """The last sequence number of each emitter."""

    def test_a_cursor_is_replaced_by_the_next(self, journal: Journal) -> None:
        journal.append(batch(1, 2))
        journal.append(batch(3))
        assert journal.cursors() == [Cursor(EMITTER_ID, "manager-1", 5, 3)]

    def test_the_greatest_numbers_are_kept(self, journal: Journal) -> None:
        greatest = Cursor(b"\xff" * 16, "größer", 2**64 - 1, 2**64 - 1)
        journal.append(JournalBatch({}, [greatest]))
        assert journal.cursors() == [greatest]

    def test_silent_emitters_are_forgotten(self, journal: Journal, path: Path) -> None:
        journal.append(batch(1))
        journal.append(
            JournalBatch({}, [Cursor(b"f" * 16, "other", 1, 1)], heard_at=NOW_MS // 1000)
        )
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE emitters SET heard_at = 1000 WHERE id = ?", (EMITTER_ID,))
        assert journal.forget_silent_emitters(1000 + SILENT_EMITTER_S) == []
        knows_all = [journal.state.knows_all_emitters]
        assert journal.forget_silent_emitters(1001 + SILENT_EMITTER_S) == [EMITTER_ID]
        assert [each.name for each in journal.cursors()] == ["other"]
        knows_all.append(journal.state.knows_all_emitters)
        journal.close()
        with closing(open_journal(path)) as later:
            knows_all.append(later.state.knows_all_emitters)
        assert knows_all == [True, False, False]

    def test_there_are_at_most_so_many(
        self, journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relay.journal.journal, "MAX_EMITTERS", 2)
        ids = [bytes([number]) * 16 for number in range(4)]
        journal.append(JournalBatch({}, [Cursor(each, "m", 1, 1) for each in ids]))
        with closing(sqlite3.connect(path)) as other, other:
            for age, each in enumerate(ids):
                other.execute("UPDATE emitters SET heard_at = ? WHERE id = ?", (9000 - age, each))
        assert sorted(journal.forget_silent_emitters(9000)) == ids[2:]
        assert {each.emitter_id for each in journal.cursors()} == set(ids[:2])


class TestTasks:
    """The latest state of each task, until it is forgotten."""

    def test_states_survive_oldest_update_first_and_are_forgotten(self, path: Path) -> None:
        def state(topic: str, mark: bytes, is_finished: bool = False) -> StoredTask:
            return StoredTask(topic, (topic.encode(), STAMP, mark), is_finished, b"")

        with closing(open_journal(path)) as journal:
            journal.append(batch(1, tasks=(state("task:1", b"a"), state("task:2", b"b"))))
            journal.append(batch(2, tasks=(state("task:3", b"c"), state("task:1", b"d", True))))
            journal.append(batch(3)._replace(forgotten_tasks=["task:2"]))
        with closing(open_journal(path)) as journal:
            assert list(journal.tasks()) == [
                state("task:3", b"c"),
                state("task:1", b"d", True),
            ]


class TestRetirement:
    """Old rows are removed, and the first offset moves."""

    def filled(self, path: Path, rows: int = 5) -> Journal:
        """Rows of ten events each, relayed a second apart."""
        journal = open_journal(path)
        for row in range(rows):
            journal.append(batch(10 * row + 1, 10, relayed_at=NOW_MS + 1000 * row))
        return journal

    def test_by_age(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            journal.retire(Limits(2000, UNLIMITED_BYTES), NOW_MS + 4000)
            state = journal.streams["event"]
            assert (state.first_offset, state.last_offset, state.retired) == (21, 50, 20)
            assert state.oldest_at == NOW_MS + 2000
            assert offsets(journal) == list(range(21, 51))

    def test_by_bytes(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            size = journal.streams["event"].stored_bytes
            journal.retire(Limits(10**9, size * 2 // 5 + 5), NOW_MS)
            state = journal.streams["event"]
            assert (state.first_offset, state.last_offset, state.retired) == (31, 50, 30)
            assert state.stored_bytes <= size * 2 // 5 + 5

    def test_a_stream_may_have_limits_of_its_own(self, path: Path) -> None:
        much, little = Limits(10**9, UNLIMITED_BYTES), Limits(2000, UNLIMITED_BYTES)
        with closing(self.filled(path)) as journal:
            journal.retire(much._replace(exceptions={"task": little}), NOW_MS + 4000)
            assert journal.streams["event"].first_offset == 1
            journal.retire(much._replace(exceptions={"event": little}), NOW_MS + 4000)
            assert journal.streams["event"].first_offset == 21

    def test_the_newest_row_stays_so_that_the_stream_keeps_its_place(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert journal.streams["event"][:2] == (41, 50)
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert journal.streams["event"].first_offset == 41
        with closing(open_journal(path)) as journal:
            assert journal.streams["event"][:2] == (41, 50)

    def test_events_within_the_limits_stay(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            before = journal.streams["event"]
            journal.retire(Limits(4000, UNLIMITED_BYTES), NOW_MS + 4000)
            assert journal.streams["event"] == before

    def test_a_bounded_part_is_removed_at_a_time(self, path: Path) -> None:
        rows = MAX_RETIRED_ROWS + 10
        with closing(self.filled(path, rows)) as journal:
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert journal.streams["event"].first_offset == 10 * MAX_RETIRED_ROWS + 1
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert journal.streams["event"].first_offset == 10 * (rows - 1) + 1

    def test_the_next_relay_finds_the_same_state(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            journal.retire(Limits(2500, UNLIMITED_BYTES), NOW_MS + 4000)
            journal.append(batch(51, relayed_at=NOW_MS + 9000))
            state = journal.streams["event"]
        with closing(open_journal(path)) as journal:
            found = journal.streams["event"]
        assert found == state._replace(retired=0)

    def test_reading_goes_on_at_the_first_offset(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            journal.retire(Limits(2000, UNLIMITED_BYTES), NOW_MS + 4000)
            assert offsets(journal, after=3, limit=2) == [21, 22]


class TestNoRoom:
    """A journal that is full or locked."""

    def test_a_batch_that_does_not_fit_leaves_no_trace(self, path: Path) -> None:
        with closing(open_journal(path)) as journal:
            journal.append(batch(1, 3))
            before = journal.streams["event"]
            (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
            journal._db.execute(f"PRAGMA max_page_count = {pages}")
            with pytest.raises(JournalUnavailable, match=r"journal\.db cannot be written: .*full"):
                journal.append(batch(4, 200, padding=1000)._replace(forgotten_tasks=["task:1"]))
            assert journal.streams["event"] == before
            assert journal.cursors() == [Cursor(EMITTER_ID, "manager-1", 5, 3)]
            assert offsets(journal) == [1, 2, 3]
            journal._db.execute(f"PRAGMA max_page_count = {pages + 100}")
            journal.probe()
            journal.append(batch(4, 200, padding=1000))
            assert offsets(journal) == list(range(1, 204))
        with closing(open_journal(path)) as journal:
            assert journal.streams["event"].last_offset == 203

    def test_a_statement_that_fails_takes_its_whole_batch_with_it(self, journal: Journal) -> None:
        journal.append(batch(1))
        state = StoredTask("task:1", (b"task:1", b"stamp", b"envelope"), False, b"")
        with pytest.raises(JournalUnavailable, match="UNIQUE"):
            journal.append(batch(1, tasks=(state,)))
        assert list(journal.tasks()) == []
        journal.append(batch(2))
        assert offsets(journal) == [1, 2]

    def test_a_journal_that_another_program_has_locked(self, journal: Journal, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalUnavailable, match="locked"):
                journal.append(batch(1))
            with pytest.raises(JournalUnavailable, match="locked"):
                journal.retire(Limits(-1, -1), NOW_MS)
            with pytest.raises(JournalUnavailable, match="locked"):
                journal.forget_silent_emitters(0)
            with pytest.raises(JournalUnavailable, match="locked"):
                journal.probe()
            assert journal.streams["event"] == StreamState(1, 0, 0, NEVER_MS, 0)
        journal.append(batch(1))
        assert offsets(journal) == [1]


class TestWriteAheadLog:
    """It is bounded, unless another program reads an older state."""

    @pytest.fixture(autouse=True)
    def _bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(relay.journal.journal, "MAX_WAL_BYTES", 2**20)

    def fill(self, journal: Journal) -> int:
        """Append several MiB, with a heartbeat now and then; return the size of the log."""
        for _ in range(10):
            for _ in range(5):
                last = journal.streams["event"].last_offset
                journal.append(batch(last + 1, 10, padding=10_000))
            journal.bound_wal()
        return Path(f"{journal.path}-wal").stat().st_size

    def test_a_reader_that_stands_still_does_not_make_it_grow(self, journal: Journal) -> None:
        """Such as `journal tail` into a pipe that nobody reads."""
        journal.append(batch(1, 10))
        with reading_journal(journal.path) as reader:
            rows = reader.rows("event")
            assert next(rows)
            assert self.fill(journal) <= 2 * 2**20

    def test_one_that_holds_an_older_state_is_named(
        self, journal: Journal, caplog: pytest.LogCaptureFixture
    ) -> None:
        with reading_journal(journal.path) as reader, reader.snapshot():
            reader.streams()
            assert self.fill(journal) > 4 * 2**20
        assert "keeps reading an older state" in caplog.text
        journal.bound_wal()
        assert not Path(f"{journal.path}-wal").stat().st_size


class TestStart:
    """The size of a stream is noted, so that a start reads few rows."""

    def noted(self, path: Path, first: int) -> None:
        with closing(TailNoteFile(note_beside(path))) as note:
            found = note.read()
            assert found is not None
            note.write(found._replace(sizes={"event": StreamSize(first, 123)}))

    def test_a_noted_size_is_not_added_up(self, filled: Path) -> None:
        self.noted(filled, 1)
        with closing(open_journal(filled)) as journal:
            assert journal.streams["event"].stored_bytes == 123

    def test_one_of_other_rows_is(self, filled: Path) -> None:
        with closing(open_journal(filled)) as journal:
            size = journal.streams["event"].stored_bytes
        self.noted(filled, 4)
        with closing(open_journal(filled)) as journal:
            assert journal.streams["event"].stored_bytes == size
        note_beside(filled).unlink()
        with closing(open_journal(filled)) as journal:
            assert journal.streams["event"].stored_bytes == size

    def test_retention_is_noted(self, filled: Path) -> None:
        with closing(open_journal(filled)) as journal:
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            state = journal.streams["event"]
            assert journal.note.sizes["event"] == (7, state.stored_bytes)
