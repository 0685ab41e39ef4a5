"""Writing the small files of the edge, `users.json` and `jwt-secret`, so that none is ever lost.

A file is written beside its place, synced, and moved there. A symbolic link is followed and stays.
A file that cannot be replaced, such as one that is mounted into a container by itself, is
overwritten in place, behind a backup. The callers hold a lock, so there is one writer at a time.
"""

import contextlib
import errno
import os
from pathlib import Path

from relay.shared.posix import fcntl

PRIVATE_MODE = 0o600
NOT_FOR_OTHERS = 0o770
_NOT_REPLACEABLE = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
"""The errors of a directory in which files cannot be made or replaced, or of a mounted file."""


def write_private(path: Path, content: bytes) -> None:
    """Make `content` that of `path`, for the owner alone. Raises `OSError`; `path` is then as it
    was.

    A file that is there keeps its owner, its group, and the permissions of these two.
    """
    target = Path(os.path.realpath(path))
    try:
        _replace(target, content)
    except OSError as error:
        if error.errno not in _NOT_REPLACEABLE or not target.exists():
            raise
        _overwrite(target, content)


def read_whole(path: Path) -> bytes:
    """Return the content of `path` when nobody overwrites it; waits for a writer to finish.

    A writer that was killed, or lost its power, has left a backup, which is returned instead.
    Raises `OSError`.
    """
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        # It does not outlive a writer that could say how it ended.
        with contextlib.suppress(OSError):
            return backup_of(path).read_bytes()
        return file.read()


def backup_of(path: Path) -> Path:
    """Return the path of the backup, which exists while `path` is overwritten in place."""
    return Path(f"{os.path.realpath(path)}.backup")


def _replace(target: Path, content: bytes) -> None:
    temporary = Path(f"{target}.new")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            _keep_owner(descriptor, target)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        # Readers take no lock: they find the old file or the new one, never a part of either.
        os.replace(temporary, target)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def _keep_owner(descriptor: int, target: Path) -> None:
    try:
        known = target.stat()
    except FileNotFoundError:
        return
    # An administrator may change a file that a service reads under its own user.
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, known.st_uid, known.st_gid)
    os.fchmod(descriptor, known.st_mode & NOT_FOR_OTHERS)


def _overwrite(target: Path, content: bytes) -> None:
    with open(target, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known = file.read()
        backup = backup_of(target)
        # One that is there is from a writer that was killed, and better than the file.
        is_torn = backup.exists()
        if not is_torn:
            # A directory without room for a backup must not forbid the change.
            with contextlib.suppress(OSError):
                _replace(backup, known)
        try:
            _write_at_once(file.fileno(), content)
            is_torn = False
        except OSError:
            # The old blocks are still allocated, so there is room for the old content.
            _write_at_once(file.fileno(), known)
            raise
        finally:
            if not is_torn:
                with contextlib.suppress(OSError):
                    backup.unlink(missing_ok=True)


def _write_at_once(descriptor: int, content: bytes) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], written)
    os.ftruncate(descriptor, len(content))
    os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    """Make the new name survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
