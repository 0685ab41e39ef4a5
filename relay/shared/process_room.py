"""Checks at the start of a program, or of an emitter, that the process may have what it needs.

libzmq ends the whole process (SIGABRT) if it cannot open a descriptor, start a thread or allocate
memory while it sets itself up.
"""

import mmap
import threading

from relay.shared.descriptors import are_left
from relay.shared.settings import SettingsError


def require_room(descriptors: int, threads: int, memory_bytes: int) -> None:
    """Raise `SettingsError` unless the process may open, start and reserve so much more."""
    # First: a thread needs memory, too.
    if not _can_reserve(memory_bytes):
        raise SettingsError(
            f"this process may not reserve {memory_bytes // 2**20} MiB more of address space;"
            " raise the limit (LimitAS, ulimit -v)"
        )
    if not are_left(descriptors):
        raise SettingsError(
            f"this process may not open {descriptors} more file descriptors;"
            " raise the limit (LimitNOFILE, ulimit -n)"
        )
    if not _can_start(threads):
        raise SettingsError(
            f"this process may not start {threads} more threads;"
            " raise the limit (TasksMax, pids_limit, ulimit -u)"
        )


def _can_start(count: int) -> bool:
    may_end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=may_end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        may_end.set()
        for thread in started:
            thread.join()
    return True


def _can_reserve(memory_bytes: int) -> bool:
    try:
        mmap.mmap(-1, memory_bytes).close()
    except OSError:
        return False
    return True
