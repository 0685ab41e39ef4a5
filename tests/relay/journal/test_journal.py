"""The journal keeps what was committed, and is never more than what was."""

import os
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

import relay.journal.file
import relay.journal.journal
from relay.core.emitters import Cursor
from relay.core.retained import Item
from relay.core.retention import Limits
from relay.journal.file import (
    Entry,
    pack_entries,
    unpack_entries,
)
from relay.journal.journal import (
    RETIRED_AT_ONCE,
    SILENT_EMITTER_S,
    Batch,
    Journal,
    JournalUnavailable,
    Run,
    StreamState,
    TaskChange,
)
from relay.wire.header import Stamp, pack_stamp, unpack_stamp
from tests.relay.journal.journals import (
    EMITTER_ID,
    NOW_MS,
    UNLIMITED_BYTES,
    batch,
    entry,
    in_killed_process,
    offsets,
    open_journal,
)
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_for


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that somebody else holds stays held in these tests."""
    monkeypatch.setattr(relay.journal.file, "BUSY_TIMEOUT_S", 0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(open_journal(path)) as journal:
        yield journal


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
        monkeypatch.setattr(relay.journal.journal, "MAX_EMITTERS", 2)
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

    @pytest.mark.process
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
from tests.relay.journal.journals import batch, open_journal
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
        monkeypatch.setattr(relay.journal.journal, "BOOT_ID", boot_id)
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
