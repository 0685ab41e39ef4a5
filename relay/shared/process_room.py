"""Checks at the start of a program, or of an emitter, that the process may have what it needs.

libzmq ends the whole process (SIGABRT) if it cannot open a descriptor, start a thread or allocate
memory while it sets itself up.
"""

import _thread
import mmap

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
    gate = _taken_lock()
    started: list[_thread.LockType] = []

    def wait(has_ended: _thread.LockType) -> None:
        with gate:
            has_ended.release()

    try:
        for _ in range(count):
            has_ended = _taken_lock()
            # Not `threading.Thread`: `threading` would go on listing the thread that calls this,
            # which may be none of its own.
            _thread.start_new_thread(wait, (has_ended,))
            started.append(has_ended)
    except RuntimeError:
        return False
    finally:
        gate.release()
        for has_ended in started:
            has_ended.acquire()
    return True


def _taken_lock() -> _thread.LockType:
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


def _can_reserve(memory_bytes: int) -> bool:
    try:
        mmap.mmap(-1, memory_bytes).close()
    except OSError:
        return False
    return True
