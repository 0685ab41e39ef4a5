"""The process of the clients, and the object through which other processes call it."""

import time
from multiprocessing.sharedctypes import Synchronized
from typing import Any, NamedTuple

from bench.load.child import Child
from bench.load.clients import Clients, Connected, Plan
from bench.load.outcome import Outcome, judge

TICK_S = 0.01
"""Seconds between two checks for a call and reports of progress."""


class Count(NamedTuple):
    """Number of received events at one moment."""

    at: float
    """Monotonic time in seconds."""
    deliveries: int


class Generator:
    """The clients, in a process of their own; see `LoadGenerator`."""

    def __init__(self, progress: Any | None) -> None:
        self._progress = progress
        self._reports = False
        self._clients = Clients()

    def idle(self) -> None:
        """Serve the clients for a moment."""
        if self._reports and self._progress is not None:
            self._progress.value = min(each.reader.reached for each in self._clients.subscribed)
        self._turn_until(time.monotonic() + TICK_S)

    def connect(self, plan: Plan) -> Connected:
        """See `Clients.connect`."""
        return self._clients.connect(plan)

    def hang_up(self) -> None:
        """See `Clients.hang_up`."""
        self._clients.hang_up()

    def report_progress(self) -> None:
        """From now on report to the publisher the event that the slowest client has reached."""
        self._reports = True

    def stop_reading(self, clients: int) -> None:
        """Stop reading for the first so many `clients`."""
        for client in self._clients.subscribed[:clients]:
            self._clients.stop_reading(client)

    def count(self) -> Count:
        """Return the number of events received so far."""
        clients = self._clients.subscribed
        return Count(time.monotonic(), sum(client.reader.received for client in clients))

    def drain(self, published: int, timeout_s: float, skip: int) -> None:
        """Wait until all but the first `skip` clients have every event, or the time is over."""
        waiting = self._clients.subscribed[skip:]
        deadline = time.monotonic() + timeout_s
        while waiting and time.monotonic() < deadline:
            self._turn_until(time.monotonic() + TICK_S)
            waiting = [
                client
                for client in waiting
                if client.reader.received < client.reader.tape.expected(published)
            ]

    def judge(self, published: int, since: int, skip: int, every: int) -> Outcome:
        """Judge all but the first `skip` clients; see `outcome.judge`."""
        return judge(self._clients.subscribed[skip:], published, since=since, every=every)

    def _turn_until(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            self._clients.turn()


class LoadGenerator(Child):
    """A process of many clients; `progress` is shared with the publisher that saturates them."""

    def __init__(self, progress: "Synchronized[int] | None" = None) -> None:
        super().__init__(Generator, progress)

    def connect(self, plan: Plan) -> Connected:
        """See `Generator`, also for the other methods."""
        connected: Connected = self.call("connect", plan)
        return connected

    def start_connecting(self, plan: Plan) -> None:
        """Begin to connect; `finish` returns the result of `connect`."""
        self.start("connect", plan)

    def hang_up(self) -> None:
        self.call("hang_up")

    def report_progress(self) -> None:
        self.call("report_progress")

    def stop_reading(self, clients: int) -> None:
        self.call("stop_reading", clients)

    def count(self) -> Count:
        count: Count = self.call("count")
        return count

    def drain(self, published: int, timeout_s: float = 10.0, skip: int = 0) -> None:
        self.call("drain", published, timeout_s, skip)

    def judge(self, published: int, since: int = 0, skip: int = 0, every: int = 1) -> Outcome:
        outcome: Outcome = self.call("judge", published, since, skip, every)
        return outcome
