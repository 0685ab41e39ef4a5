"""CPU and memory of processes. The children of a process count as part of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

SAMPLE_S = 0.05


class Peak:
    """The highest of several readings."""

    def __init__(self, value: int) -> None:
        self.value = value


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used so far."""
    times = [each.cpu_times() for each in _family(pid)]
    return float(sum(each.user + each.system for each in times))


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return sum(each.memory_info().rss for each in _family(pid))


@contextmanager
def peak_rss(pid: int) -> Iterator[Peak]:
    """Watch the memory of a process while the block runs."""
    peak = Peak(rss_bytes(pid))
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(SAMPLE_S):
            peak.value = max(peak.value, rss_bytes(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def _family(pid: int) -> tuple[psutil.Process, ...]:
    process = psutil.Process(pid)
    return (process, *process.children(recursive=True))
