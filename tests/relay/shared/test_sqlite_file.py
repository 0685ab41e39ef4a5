"""A file is identified and checked before anything is written to it."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from relay.shared.sqlite_file import (
    DamagedFile,
    FileFormat,
    FileRefused,
    ForeignFile,
    NewerFile,
    UnusableFile,
    open_sqlite,
    transaction,
)

OURS = FileFormat(application_id=0x01020304, version=2)


@contextmanager
def made(
    path: Path, *, application_id: int = OURS.application_id, version: int = 1
) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA application_id = {application_id}")
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("CREATE TABLE numbers (n INTEGER)")
        yield db


@pytest.mark.parametrize("size", [None, 0])
def test_a_missing_or_an_empty_file_is_a_new_one(tmp_path: Path, size: int | None) -> None:
    path = tmp_path / "new"
    if size is not None:
        path.touch()
    with closing(open_sqlite(path, OURS)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_missing_file_cannot_be_opened_for_reading(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="No such file"):
        open_sqlite(tmp_path / "missing", OURS, read_only=True)


def test_our_file_opens_with_its_content_also_out_of_the_log_of_a_dead_process(
    tmp_path: Path,
) -> None:
    path, copy = tmp_path / "ours", tmp_path / "copy"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA application_id = {OURS.application_id}")
        db.execute("CREATE TABLE numbers (n INTEGER)")
        db.execute("INSERT INTO numbers VALUES (7)")
        for suffix in ("", "-wal"):
            Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    with closing(open_sqlite(copy, OURS)) as db:
        assert db.execute("SELECT n FROM numbers").fetchall() == [(7,)]


WITHOUT_ROOM = """
import os, resource, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("INSERT INTO numbers VALUES (zeroblob(100000))")
resource.setrlimit(resource.RLIMIT_FSIZE, (16384, resource.RLIM_INFINITY))
try:
    db.execute("PRAGMA wal_checkpoint")
except sqlite3.OperationalError:
    os._exit(0)
"""
"""Has written the first pages of a checkpoint when the disk is full, and ends without closing."""


def test_our_file_opens_after_a_full_disk_has_ended_its_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    with made(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
    subprocess.run([sys.executable, "-c", WITHOUT_ROOM, str(path)], check=True)
    assert path.stat().st_size == 16384 < 100_000 < Path(f"{path}-wal").stat().st_size
    with closing(open_sqlite(path, OURS)) as db:
        assert db.execute("SELECT length(n) FROM numbers").fetchall() == [(100_000,)]


def test_our_file_that_has_lost_its_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    with made(path) as db:
        db.execute("INSERT INTO numbers VALUES (zeroblob(100000))")
    with path.open("r+b") as file:
        file.truncate(16384)
    with pytest.raises(DamagedFile):
        open_sqlite(path, OURS)
    assert path.stat().st_size == 16384


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"notes", ForeignFile),
        (b"x" * 5000, ForeignFile),
        ("foreign", ForeignFile),
        ("newer", NewerFile),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_left_unchanged(
    tmp_path: Path, content: bytes | str, error: type[FileRefused], read_only: bool
) -> None:
    path = tmp_path / "file"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with made(
            path,
            application_id=7 if content == "foreign" else OURS.application_id,
            version=3 if content == "newer" else 1,
        ):
            pass
    before = path.read_bytes()
    with pytest.raises(error):
        open_sqlite(path, OURS, read_only=read_only)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_page_is_found_before_the_file_is_opened_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    with made(path) as db, transaction(db):
        db.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(5000)])
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 3 + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(DamagedFile):
        open_sqlite(path, OURS)
    assert path.read_bytes() == content


def test_a_directory_is_unusable(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile):
        open_sqlite(tmp_path, OURS)


def interrupted_insert(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO numbers VALUES (1)")
    raise KeyboardInterrupt


def test_a_transaction_is_undone_by_any_exception(tmp_path: Path) -> None:
    with made(tmp_path / "ours") as db:
        with pytest.raises(KeyboardInterrupt), transaction(db):
            interrupted_insert(db)
        with transaction(db):
            db.execute("INSERT INTO numbers VALUES (2)")
        assert db.execute("SELECT n FROM numbers").fetchall() == [(2,)]
        assert not db.in_transaction
