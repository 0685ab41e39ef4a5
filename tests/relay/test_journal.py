"""The journal keeps what was committed, and is never more than what was."""

import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import relay.journal
import relay.journal_file
from relay.core.emitters import Cursor
from relay.core.retained import Item
from relay.core.retention import Limits
from relay.journal import (
    RETIRED_AT_ONCE,
    SILENT_EMITTER_S,
    Batch,
    Journal,
    JournalUnavailable,
    Run,
    StreamState,
    TaskChange,
)
from relay.journal_file import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    Entry,
    JournalRefused,
    pack_entries,
    unpack_entries,
)
from relay.wire.header import Stamp, pack_stamp, unpack_stamp
from tests.relay.journals import (
    EMITTER_ID,
    NOW_MS,
    batch,
    entry,
    in_killed_process,
    open_journal,
)
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_for

UNLIMITED_BYTES = 2**30


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that somebody else holds stays held in these tests."""
    monkeypatch.setattr(relay.journal_file, "BUSY_TIMEOUT_S", 0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(open_journal(path)) as journal:
        yield journal


def offsets(journal: Journal, after: int = 0, limit: int = 4096) -> list[int]:
    items = journal.read("event", after, limit, UNLIMITED_BYTES)
    return [unpack_stamp(item.stamp).offset for item in items]


def bytes_of(directory: Path) -> dict[str, bytes]:
    """The files of a journal that hold events."""
    return {
        each.name: each.read_bytes()
        for each in directory.iterdir()
        if each.name in ("journal.db", "journal.db-wal") and each.stat().st_size
    }


class TestAppendAndRead:
    """What was committed comes back as it went out."""

    def test_a_new_journal_holds_nothing(self, journal: Journal) -> None:
        for stream in ("event", "task"):
            state = journal.streams[stream]
            assert (state.low, state.tip, state.stored_bytes, state.retired) == (1, 0, 0, 0)
            assert journal.read(stream, 0, 10, 100) == []
        assert (journal.cursors(), list(journal.tasks())) == ([], [])

    def test_what_was_appended_is_read_with_its_stamp(self, journal: Journal) -> None:
        journal.append(batch(1, 2))
        journal.append(batch(3, relayed_at=NOW_MS + 9))
        assert journal.read("event", 0, 10, UNLIMITED_BYTES) == [
            Item(
                entry(number).topic,
                pack_stamp(Stamp(journal.epoch, number, relayed_at)),
                entry(number).envelope,
            )
            for number, relayed_at in ((1, NOW_MS), (2, NOW_MS), (3, NOW_MS + 9))
        ]
        assert (journal.streams["event"].low, journal.streams["event"].tip) == (1, 3)
        assert journal.read("task", 0, 10, UNLIMITED_BYTES) == []

    def test_streams_have_offsets_of_their_own(self, journal: Journal) -> None:
        task = entry(2, topic="task:1")
        runs = {"event": Run(1, NOW_MS, [entry(1)]), "task": Run(1, NOW_MS, [task])}
        journal.append(Batch(runs, [], []))
        [item] = journal.read("task", 0, 10, UNLIMITED_BYTES)
        assert (item.topic, unpack_stamp(item.stamp).offset) == (b"task:1", 1)
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
        [one, *_] = journal.read("event", 0, 10, UNLIMITED_BYTES)
        size = sum(map(len, one))

        def count(max_bytes: int) -> int:
            return len(journal.read("event", 0, 10, max_bytes))

        assert (count(1), count(size), count(size * 3 - 1), count(size * 3 + 5)) == (1, 1, 2, 3)

    @settings(max_examples=30)
    @given(
        st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(1, 6), st.integers(1, 999)
    )
    def test_pages_bring_everything_once_and_in_order(
        self, counts: list[int], limit: int, max_bytes: int
    ) -> None:
        with journal_of_its_own() as journal:
            tip = 0
            for count in counts:
                journal.append(batch(tip + 1, count))
                tip += count
            found: list[int] = []
            while page := journal.read("event", len(found), limit, max_bytes):
                assert len(page) <= limit
                found += [unpack_stamp(item.stamp).offset for item in page]
            assert found == list(range(1, tip + 1))

    def test_a_row_that_is_damaged_is_unavailable_and_no_crash(
        self, journal: Journal, path: Path
    ) -> None:
        journal.append(batch(1))
        for damage in (
            b"",
            b"\xc1",
            b"\x01",
            b"\x93\xc4\x00",
            b"\x91\xc4\x00",
            b"\x93\x01\x02\x03",
        ):
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("UPDATE stream_1 SET events = ?", (damage,))
            with pytest.raises(JournalUnavailable, match="cannot be read"):
                journal.read("event", 0, 10, UNLIMITED_BYTES)


@contextmanager
def journal_of_its_own() -> Iterator[Journal]:
    """A journal in a directory of its own, for tests that make many."""
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(open_journal(Path(directory) / "journal.db")) as journal,
    ):
        yield journal


@given(st.lists(st.builds(Entry, st.binary(), st.binary(), st.binary())))
def test_entries_survive_a_row(entries: list[Entry]) -> None:
    assert list(unpack_entries(pack_entries(entries))) == entries


@given(st.binary(max_size=60))
def test_any_row_is_entries_or_a_value_error(events: bytes) -> None:
    try:
        entries = list(unpack_entries(events))
    except ValueError:
        return
    assert all(isinstance(frame, bytes) for each in entries for frame in each)


class TestCursors:
    """How far each emitter has come."""

    def test_a_cursor_is_replaced_by_the_next(self, journal: Journal) -> None:
        journal.append(batch(1, 2))
        journal.append(batch(3))
        assert journal.cursors() == [Cursor(EMITTER_ID, "manager-1", 5, 3)]

    def test_the_greatest_numbers_are_kept(self, journal: Journal) -> None:
        greatest = Cursor(b"\xff" * 16, "größer", 2**64 - 1, 2**64 - 1)
        journal.append(Batch({}, [greatest], []))
        assert journal.cursors() == [greatest]

    def test_silent_emitters_are_forgotten(self, journal: Journal, path: Path) -> None:
        journal.append(batch(1))
        journal.append(Batch({}, [Cursor(b"f" * 16, "other", 1, 1)], []))
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE emitters SET heard_at = 1000 WHERE id = ?", (EMITTER_ID,))
        assert journal.forget_silent_emitters(1000 + SILENT_EMITTER_S) == []
        assert journal.forget_silent_emitters(1001 + SILENT_EMITTER_S) == [EMITTER_ID]
        assert [each.name for each in journal.cursors()] == ["other"]

    def test_there_are_at_most_so_many(
        self, journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relay.journal, "MAX_EMITTERS", 2)
        ids = [bytes([number]) * 16 for number in range(4)]
        journal.append(Batch({}, [Cursor(each, "m", 1, 1) for each in ids], []))
        with closing(sqlite3.connect(path)) as other, other:
            for age, each in enumerate(ids):
                other.execute("UPDATE emitters SET heard_at = ? WHERE id = ?", (9000 - age, each))
        assert sorted(journal.forget_silent_emitters(9000)) == ids[2:]
        assert {each.emitter_id for each in journal.cursors()} == set(ids[:2])


class TestTasks:
    """The latest state of each task, until it is forgotten."""

    def test_states_survive_oldest_update_first_and_are_forgotten(self, path: Path) -> None:
        def change(topic: str, mark: bytes, finished: bool = False) -> TaskChange:
            return TaskChange(topic, Item(topic.encode(), b"stamp", mark), finished)

        with closing(open_journal(path)) as journal:
            journal.append(batch(1, tasks=(change("task:1", b"a"), change("task:2", b"b"))))
            journal.append(batch(2, tasks=(change("task:3", b"c"), change("task:1", b"d", True))))
            journal.append(batch(3, tasks=(TaskChange("task:2", None, False),)))
        with closing(open_journal(path)) as journal:
            assert list(journal.tasks()) == [
                (Item(b"task:3", b"stamp", b"c"), False),
                (Item(b"task:1", b"stamp", b"d"), True),
            ]


class TestEnds:
    """What the next relay finds."""

    def test_a_clean_end(self, path: Path) -> None:
        with closing(open_journal(path)) as journal:
            journal.append(batch(1, 5))
            epoch, state = journal.epoch, journal.streams["event"]
        assert [each.name for each in path.parent.iterdir() if each.suffix != ".lock"] == [
            "journal.db"
        ], "the WAL is in the file"
        with closing(open_journal(path)) as journal:
            assert (journal.epoch, journal.streams["event"]) == (epoch, state)
            assert journal.cursors() == [Cursor(EMITTER_ID, "manager-1", 5, 5)]
            assert offsets(journal) == [1, 2, 3, 4, 5]

    def test_an_unclean_end(self, path: Path) -> None:
        def work() -> None:
            journal = open_journal(path)
            journal.append(batch(1, 5))
            os.write(writer, journal.epoch.to_bytes(8))

        reader, writer = os.pipe()
        in_killed_process(work)
        epoch = int.from_bytes(os.read(reader, 8))
        os.close(reader)
        os.close(writer)
        with closing(open_journal(path)) as journal:
            assert journal.epoch == epoch
            assert offsets(journal) == [1, 2, 3, 4, 5]
            assert journal.cursors() == [Cursor(EMITTER_ID, "manager-1", 5, 5)]
            journal.append(batch(6))
            assert journal.streams["event"].tip == 6

    @pytest.mark.parametrize("power_safe", [False, True])
    def test_killed_in_the_midst_of_commits(self, path: Path, power_safe: bool) -> None:
        """What was said to be committed is there, and events and cursors agree."""
        for _ in range(3):
            program = [sys.executable, "-c", _APPENDING, str(path), str(power_safe)]
            process = ManagedProcess("appending", program, {})
            process.start()
            try:
                wait_for(lambda p=process: p.output().count("\n") > 30, "thirty commits")  # type: ignore[misc]
                process.signal(signal.SIGKILL)
                wait_for(lambda p=process: p.returncode is not None, "the end")  # type: ignore[misc]
                said = int(process.output().rpartition("\n")[0].rpartition("\n")[2])
            finally:
                process.close()
            with closing(open_journal(path)) as journal:
                tip = journal.streams["event"].tip
                assert tip >= said
                found: list[int] = []
                while page := offsets(journal, len(found)):
                    found += page
                assert found == list(range(1, tip + 1))
                [cursor] = journal.cursors()
                assert cursor.sequence == tip

    def test_a_stream_that_is_configured_later_begins_then(self, path: Path) -> None:
        with closing(Journal(path, ("task",), power_safe=False)) as journal:
            assert list(journal.streams) == ["task"]
        with closing(Journal(path, ("task", "audit", "event"), power_safe=False)) as journal:
            journal.append(batch(1))
        with closing(Journal(path, ("event",), power_safe=False)) as journal:
            assert list(journal.streams) == ["event"]
            assert offsets(journal) == [1]


_APPENDING = """
import sys
from pathlib import Path
from tests.relay.journals import batch, open_journal
journal = open_journal(Path(sys.argv[1]), power_safe=sys.argv[2] == "True")
tip = journal.streams["event"].tip
while True:
    journal.append(batch(tip + 1, 7, padding=500))
    tip += 7
    print(tip, flush=True)
