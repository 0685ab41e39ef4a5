"""Strangers at the path of a Unix socket: those who may write to a directory above it.

While the relay is away, another user who can make a file at the path could pose as the relay, take
events and confirm them. So a client looks who owns the directories before it connects.
"""

import os
import stat
from pathlib import Path

ROOT = 0


def stranger_at(path: Path, trusted: frozenset[int]) -> str:
    """Return which directory lets a user who is not `trusted` listen at `path`, "" if none does.

    `trusted` are user ids; root always is. Directories that do not exist yet are made by those who
    may write to the one above.
    """
    directory = path.absolute().parent
    child_owner: int | None = None
    for each in (directory, *directory.parents):
        try:
            # The directory that a symbolic link leads to; the link is in a directory above.
            found = each.stat()
        except OSError:
            continue
        if found.st_uid not in trusted | {ROOT}:
            return f"{each} belongs to user {found.st_uid}"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            # In a directory with the sticky bit, such as /tmp, nobody replaces another's entry.
            is_kept = bool(found.st_mode & stat.S_ISVTX) and child_owner is not None
            if not is_kept:
                return f"others may write to {each}: chmod go-w"
        child_owner = found.st_uid
    return ""


def own_uid() -> int:
    """Return the user of this process."""
    return os.geteuid()
