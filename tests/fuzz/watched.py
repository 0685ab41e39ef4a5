"""`Watched`: the memory and the descriptors of a process, before and after."""

import psutil

from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_for

MIB = 2**20
REST_BYTES = {"relay": 32 * MIB, "edge": 64 * MIB}
"""The bytes that may stay. An edge remembers keys of requests, addresses and tokens, each with a
bound, and malloc keeps what was freed. A leak in proportion to the inputs is larger."""
MOST_BYTES = {"relay": 128 * MIB, "edge": 192 * MIB}
"""No moment's work takes more."""
WAIT_S = 60.0


class Watched:
    """A process that must go on, log no traceback, and give back what it takes."""

    def __init__(self, process: ManagedProcess) -> None:
        self._managed = process
        self._kind = process.name.partition("-")[0]
        self._process = psutil.Process(process.pid)
        self._before_bytes = self._most_bytes = self._bytes
        self._before_descriptors = self._process.num_fds()

    def look(self) -> None:
        """Look at it, about once a second. Raises `AssertionError`."""
        assert self._managed.returncode is None, self._managed.output()[-4000:]
        self._most_bytes = max(self._most_bytes, self._bytes)
        assert self._most_bytes - self._before_bytes < MOST_BYTES[self._kind], self.report()
        self.check_log()

    def check_log(self) -> None:
        """The log has no traceback."""
        output = self._managed.output()
        at = output.find("Traceback")
        assert at < 0, output[max(0, at - 1000) : at + 4000]

    def settle(self) -> None:
        """Wait until it has given back what it took."""
        self.look()
        try:
            wait_for(self._has_given_back, "memory and descriptors are given back", WAIT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.report()}") from None

    def _has_given_back(self) -> bool:
        is_small = self._bytes < self._before_bytes + REST_BYTES[self._kind]
        return is_small and self._process.num_fds() <= self._before_descriptors

    def report(self) -> str:
        """Return the figures, for people."""
        before, most, now = (
            f"{each / MIB:.0f}" for each in (self._before_bytes, self._most_bytes, self._bytes)
        )
        descriptors = f"{self._before_descriptors} to {self._process.num_fds()} descriptors"
        return f"{self._managed.name}: {before} to {now} MiB ({most} at most), {descriptors}"

    @property
    def _bytes(self) -> int:
        return int(self._process.memory_info().rss)