"""


class TestEpoch:
    """It changes when acknowledged events may be missing, and only then."""

    @pytest.fixture(autouse=True)
    def boot_id(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The file that tells one start of this machine from another."""
        boot_id = tmp_path / "boot_id"
        boot_id.write_text("first\n")
        monkeypatch.setattr(relay.journal, "BOOT_ID", boot_id)
        return boot_id

    def epoch_of(self, path: Path, *, power_safe: bool = False) -> int:
        """Open, and end as a killed process does."""
        reader, writer = os.pipe()

        def work() -> None:
            os.write(writer, open_journal(path, power_safe=power_safe).epoch.to_bytes(8))

        in_killed_process(work)
        os.close(writer)
        epoch = int.from_bytes(os.read(reader, 8))
        os.close(reader)
        return epoch

    def test_a_killed_process_keeps_it(self, path: Path) -> None:
        assert self.epoch_of(path) == self.epoch_of(path)

    def test_a_power_cut_begins_a_new_one(self, path: Path, boot_id: Path) -> None:
        before = self.epoch_of(path)
        boot_id.write_text("second\n")
        after = self.epoch_of(path)
        assert after > before
        assert self.epoch_of(path) == after

    def test_a_power_cut_with_a_clock_set_back_begins_a_greater_one(
        self, path: Path, boot_id: Path
    ) -> None:
        far = 2**53
        self.epoch_of(path)
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (str(far),))
        boot_id.write_text("second\n")
        assert self.epoch_of(path) == far + 1

    def test_a_power_cut_costs_nothing_if_commits_are_power_safe(
        self, path: Path, boot_id: Path
    ) -> None:
        before = self.epoch_of(path, power_safe=True)
        boot_id.write_text("second\n")
        assert self.epoch_of(path, power_safe=True) == before

    def test_a_clean_end_before_the_power_cut_keeps_it(self, path: Path, boot_id: Path) -> None:
        with closing(open_journal(path)) as journal:
            before = journal.epoch
        boot_id.write_text("second\n")
        assert self.epoch_of(path) == before

    def test_power_safety_counts_from_when_it_is_asked_for(self, path: Path, boot_id: Path) -> None:
        """What was written before under the weaker promise may be missing all the same."""
        before = self.epoch_of(path)
        boot_id.write_text("second\n")
        assert self.epoch_of(path, power_safe=True) > before

    def test_a_machine_that_cannot_be_told_from_another_is_another(
        self, path: Path, boot_id: Path
    ) -> None:
        before = self.epoch_of(path)
        boot_id.unlink()
        assert self.epoch_of(path) > before

    def test_replayed_events_carry_the_new_one(self, path: Path, boot_id: Path) -> None:
        in_killed_process(lambda: open_journal(path).append(batch(1)))
        boot_id.write_text("second\n")
        with closing(open_journal(path)) as journal:
            [item] = journal.read("event", 0, 1, 1)
            assert unpack_stamp(item.stamp) == Stamp(journal.epoch, 1, NOW_MS)


