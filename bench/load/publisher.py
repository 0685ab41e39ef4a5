"""The process that publishes: at a steady rate, or as fast as the slowest client can follow."""

import time
from collections import deque
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Protocol

from bench.load.child import Child

OUTSTANDING_S = 0.25
"""Seconds of events that may be in flight in a closed loop."""
LEAST_OUTSTANDING = 32
PAUSE_S = 0.001


class Send(Protocol):
    """Publishes event `number`. Made in the publisher's process by a pickled function."""

    def __call__(self, number: int) -> None: ...


class _Publisher:
    """The publisher, in a process of its own; see `Publisher`."""

    def __init__(self, make_send: Callable[[], Send], progress: Any | None) -> None:
        self._send = make_send()
        self._progress = progress
        self._number = 0

    def paced(self, events: int, events_per_s: float) -> int:
        """Publish at a steady rate; a late event goes at once. Return when the last one is due."""
        began = time.monotonic()
        for index in range(events):
            self._publish()
            time.sleep(max(0.0, began + (index + 1) / events_per_s - time.monotonic()))
        return self._number

    def saturated(self, seconds: float) -> int:
        """Keep as many events in flight as every client received in `OUTSTANDING_S`, plus some."""
        assert self._progress is not None, "saturating needs the clients' progress"
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
    """A process that publishes numbered events; each call returns their number so far.

    `progress` is shared with the load generator whose clients it saturates.
    """

    def __init__(
        self, make_send: Callable[[], Send], progress: "Synchronized[int] | None" = None
    ) -> None:
        super().__init__(_Publisher, make_send, progress)

    def paced(self, events: int, events_per_s: float) -> int:
        """Publish at a steady rate, and return when the last event is sent."""
        published: int = self.call("paced", events, events_per_s)
        return published

    def start_saturated(self, seconds: float) -> None:
        """Begin to publish as fast as the slowest client can follow; `finish` ends it."""
        self.start("saturated", seconds)
