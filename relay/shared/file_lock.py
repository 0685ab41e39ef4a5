"""An exclusive lock on `{path}.lock`, so that one process at a time uses `path`.

`path` itself is never locked: SQLite and libzmq replace or lock it by rules of their own.
"""

import fcntl
from pathlib import Path
from typing import IO


class PathInUse(Exception):  # noqa: N818 - clear without a suffix
    """Another process holds the lock."""


def lock_beside(path: Path, *, wait: bool = False) -> IO[bytes]:
    """Return the locked lock file of `path`; closing it, or the end of the process, releases it.

    With `wait`, block until the lock is free. Raises `PathInUse` without `wait` if another process
    holds the lock, and `OSError` if the lock file cannot be opened.
    """
    # Appending neither truncates nor rewrites a lock file that another user has made.
    lock = open(f"{path}.lock", "ab")  # noqa: SIM115 - the caller closes it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise PathInUse(f"{path} is in use by another process") from None
    except BaseException:
        lock.close()
        raise
    return lock
