"""Clients beside the swarm, each on a thread, that check promises while things break.

A probe states a problem only if it is one whatever the faults were: each says why.
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from random import Random

from websockets.exceptions import WebSocketException

from emitters import Emitter
from tests.e2e.chaos.traffic import TOPICS
from tests.support.clients import Client, Message
from tests.support.cluster import Edge
from tests.support.waiting import wait_for

READY_WINDOW_S = 20.0
READY_POLLS = 150
"""An edge that was ready all this time, and at so many polls, must have let a client resume. On a
busy machine polls take longer, as the resume does."""
POLL_S = 0.1
LIVE_TOPICS = tuple(f"resource-monitor:probe-{number}" for number in range(3))
LIVE_INTERVAL_S = 0.05
ARRIVAL_TIMEOUT_S = 60.0
PATIENCE_S = 1.0
LOST = (OSError, WebSocketException, EOFError)
"""The ends of a connection, `TimeoutError` among them. Faults cause them: they prove nothing."""

Connect = Callable[[], Client]


class Probe:
    """A thread that repeats `visit`, each time on a new connection, until `stop`."""

    def __init__(self, name: str, connect: Connect) -> None:
        self.name = name
        self.problems: list[str] = []
        self.visits = 0
        """How often a visit came to its end."""
        self.stopping = threading.Event()
        self._connect = connect
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def visit(self, client: Client) -> None:
        """Use one connection."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the thread."""
        self.stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.stopping.wait(POLL_S):
            try:
                client = self._connect()
            except LOST:
                continue
            try:
                self.visit(client)
                self.visits += 1
            except LOST:
                continue
            except AssertionError as error:
                # The client of tests fails when a message does not come in time.
                if "not within" not in str(error):
                    self.problems.append(f"{self.name}: {error}")
            finally:
                client.close()


class Resuming(Probe):
    """Resumes again and again. `recovered` must be true: nothing is lost, and the epoch stays."""

    def __init__(self, name: str, connect: Connect) -> None:
        self.resumed_at = time.monotonic()
        """When the last resume was complete."""
        self._place: Message | None = None
        super().__init__(name, connect)

    def visit(self, client: Client) -> None:
        request: Message = {"action": "subscribe", "topic": TOPICS[0]}
        if self._place is not None:
            request |= {"since": self._place["position"], "epoch": self._place["epoch"]}
        reply = client.ask(request)
        assert reply["status"] == "success", reply
        assert self._place is None or reply["recovered"] is True, f"{reply} to {request}"
        self._place = reply
        self.resumed_at = time.monotonic()


class Readiness:
    """Compares `/readyz` of an edge with a `Resuming` probe.

    A problem: the edge said "ready" at each poll of `READY_WINDOW_S`, and nobody could resume.
    """

    def __init__(self, name: str, edge: Callable[[], Edge], resuming: Resuming) -> None:
        self.problems: list[str] = []
        self.ready_polls = 0
        self._name = name
        self._edge = edge
        self._resuming = resuming
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        since, polls = time.monotonic(), 0
        """Ready at so many polls, and without a resume, since then."""
        while not self._stopping.wait(POLL_S):
            if self._edge().status("/readyz") != 200:
                since, polls = time.monotonic(), 0
                continue
            self.ready_polls += 1
            polls += 1
            if self._resuming.resumed_at > since:
                since, polls = self._resuming.resumed_at, 0
            waited_s = time.monotonic() - since
            if waited_s > READY_WINDOW_S and polls > READY_POLLS:
                self.problems.append(f"{self._name}: ready, but no resume for {waited_s:.1f} s")
                since, polls = time.monotonic(), 0


class Restless(Probe):
    """Subscribes and unsubscribes. After the reply to an unsubscribe its topic is silent."""

    def __init__(self, name: str, connect: Connect, random: Random) -> None:
        self._random = random
        super().__init__(name, connect)

    def visit(self, client: Client) -> None:
        wanted: set[str] = set()
        newest = 0
        for _ in range(20):
            topic = self._random.choice(TOPICS + LIVE_TOPICS)
            came = len(client.received)
            if topic in wanted:
                client.ask({"action": "unsubscribe", "topic": topic})
                allowed = set(wanted)
                wanted.discard(topic)
            else:
                wanted.add(topic)
                client.subscribe(topic)
                allowed = set(wanted)
            for message in client.received[came:]:
                if "type" not in message or "topic" not in message:
                    continue
                assert message["topic"] in allowed, f"{message['topic']}, wanted: {allowed}"
                if "offset" in message and message["topic"].startswith("event:"):
                    assert message["offset"] > newest, f"offset {message['offset']} after {newest}"
                    newest = message["offset"]


