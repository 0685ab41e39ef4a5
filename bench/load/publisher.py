"""The process that publishes: at a steady rate, or as fast as the slowest client can follow."""

import time
from collections import deque
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Protocol

from bench.load.child import Child

OUTSTANDING_S = 0.25
"""In a closed loop: how many seconds of events may be under way."""
LEAST_OUTSTANDING = 32
PAUSE_S = 0.001


class Send(Protocol):
    """Publishes event `number`; what makes one of a server's address goes over by pickle."""

    def __call__(self, number: int) -> None: ...


class _Publisher:
    """Lives in a process of its own, see `Publisher`."""

    def __init__(self, make_send: Callable[[], Send], progress: Any | None) -> None:
        self._send = make_send()
        self._progress = progress
        self._number = 0

    def paced(self, events: int, events_per_s: float) -> int:
        """Publish at a steady rate; what is late goes at once. Takes as long as the rate says."""
        began = time.monotonic()
        for index in range(events):
            self._publish()
            time.sleep(max(0.0, began + (index + 1) / events_per_s - time.monotonic()))
        return self._number

    def saturated(self, seconds: float) -> int:
        """Publish as much as every client has lately received in `OUTSTANDING_S`, and a little."""
        assert self._progress is not None, "the clients' progress is what to go by"
        lately: deque[tuple[float, int]] = deque()
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            slowest = self._progress.value
            lately.append((now, slowest))
            while lately[0][0] < now - OUTSTANDING_S:
                lately.popleft()
            limit = slowest + (slowest - lately[0][1]) + LEAST_OUTSTANDING
            if self._number >= limit:
                time.sleep(PAUSE_S)
            for _ in range(min(LEAST_OUTSTANDING, limit - self._number)):
                self._publish()
        return self._number

    def _publish(self) -> None:
        self._send(self._number)
        self._number += 1


class Publisher(Child):
    """A process that publishes numbered events; each call returns how many there are by then.

    `progress` is shared with the load generator whose clients it is to saturate.
    """

    def __init__(
        self, make_send: Callable[[], Send], progress: "Synchronized[int] | None" = None
    ) -> None:
        super().__init__(_Publisher, make_send, progress)

    def paced(self, events: int, events_per_s: float) -> int:
        """Publish at a steady rate, and return when that is done."""
        published: int = self.call("paced", events, events_per_s)
        return published

    def start_saturated(self, seconds: float) -> None:
        """Begin to publish as fast as the slowest client can follow; `finish` ends it."""
        self.start("saturated", seconds)
