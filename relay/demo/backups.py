"""Backups of a server: zip files of its world; only the newest are kept."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

from emitters.tasks import TaskFailed

FILE_PAUSE_S = 0.1
"""Pause between two files in seconds, so that the server can use the disk too."""

PARTIAL = ".part"


class BackupStopped(TaskFailed):
    """The backup was cancelled because the manager stops."""


def create(
    folder: Path, name: str, report: Callable[[float, str], None], pause: Callable[[float], bool]
) -> Path:
    """Zip the world in `folder` to `backups/{name}.zip` and return the path.

    `report` gets the finished fraction, from 0 to 1, and a text. `pause` waits for some seconds and
    returns whether to stop instead; then `BackupStopped` is raised and no file is left.
    """
    target = folder / "backups" / f"{name}.zip"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + PARTIAL)
    files = sorted(path for path in (folder / "world").iterdir() if path.is_file())
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for index, path in enumerate(files):
                archive.write(path, path.name)
                report((index + 1) / len(files), f"Saved {path.name}")
                if pause(FILE_PAUSE_S):
                    raise BackupStopped("The backup was stopped with its manager.")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def prune(folder: Path, keep: int) -> list[str]:
    """Delete all but the newest `keep` backups, and unfinished files; return the deleted names."""
    backups = folder / "backups"
    for partial in backups.glob(f"*{PARTIAL}"):
        partial.unlink()
    oldest_first = sorted(backups.glob("*.zip"))
    deleted = oldest_first[: max(0, len(oldest_first) - keep)]
    for path in deleted:
        path.unlink()
    return [path.name for path in deleted]
