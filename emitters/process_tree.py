"""CPU and memory of a process and its descendants, between one reading and the next."""

import contextlib
import time
from datetime import timedelta
from typing import NamedTuple

from relay.shared.extras import extra

with extra("resources"):
    import psutil

_MIB = 1024 * 1024


class Reading(NamedTuple):
    """The use of a process tree at one moment."""

    at: float
    """Monotonic seconds."""
    cpu_s: float
    """CPU seconds since the start, those of ended descendants included."""
    memory_bytes: int
    uptime_s: float


class ProcessTree:
    """A process and its descendants, by the process's id and the moment it was created.

    Another process that gets the same id later is not mistaken for it.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._root: psutil.Process | None = None
        self._is_gone = False
        # Looked for at once, before the id can be given to another process.
        with contextlib.suppress(psutil.Error, OSError):
            self._find()

    def read(self) -> Reading | None:
        """Return the use of the tree, None when the process is gone.

        Raises `psutil.AccessDenied` when this user may not read it, and `OSError` when nothing can
        be read now, for example without a free file descriptor.
        """
        root = self._root or self._find()
        if root is None or not root.is_running():
            return None
        try:
            # It has ended, and its parent has not read its exit code yet.
            if root.status() == psutil.STATUS_ZOMBIE:
                return None
            cpu_s, memory_bytes = _usage(root)
            for child in root.children(recursive=True):
                more_cpu_s, more_bytes = _usage_of_child(child)
                cpu_s += more_cpu_s
                memory_bytes += more_bytes
            uptime_s = time.time() - root.create_time()
        except psutil.NoSuchProcess:
            return None
        return Reading(time.monotonic(), cpu_s, memory_bytes, uptime_s)

    def _find(self) -> psutil.Process | None:
        """Return the process, None if there was none when it was looked for first."""
        if not self._is_gone:
            try:
                self._root = psutil.Process(self.pid)
            except psutil.NoSuchProcess:
                self._is_gone = True
        return self._root


def process_info(pid: int, earlier: Reading, later: Reading) -> dict[str, object]:
    """Return the `process_info` of a resource update (protocol section 7)."""
    elapsed_s = max(later.at - earlier.at, 1e-3)
    cpu_percent = max(0.0, later.cpu_s - earlier.cpu_s) / elapsed_s * 100
    return {
        "pid": pid,
        "cpu_percent": round(cpu_percent, 1),
        "memory_mb": round(later.memory_bytes / _MIB, 1),
        "uptime": str(timedelta(seconds=max(0, int(later.uptime_s)))),
    }


def _usage(process: psutil.Process) -> tuple[float, int]:
    with process.oneshot():
        times = process.cpu_times()
        ended_s = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return times.user + times.system + ended_s, process.memory_info().rss


def _usage_of_child(process: psutil.Process) -> tuple[float, int]:
    # Children come and go, and may belong to other users; they must not cost the whole reading.
    try:
        return _usage(process)
    except (psutil.Error, OSError):
        return 0.0, 0
