"""The epoch of a journal that is opened: the old one, unless events may be missing."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import relay.journal.origin
from relay.core.epochs import Origin
from relay.journal.file import note_beside
from relay.journal.journal import Journal
from tests.relay.journal.journals import batch, in_killed_process, open_journal


@pytest.fixture(autouse=True)
def boot_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that tells one start of this machine from another."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("first\n")
    monkeypatch.setattr(relay.journal.origin, "BOOT_ID", boot_id)
    return boot_id


def fill(path: Path, last: int, *, is_killed: bool = True) -> None:
    """Append events up to `last`, one a row."""

    def work() -> None:
        journal = open_journal(path)
        for number in range(journal.streams["event"].last_offset + 1, last + 1):
            journal.append(batch(number))
        if not is_killed:
            journal.close()

    in_killed_process(work)


def origin_of(path: Path) -> Origin:
    with closing(open_journal(path)) as journal:
        return journal.state.origin


def keep_older(path: Path) -> Callable[[], None]:
    """Return a function that puts the present journal back, but not the note beside it."""
    older = path.with_name("older")
    older.mkdir()
    names = [f"{path.name}{suffix}" for suffix in ("", "-wal") if Path(f"{path}{suffix}").exists()]
    for name in names:
        shutil.copyfile(path.with_name(name), older / name)

    def put_back() -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        for name in names:
            shutil.copyfile(older / name, path.with_name(name))

    return put_back


@pytest.mark.parametrize("is_killed", [True, False])
def test_an_older_journal_begins_an_epoch_where_it_ends(path: Path, is_killed: bool) -> None:
    fill(path, 3, is_killed=is_killed)
    put_back = keep_older(path)
    fill(path, 5, is_killed=is_killed)
    before = origin_of(path) if not is_killed else None
    put_back()
    after = origin_of(path)
    assert after.began == {"event": 3, "task": 0}
    assert after.previous is not None
    assert before is None or after.previous == before.epoch
    assert after.epoch > after.previous
    assert origin_of(path) == after, "it is noted"


def test_other_events_at_the_same_offsets_begin_an_epoch(path: Path) -> None:
    fill(path, 3)
    put_back = keep_older(path)
    fill(path, 5)
    noted = note_beside(path).read_bytes()
    put_back()
    note_beside(path).unlink()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE meta SET value = '' WHERE key = 'noted'")
    in_killed_process(
        lambda: open_journal(path).append(batch(4, 3, padding=9)),
    )
    note_beside(path).write_bytes(noted)
    assert origin_of(path).began == {"event": 6, "task": 0}


def test_a_missing_note_begins_an_epoch_if_the_journal_was_not_closed(path: Path) -> None:
    fill(path, 3)
    note_beside(path).unlink()
    after = origin_of(path)
    assert (after.previous is not None, after.began) == (True, {"event": 3, "task": 0})
    note_beside(path).unlink()
    assert origin_of(path) == after, "it was closed"


def test_a_missing_note_says_nothing_after_a_power_cut(path: Path, boot_id: Path) -> None:
    def work() -> None:
        Journal(path, ("event",), power_safe=True).append(batch(1))

    in_killed_process(work)
    note_beside(path).unlink()
    boot_id.write_text("second\n")
    assert origin_of(path).previous is None


def test_a_process_killed_between_commit_and_note_keeps_its_epoch(path: Path) -> None:
    fill(path, 3)
    noted = note_beside(path).read_bytes()
    fill(path, 4)
    note_beside(path).write_bytes(noted)
    assert origin_of(path).previous is None


def test_a_journal_of_version_1_is_continued(path: Path) -> None:
    """It has neither a note nor checksums."""
    fill(path, 3, is_killed=False)
    note_beside(path).unlink()
    with closing(sqlite3.connect(path)) as other, other:
        for table in ("stream_1", "stream_2"):
            other.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        other.execute("ALTER TABLE tasks DROP COLUMN header")
        other.execute("DELETE FROM meta WHERE key IN ('noted', 'began', 'previous')")
        other.execute("UPDATE meta SET value = 'first' WHERE key = 'boot_id'")
        other.execute("PRAGMA user_version = 1")
    before = origin_of(path)
    assert before.previous is None
    fill(path, 5)
    assert origin_of(path) == before


def test_a_journal_that_is_gone_is_followed_by_a_greater_epoch(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the clock was set back meanwhile."""
    fill(path, 3)
    before = origin_of(path)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    monkeypatch.setattr("relay.journal.origin.time.time", lambda: 1.0)
    after = origin_of(path)
    assert (after.previous, dict(after.began)) == (before.epoch, {})
    assert after.epoch > before.epoch
