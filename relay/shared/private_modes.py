"""Permissions of the files and directories that are for their owner alone, whatever the umask.

A file that this program makes has mode 600, its directory 700. A file with a secret that others may
read or write is refused: whoever has read it once can forge every token.
"""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
_OTHERS = 0o077
_GROUP_MAY_READ = 0o040
_ROOT = 0


def make_private_directory(directory: Path) -> None:
    """Make `directory` and those above it that are missing. Raises `OSError`.

    Directories that are there keep their modes: they may have other uses.
    """
    missing = [each for each in (directory, *directory.parents) if not each.is_dir()]
    for each in reversed(missing):
        try:
            each.mkdir(DIRECTORY_MODE)
        except FileExistsError:
            # A process that starts at the same time has made it; or it is a file.
            if not each.is_dir():
                reason = os.strerror(errno.ENOTDIR)
                raise NotADirectoryError(errno.ENOTDIR, reason, str(each)) from None
        else:
            each.chmod(DIRECTORY_MODE)


def create_private(path: Path) -> None:
    """Make an empty file, which must not be there. Raises `OSError`."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)


def tighten(paths: Iterable[Path]) -> list[str]:
    """Take all permissions of others from those of `paths` that exist.

    Returns the names of those that were changed, with their modes before. One that belongs to
    somebody else stays as it is.
    """
    changed = []
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & _OTHERS:
                path.chmod(mode & ~_OTHERS)
                changed.append(f"{path.name} ({mode:03o})")
        except OSError:
            continue
    return changed


def lax_mode(path: Path) -> str | None:
    """Return how to mend a file with a secret that others may use; None if it is private, or none.

    Root's files that their group may read, and others not at all, are private: an administrator, or
    a container's platform, has given them to the group of a service, which cannot own them.
    """
    try:
        found = path.stat()
    except OSError:
        # Reading it fails as well, with a better reason.
        return None
    mode = stat.S_IMODE(found.st_mode)
    others = mode & _OTHERS
    if not others or (found.st_uid == _ROOT and others == _GROUP_MAY_READ):
        return None
    return f"other users may use it (its mode is {mode:03o}): chmod 600 {path}"
