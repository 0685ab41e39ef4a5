"""An exclusive lock on `{path}.lock`, so that one process at a time uses `path`.

`path` itself is never locked: SQLite and libzmq replace or lock it by rules of their own.
"""

import os
from pathlib import Path
from typing import IO

from relay.shared.posix import fcntl


class PathInUse(Exception):  # noqa: N818 - clear without a suffix
    """Another process holds the lock."""


def lock_beside(path: Path, *, wait: bool = False) -> IO[bytes]:
    """Return the locked lock file of `path`; closing it, or the end of the process, releases it.

    With `wait`, block until the lock is free. Raises `PathInUse` without `wait` if another process
    holds the lock, and `OSError` if the lock file cannot be opened.
    """
    # Appending neither truncates nor rewrites a lock file that another user has made.
    lock = open(f"{path}.lock", "ab", opener=_open_private)  # noqa: SIM115 - the caller closes it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise PathInUse(f"{path} is in use by another process") from None
    except BaseException:
        lock.close()
        raise
    return lock


def is_locked(path: Path) -> bool | None:
    """Return whether another process holds the lock of `path`, None if that cannot be known.

    Creates and changes nothing. Who locks at this very moment may find the lock taken.
    """
    try:
        with open(f"{path}.lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
