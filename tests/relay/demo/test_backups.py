"""A backup is whole or not there, and the newest are kept."""

import zipfile
from pathlib import Path

import pytest

from relay.demo import backups


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "world").mkdir()
    for number in range(4):
        (tmp_path / "world" / f"file-{number}").write_text(str(number))
    return tmp_path


def test_a_backup_holds_every_file_and_reports_as_it_goes(folder: Path) -> None:
    reports: list[float] = []
    path = backups.create(folder, "b1", lambda done, _: reports.append(done), lambda _: False)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        contents = {name: archive.read(name).decode() for name in archive.namelist()}
    assert contents == {f"file-{number}": str(number) for number in range(4)}
    assert reports == [0.25, 0.5, 0.75, 1.0]


def test_a_stopped_backup_leaves_nothing(folder: Path) -> None:
    with pytest.raises(backups.BackupStopped):
        backups.create(folder, "b1", lambda *_: None, lambda _: True)
    assert list((folder / "backups").iterdir()) == []


def test_pruning_keeps_the_newest(folder: Path) -> None:
    for number in range(5):
        backups.create(folder, f"2026010{number}", lambda *_: None, lambda _: False)
    (folder / "backups" / "20260109.zip.part").touch()
    assert backups.prune(folder, keep=3) == ["20260100.zip", "20260101.zip"]
    kept = sorted(path.name for path in (folder / "backups").iterdir())
    assert kept == ["20260102.zip", "20260103.zip", "20260104.zip"]
