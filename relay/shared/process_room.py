"""Checks at the start of a program, or of an emitter, that the process may have what it needs.

libzmq ends the whole process (SIGABRT) if it cannot open a descriptor or start a thread while it
sets itself up.
"""

import threading

from relay.shared.descriptors import are_left
from relay.shared.settings import SettingsError


def require_room(descriptors: int, threads: int) -> None:
    """Raise `SettingsError` unless the process may open and start so many more."""
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