@pytest.mark.parametrize(("power_safe", "synchronous"), [(True, 2), (False, 1)])
def test_commits_wait_for_the_disk_if_they_have_to_survive_a_power_cut(
    path: Path, power_safe: bool, synchronous: int
) -> None:
    with closing(open_journal(path, power_safe=power_safe)) as journal:
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


class TestRetirement:
    """Old rows go, with an explicit low watermark."""

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
            assert (state.low, state.tip, state.retired) == (21, 50, 20)
            assert state.oldest_at == NOW_MS + 2000
            assert offsets(journal) == list(range(21, 51))

    def test_by_bytes(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            size = journal.streams["event"].stored_bytes
            journal.retire(Limits(10**9, size * 2 // 5 + 5), NOW_MS)
            state = journal.streams["event"]
            assert (state.low, state.tip, state.retired) == (31, 50, 30)
            assert state.stored_bytes <= size * 2 // 5 + 5

    def test_the_newest_row_stays_so_that_the_stream_keeps_its_place(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert (journal.streams["event"].low, journal.streams["event"].tip) == (41, 50)
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert journal.streams["event"].low == 41
        with closing(open_journal(path)) as journal:
            assert (journal.streams["event"].low, journal.streams["event"].tip) == (41, 50)

    def test_what_may_stay_stays(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            before = journal.streams["event"]
            journal.retire(Limits(4000, UNLIMITED_BYTES), NOW_MS + 4000)
            assert journal.streams["event"] == before

    def test_much_goes_a_bounded_part_at_a_time(self, path: Path) -> None:
        rows = RETIRED_AT_ONCE + 10
        with closing(self.filled(path, rows)) as journal:
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert journal.streams["event"].low == 10 * RETIRED_AT_ONCE + 1
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert journal.streams["event"].low == 10 * (rows - 1) + 1

    def test_the_state_is_what_the_next_relay_finds(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            journal.retire(Limits(2500, UNLIMITED_BYTES), NOW_MS + 4000)
            journal.append(batch(51, relayed_at=NOW_MS))
            state = journal.streams["event"]
        with closing(open_journal(path)) as journal:
            found = journal.streams["event"]
        assert found == state._replace(retired=0)

    def test_reading_goes_on_at_low(self, path: Path) -> None:
        with closing(self.filled(path)) as journal:
            journal.retire(Limits(2000, UNLIMITED_BYTES), NOW_MS + 4000)
            assert offsets(journal, after=3, limit=2) == [21, 22]


class TestNoRoom:
    """A journal that has become full, for whatever reason."""

    def test_what_does_not_fit_is_not_there_at_all(self, path: Path) -> None:
        with closing(open_journal(path)) as journal:
            journal.append(batch(1, 3))
            before = journal.streams["event"]
            (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
            journal._db.execute(f"PRAGMA max_page_count = {pages}")
            with pytest.raises(JournalUnavailable, match=r"journal\.db cannot be written: .*full"):
                journal.append(
                    batch(4, 200, padding=1000, tasks=(TaskChange("task:1", None, False),))
                )
            assert journal.streams["event"] == before
            assert journal.cursors() == [Cursor(EMITTER_ID, "manager-1", 5, 3)]
            assert offsets(journal) == [1, 2, 3]
            journal._db.execute(f"PRAGMA max_page_count = {pages + 100}")
            journal.probe()
            journal.append(batch(4, 200, padding=1000))
            assert offsets(journal) == list(range(1, 204))
        with closing(open_journal(path)) as journal:
            assert journal.streams["event"].tip == 203

    def test_a_statement_that_fails_takes_its_whole_batch_with_it(self, journal: Journal) -> None:
        journal.append(batch(1))
        change = TaskChange("task:1", Item(b"task:1", b"stamp", b"envelope"), False)
        with pytest.raises(JournalUnavailable, match="UNIQUE"):
            journal.append(batch(1, tasks=(change,)))
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
            assert journal.streams["event"] == StreamState(1, 0, 0, 2**63 - 1, 0)
        journal.append(batch(1))
        assert offsets(journal) == [1]


class TestRefusal:
    """A file that is no journal of ours, or not whole, is named and left as it is."""

    def refused(self, path: Path, match: str) -> None:
        before = bytes_of(path.parent)
        for _ in range(2):
            with pytest.raises(JournalRefused, match=match) as caught:
                open_journal(path)
            assert str(path) in str(caught.value)
            assert len(str(caught.value).splitlines()) == 1
        assert bytes_of(path.parent) == before

    def test_one_in_use(self, journal: Journal, path: Path) -> None:
        journal.append(batch(1))
        self.refused(path, "is in use by another relay")
        journal.append(batch(2))

    def test_one_that_is_free_again(self, path: Path) -> None:
        open_journal(path).close()
        with closing(open_journal(path)):
            pass

    @pytest.mark.parametrize(
        "content", [b"not a database, but some text\n" * 100, b"xy", b"\0" * 99]
    )
    def test_another_kind_of_file(self, path: Path, content: bytes) -> None:
        path.parent.mkdir()
        path.write_bytes(content)
        self.refused(path, r"file is not a database; it is left as it is|malformed")

    @pytest.mark.parametrize(
        "statement", ["CREATE TABLE notes (text)", "PRAGMA application_id = 1"]
    )
    def test_another_programs_database(self, path: Path, statement: str) -> None:
        path.parent.mkdir()

        def work() -> None:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("PRAGMA journal_mode = WAL")
            other.execute(statement)

        in_killed_process(work)
        self.refused(path, "is not a journal of Event Relay; it is left as it is")

    def test_a_newer_journal(self, path: Path) -> None:
        def work() -> None:
            open_journal(path).append(batch(1))
            other = sqlite3.connect(path, isolation_level=None)
            other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

        in_killed_process(work)
        self.refused(path, f"has schema version {SCHEMA_VERSION + 1}, and this program knows")

    def filled(self, path: Path) -> bytes:
        with closing(open_journal(path)) as journal:
            for first in range(1, 400, 4):
                journal.append(batch(first, 4, padding=300))
        return path.read_bytes()

    @pytest.mark.parametrize("page", range(12))
    def test_a_damaged_page(self, path: Path, page: int) -> None:
        content = bytearray(self.filled(path))
        start = page * 4096 + (100 if page == 0 else 0)
        content[start : start + 1000] = b"\x5a" * 1000
        path.write_bytes(content)
        self.refused(path, "it is left as it is: move it away to begin a new journal")

    @pytest.mark.parametrize("size", [50, 512, 4096, 9000, -4096])
    def test_a_file_cut_short(self, path: Path, size: int) -> None:
        path.write_bytes(self.filled(path)[:size])
        self.refused(path, "it is left as it is: move it away to begin a new journal")

    def test_one_whose_epoch_is_no_number(self, path: Path) -> None:
        with closing(open_journal(path)):
            pass
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE meta SET value = 'soon' WHERE key = 'epoch'")
        with pytest.raises(JournalRefused, match="soon"):
            open_journal(path)

    def test_one_that_is_locked_can_be_written_later(self, path: Path) -> None:
        epoch = self.epoch_of_new(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            journal = open_journal(path)
            with pytest.raises(JournalUnavailable, match="locked"):
                journal.append(batch(1))
        with closing(journal):
            journal.append(batch(1))
            assert (journal.epoch, offsets(journal)) == (epoch, [1])

    def epoch_of_new(self, path: Path) -> int:
        with closing(open_journal(path)) as journal:
            return journal.epoch

    def test_a_directory_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(JournalRefused, match="cannot use"):
            open_journal(tmp_path / "file" / "journal.db")

    def test_a_file_that_is_a_directory(self, path: Path) -> None:
        path.mkdir(parents=True)
        with pytest.raises(JournalRefused, match="cannot use"):
            open_journal(path)

    def test_a_refused_file_can_be_used_once_it_is_repaired(self, path: Path) -> None:
        content = self.filled(path)
        path.write_bytes(content[:-4096])
        self.refused(path, "move it away")
        path.write_bytes(content)
        with closing(open_journal(path)) as journal:
            assert journal.streams["event"].tip == 400


class TestBegunAnew:
    """What a relay that was killed in its first moments leaves is no reason to refuse."""

    def test_an_empty_file(self, path: Path) -> None:
        path.parent.mkdir()
        path.touch()
        with closing(open_journal(path)) as journal:
            journal.append(batch(1))

    def test_a_file_with_nothing_but_the_header_of_a_wal_database(self, path: Path) -> None:
        path.parent.mkdir()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA journal_mode = WAL")
        assert path.stat().st_size == 4096
        with closing(open_journal(path)) as journal:
            journal.append(batch(1))
            assert journal._db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)

    def test_a_schema_that_was_never_committed(self, path: Path) -> None:
        path.parent.mkdir()

        def work() -> None:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("PRAGMA journal_mode = WAL")
            other.execute("BEGIN")
            other.execute("CREATE TABLE meta (key TEXT)")

        in_killed_process(work)
        with closing(open_journal(path)) as journal:
            journal.append(batch(1))

    def test_a_wal_that_was_cut_short(self, path: Path) -> None:
        """As by a power cut: what is whole counts, the rest never was."""

        def work() -> None:
            journal = open_journal(path)
            for first in (1, 2, 3):
                journal.append(batch(first))

        in_killed_process(work)
        wal = path.with_name("journal.db-wal")
        wal.write_bytes(without_last_frame(wal.read_bytes()))
        copy = path.parent.parent / "copy"
        shutil.copytree(path.parent, copy)
        with closing(open_journal(copy / "journal.db")) as journal:
            assert offsets(journal) == [1, 2]
            [cursor] = journal.cursors()
            assert cursor.sequence == 2


def without_last_frame(wal: bytes) -> bytes:
    """A WAL in which the last frame that counts, by the salt that it shares with the header, is
    damaged. Frames of earlier uses of the file may follow."""
    page_bytes = int.from_bytes(wal[8:12])
    salt, size = wal[16:24], page_bytes + 24
    starts = range(32, len(wal) - size + 1, size)
    last = max(start for start in starts if wal[start + 8 : start + 16] == salt)
    return wal[: last + size - 100] + bytes(100) + wal[last + size :]
