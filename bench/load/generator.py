"""The process of the clients, and how the others talk to it."""

import time
from multiprocessing.sharedctypes import Synchronized
from typing import Any, NamedTuple

from bench.load.child import Child
from bench.load.clients import Clients, Connected, Plan
from bench.load.outcome import Outcome, judge

TICK_S = 0.01
"""How often it looks for a call, and says how far its clients are."""


class Count(NamedTuple):
    """How much had come at one moment."""

    at: float
    """By the monotonic clock, in seconds."""
    deliveries: int


class Generator:
    """Lives in a process of its own, see `LoadGenerator`."""

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
        """From now on keep telling the publisher which event the slowest client has reached."""
        self._reports = True

    def stop_reading(self, clients: int) -> None:
        """The first so many clients leave what comes in the kernel."""
        for client in self._clients.subscribed[:clients]:
            self._clients.stop_reading(client)

    def count(self) -> Count:
        """Return how much has come so far."""
        clients = self._clients.subscribed
        return Count(time.monotonic(), sum(client.reader.received for client in clients))

    def drain(self, published: int, timeout_s: float, skip: int) -> None:
        """Wait until all but the first `skip` clients have everything, or the time is over."""
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
        """See `outcome.judge`; of all but the first `skip` clients."""
        return judge(self._clients.subscribed[skip:], published, since=since, every=every)

    def _turn_until(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            self._clients.turn()


class LoadGenerator(Child):
    """A process full of clients; `progress` is shared with a publisher that is to saturate them."""

    def __init__(self, progress: "Synchronized[int] | None" = None) -> None:
        super().__init__(Generator, progress)

    def connect(self, plan: Plan) -> Connected:
        """See `Generator`, as for the other methods."""
        connected: Connected = self.call("connect", plan)
        return connected

    def start_connecting(self, plan: Plan) -> None:
        """Like `connect`, whose result is then to be had from `finish`."""
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
