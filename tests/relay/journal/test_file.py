"""A file that is not a journal, or that cannot be used now, is refused and left unchanged."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.journal.file import JournalRefused, copy_journal, restore_journal
from relay.journal.format import JOURNAL_FORMAT
from relay.journal.journal import Journal, JournalUnavailable
from relay.journal.reader import reading_journal
from tests.relay.journal.journals import (
    batch,
    in_killed_process,
    offsets,
    open_journal,
    problems_of,
)


def bytes_of(directory: Path) -> dict[str, bytes]:
    """The files of a journal that hold events."""
    return {
        each.name: each.read_bytes()
        for each in directory.iterdir()
        if each.name in ("journal.db", "journal.db-wal") and each.stat().st_size
    }


class TestRefusal:
    """The refusal names the file, and the file is left unchanged."""

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
        self.refused(path, "not a SQLite database, not a journal of Event Relay; it was left")

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
        self.refused(path, "database, not a journal of Event Relay; it was left unchanged")

    def test_a_newer_journal(self, path: Path) -> None:
        def work() -> None:
            open_journal(path).append(batch(1))
            other = sqlite3.connect(path, isolation_level=None)
            other.execute(f"PRAGMA user_version = {JOURNAL_FORMAT.version + 1}")

        in_killed_process(work)
        self.refused(path, f"has version {JOURNAL_FORMAT.version + 1}, and this program")

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
        self.refused(path, "it was left unchanged: move it away to begin a new journal")

    @pytest.mark.parametrize("size", [50, 512, 4096, 9000, -4096])
    def test_a_file_cut_short(self, path: Path, size: int) -> None:
        path.write_bytes(self.filled(path)[:size])
        self.refused(path, "it was left unchanged: move it away to begin a new journal")

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
        with pytest.raises(JournalRefused, match="cannot be"):
            open_journal(tmp_path / "file" / "journal.db")

    def test_a_file_that_is_a_directory(self, path: Path) -> None:
        path.mkdir(parents=True)
        with pytest.raises(JournalRefused, match="cannot be"):
            open_journal(path)

    def test_a_refused_file_can_be_used_once_it_is_repaired(self, path: Path) -> None:
        content = self.filled(path)
        path.write_bytes(content[:-4096])
        self.refused(path, "move it away")
        path.write_bytes(content)
        with closing(open_journal(path)) as journal:
            assert journal.streams["event"].last_offset == 400


class TestBegunAnew:
    """A relay that was killed in its first moments has left a file that can be used."""

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
            found = journal._db.execute("PRAGMA application_id").fetchone()
            assert found == (JOURNAL_FORMAT.application_id,)

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
        """As by a power cut: transactions that are not whole are ignored."""

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


class TestCopy:
    """A copy is a journal of its own."""

    def test_a_relay_begins_a_new_epoch_with_it(self, filled: Path, tmp_path: Path) -> None:
        copied = tmp_path / "copy.db"
        copy_journal(filled, copied)
        with reading_journal(filled) as reader:
            epoch, streams = reader.epoch(), reader.streams()
        with reading_journal(copied) as reader:
            assert reader.streams() == streams
        assert problems_of(copied) == []
        begun = set()
        for _ in range(3):
            with closing(open_journal(copied)) as journal:
                begun.add(journal.epoch)
                assert journal.streams["event"].last_offset == 9
        assert len(begun) == 1
        assert min(begun) > (epoch or 0)

    def test_while_a_relay_writes(self, filled: Path, tmp_path: Path) -> None:
        with closing(open_journal(filled)) as journal:
            copy_journal(filled, tmp_path / "copy.db")
            journal.append(batch(10, 3))
        with reading_journal(tmp_path / "copy.db") as reader:
            assert [stream.last_offset for stream in reader.streams()] == [9, 1]

    def test_nothing_is_overwritten(self, filled: Path) -> None:
        with pytest.raises(JournalRefused, match="cannot write"):
            copy_journal(filled, filled)
        assert problems_of(filled) == []

    def test_no_journal_leaves_no_copy(self, path: Path, tmp_path: Path) -> None:
        with pytest.raises(JournalRefused, match=str(path)):
            copy_journal(path, tmp_path / "copy.db")
        assert list(tmp_path.iterdir()) == []


class TestRestore:
    """A copy becomes the journal."""

    def test_where_no_journal_is(self, filled: Path, tmp_path: Path) -> None:
        copied, path = tmp_path / "copy.db", tmp_path / "other" / "journal.db"
        copy_journal(filled, copied)
        path.parent.mkdir()
        # As a killed relay leaves it. Applied to the copy, it would damage it.
        Path(f"{path}-wal").write_bytes(b"left")
        restore_journal(path, copied)
        assert {each.name for each in path.parent.iterdir()} == {"journal.db", "journal.db.lock"}
        with closing(open_journal(path)) as journal:
            assert offsets(journal) == list(range(1, 10))

    def test_never_over_a_journal_or_under_a_relay(self, filled: Path, tmp_path: Path) -> None:
        copied = tmp_path / "copy.db"
        copy_journal(filled, copied)
        before = filled.read_bytes()
        with pytest.raises(JournalRefused, match="exists: move it away first"):
            restore_journal(filled, copied)
        assert filled.read_bytes() == before
        with (
            closing(open_journal(filled)),
            pytest.raises(JournalRefused, match="is in use by another relay"),
        ):
            restore_journal(filled, copied)

    def test_only_a_journal(self, path: Path, tmp_path: Path) -> None:
        notes = tmp_path / "notes"
        notes.write_text("Dear diary")
        with pytest.raises(JournalRefused, match="not a SQLite database"):
            restore_journal(path, notes)
        assert not path.exists()


class TestLooking:
    """A look at a journal makes nothing, changes nothing, and reads everything."""

    STATES = ("closed", "killed", "killed, without an index", "in use")

    def content(self, directory: Path) -> dict[str, tuple[bytes, float, int]]:
        return {
            each.name: (each.read_bytes(), each.stat().st_mtime, each.stat().st_mode)
            for each in directory.iterdir()
        }

    @pytest.fixture(params=STATES)
    def state(self, path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
        """A journal of three events, left in that state."""
        state: str = request.param
        if state == "in use":
            with closing(open_journal(path)) as journal:
                journal.append(batch(1, 3))
                yield state
            return
        if state == "closed":
            with closing(open_journal(path)) as journal:
                journal.append(batch(1, 3))
        else:
            in_killed_process(lambda: open_journal(path).append(batch(1, 3)))
        if state == "killed, without an index":
            Path(f"{path}-shm").unlink()
        yield state

    def test_it_leaves_no_trace(self, path: Path, state: str, tmp_path: Path) -> None:
        before = self.content(path.parent)
        with reading_journal(path) as reader:
            assert [each.offset for each in reader.events("event", 0)] == [1, 2, 3]
        assert problems_of(path) == []
        copy_journal(path, tmp_path / "copy.db")
        after = self.content(path.parent)
        if state == "in use":
            # SQLite notes in the index who reads.
            del before[f"{path.name}-shm"], after[f"{path.name}-shm"]
        assert after == before
        assert problems_of(tmp_path / "copy.db") == []

    def test_a_copy_is_not_changed_by_putting_it_back(self, filled: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copies" / "copy.db"
        copy.parent.mkdir()
        copy_journal(filled, copy)
        restore_journal(tmp_path / "elsewhere" / "journal.db", copy)
        assert [each.name for each in copy.parent.iterdir()] == ["copy.db"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    @pytest.mark.parametrize("is_killed", [True, False])
    def test_another_user_reads_it_and_root_does_not_spoil_it(self, is_killed: bool) -> None:
        nobody = 65534

        def as_nobody(work: Callable[[], object]) -> None:
            def become_and_work() -> None:
                os.setgid(nobody)
                os.setuid(nobody)
                work()

            in_killed_process(become_and_work)

        def write() -> None:
            journal = open_journal(path)
            last = journal.streams["event"].last_offset
            journal.append(batch(last + 1))
            if not is_killed:
                journal.close()

        with tempfile.TemporaryDirectory(dir="/tmp") as directory:
            os.chown(directory, nobody, nobody)
            path = Path(directory) / "journal.db"
            as_nobody(write)
            assert problems_of(path) == []
            as_nobody(write)
            os.chmod(directory, 0o555)
            as_nobody(lambda: problems_of(path))
            with reading_journal(path) as reader:
                assert [each.offset for each in reader.events("event", 0)] == [1, 2]

    def test_a_journal_that_others_may_read_is_made_private(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with closing(open_journal(path)) as journal:
            journal.append(batch(1))
        for suffix in ("", "-tail", ".lock"):
            Path(f"{path}{suffix}").chmod(0o644)
        with closing(open_journal(path)) as journal:
            assert journal.streams["event"].last_offset == 1
            modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
        assert set(modes.values()) == {0o600}, modes
        [line] = [each.getMessage() for each in caplog.records if "other users" in each.msg]
        # SQLite has made the log and its index with the mode of the journal.
        suffixes = ("", "-wal", "-shm", "-tail", ".lock")
        names = ", ".join(f"{path.name}{suffix} (644)" for suffix in suffixes)
        assert line == f"other users could read the journal; no longer: {names}"
        caplog.clear()
        open_journal(path).close()
        assert "other users" not in caplog.text

    def test_only_its_owner_may_read_what_a_relay_makes(self, path: Path, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            with closing(open_journal(path)) as journal:
                journal.append(batch(1))
                copy_journal(path, tmp_path / "copy.db")
                restore_journal(tmp_path / "there" / "journal.db", tmp_path / "copy.db")
                made = [*path.parent.iterdir(), tmp_path / "copy.db"]
                made += (tmp_path / "there").iterdir()
                modes = {each.name: each.stat().st_mode & 0o777 for each in made}
        finally:
            os.umask(before)
        assert f"{path.name}-wal" in modes
        assert set(modes.values()) == {0o600}, modes