class NewestValue(Probe):
    """Stays connected, and remembers the newest value of each live topic."""

    def __init__(self, name: str, connect: Connect) -> None:
        self.newest: dict[str, int] = {}
        super().__init__(name, connect)

    def visit(self, client: Client) -> None:
        client.subscribe("resource-monitor:*")
        while not self.stopping.is_set():
            try:
                message = client.receive(PATIENCE_S)
            except TimeoutError:
                continue
            client.received.clear()
            if message.get("topic") in LIVE_TOPICS and "status" not in message:
                self.newest[message["topic"]] = message["data"]["n"]


class LiveValues:
    """Emits values of live topics, while `NewestValue` probes watch."""

    def __init__(self, emitter: Emitter) -> None:
        self.last = 0
        self._emitter = emitter
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live values", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Emit nothing more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        for number in count(1):
            for topic in LIVE_TOPICS:
                self._emitter.emit(topic, {"n": number})
            self.last = number
            if self._stopping.wait(LIVE_INTERVAL_S):
                return


class Probes:
    """All probes of a stage."""

    def __init__(
        self, edges: Callable[[], list[Edge]], connect: Callable[[int], Client], emitter: Emitter
    ) -> None:
        """`edges` returns the present edges; `connect` connects to one of them by its number."""
        self._connect = connect
        self._numbers = range(len(edges()))
        self._stack = ExitStack()
        self._live = LiveValues(emitter)
        self._stack.callback(self._live.stop)
        self._resuming = [Resuming(f"resuming at edge {n}", self._at(n)) for n in self._numbers]
        self._readiness = [
            Readiness(f"/readyz of edge {n}", lambda n=n: edges()[n], self._resuming[n])  # type: ignore[misc]
            for n in self._numbers
        ]
        self._restless = [
            Restless(f"restless at edge {n}", self._at(n), Random(n)) for n in self._numbers
        ]
        self._newest = [
            NewestValue(f"newest value at edge {n}", self._at(n)) for n in self._numbers
        ]
        self._all: list[Probe | Readiness] = [
            *self._readiness,
            *self._resuming,
            *self._restless,
            *self._newest,
        ]
        for each in self._all:
            self._stack.callback(each.stop)

    def finish(self) -> list[str]:
        """Stop the load, wait for the last values, and return the problems."""
        self._live.stop()
        last = dict.fromkeys(LIVE_TOPICS, self._live.last)
        for probe in self._newest:
            self._check(lambda p=probe: p.newest == last, probe, f"{probe.name}: not {last}")  # type: ignore[misc]
        self.close()
        problems = [problem for each in self._all for problem in each.problems]
        for number in self._numbers:
            problems += self._late(number, last)
        return problems

    def close(self) -> None:
        """End all threads."""
        self._stack.close()

    def __str__(self) -> str:
        resumed = sum(probe.visits for probe in self._resuming)
        polls = sum(each.ready_polls for each in self._readiness)
        restless = sum(probe.visits for probe in self._restless)
        return f"probes: {resumed} resumes, {polls} times ready, {restless} restless visits"

    def _at(self, number: int) -> Connect:
        return lambda: self._connect(number)

    def _check(self, condition: Callable[[], bool], probe: NewestValue, problem: str) -> None:
        try:
            wait_for(condition, problem, ARRIVAL_TIMEOUT_S)
        except AssertionError:
            probe.problems.append(f"{problem}, but {probe.newest}")

    def _late(self, number: int, last: dict[str, int]) -> list[str]:
        """A new subscriber gets the newest values at once: they are retained."""
        client = self._connect(number)
        try:
            client.subscribe("resource-monitor:*")
            for _ in last:
                message = client.receive_until(
                    lambda message: message.get("topic") in last, "a retained value"
                )
                if message["data"]["n"] != last[message["topic"]]:
                    return [f"late at edge {number}: {message}, the last was {last}"]
        except (AssertionError, *LOST) as error:
            return [f"late at edge {number}: {error}"]
        finally:
            client.close()
        return []
