"""What is no journal, or cannot be used now, is refused and left as it is."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import relay.journal.file
import relay.journal.journal
from relay.journal.file import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    JournalRefused,
)
from relay.journal.journal import (
    Journal,
    JournalUnavailable,
)
from tests.relay.journal.journals import (
    batch,
    in_killed_process,
    offsets,
    open_journal,
)


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


def bytes_of(directory: Path) -> dict[str, bytes]:
    """The files of a journal that hold events."""
    return {
        each.name: each.read_bytes()
        for each in directory.iterdir()
        if each.name in ("journal.db", "journal.db-wal") and each.stat().st_size
    }


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
