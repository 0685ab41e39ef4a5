"""The edge's link to a relay that lies: afterwards it must follow an honest one as before."""

import itertools
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from random import Random

from websockets.exceptions import WebSocketException

from relay.wire.control import AccountReply, ErrorReply, pack_message
from relay.wire.header import MAX_OFFSET
from tests.fuzz import relay_samples
from tests.fuzz.budget import Budget, chance_of
from tests.fuzz.changes import changed_frames
from tests.fuzz.edge_samples import RELAY_TOML
from tests.fuzz.lying_relay import LyingRelay
from tests.fuzz.watched import Watched
from tests.support.clients import Message
from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for

MESSAGES_EACH = 1_000
"""Events of a time of lies."""
SERVES_EACH = 20
SERVE_MS = 2
HEARTBEATS = 0.3
RESTARTS = 0.02
"""Chance that a heartbeat is of another process, with which the edge must synchronize anew."""
LIES = 0.7
IN_ORDER = 5
"""Events that the client must get one after another in an honest time."""
TOPIC = "event:honest"
CALL_ID = 2
CALL_EACH = 50
"""Messages for each call, or it would soon be too many."""
CALL = {"action": "request", "method": "fuzz_method", "timeout": 0.1, "id": CALL_ID}
WAIT_S = 60.0
PACE_S = 0.02
BEATS = 10
"""Of the pace, for each heartbeat."""


class Watcher:
    """A client that comes again when it is sent away, and notes the numbers that it is told."""

    def __init__(self, cluster: Cluster, edge: Edge) -> None:
        self._cluster, self._edge = cluster, edge
        self.numbers: list[int] = []
        self._has_called = False
        """Whether a call was answered: the edge opens its connection for calls with the first."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave."""
        self._end.set()
        self._thread.join(WAIT_S)

    def is_served(self) -> bool:
        """Whether the last events came one after another."""
        last = self.numbers[-IN_ORDER:]
        is_whole = self._has_called and len(last) == IN_ORDER
        return is_whole and last == list(range(last[0], last[0] + IN_ORDER))

    def _run(self) -> None:
        while not self._end.wait(0.1):
            try:
                with self._cluster.connect(self._edge, "alice") as client:
                    # Everything, to be sent all that is wrong as well.
                    client.send({"action": "subscribe", "topic": "*"})
                    client.send({"action": "subscribe", "topic": "presence:room:1", "id": 1})
                    for number in itertools.count():
                        if self._end.is_set():
                            return
                        if number % CALL_EACH == 0:
                            client.send(CALL)
                        self._take(client.receive(1.0))
                        client.received.clear()
            except (OSError, TimeoutError, WebSocketException, AssertionError):
                continue

    def _take(self, message: Message) -> None:
        self._has_called |= message.get("id") == CALL_ID
        if message.get("topic") == TOPIC and "status" not in message:
            self.numbers.append(message["data"]["n"])


class Link:
    """An edge, its watcher, and the relay that lies to it."""

    def __init__(self, directory: Path) -> None:
        self.cluster = Cluster(directory)
        self.cluster.configure(RELAY_TOML)
        self.cluster.env["EDGE_HISTORY_BYTES"] = str(2**20)
        self._relay = LyingRelay(self.cluster)
        self._numbers = itertools.count(1)
        self._edge = self.cluster.start_edge(ready=False)
        self._watcher = Watcher(self.cluster, self._edge)
        self.speak_truth()
        self.watched = Watched(self._edge.process)

    def close(self) -> None:
        """End everything."""
        self._watcher.close()
        self.cluster.close()
        self._relay.close()

    def lie(self, chance: Random) -> int:
        """Publish and answer what is wrong; return how many messages that were."""
        for number in range(MESSAGES_EACH):
            frames = self._message(chance)
            if chance.random() < LIES:
                frames = changed_frames(chance, frames, [*frames, *relay_samples.ENVELOPES])
            self._relay.send(frames)
            if number % SERVES_EACH == 0:
                self._relay.serve(chance, SERVE_MS)
                self._relay.say_unasked(chance, chance.choice(UNASKED))
        return MESSAGES_EACH

    def speak_truth(self) -> None:
        """Be an honest relay until the client is served again. Raises `AssertionError`."""
        self._relay.begin_anew()
        self._watcher.numbers.clear()
        deadline = time.monotonic() + WAIT_S
        for turn in itertools.count():
            if turn % BEATS == 0:
                self._relay.send(self._relay.heartbeat())
            self._relay.serve()
            self._relay.event("event", TOPIC, {"n": next(self._numbers)})
            if self._watcher.is_served():
                return
            assert time.monotonic() < deadline, f"not served again; {self.cluster.tails(60)}"
            time.sleep(PACE_S)

    def finish(self) -> str:
        """Let a real relay take over; return the figures. Raises `AssertionError`."""
        self._relay.close()
        self._watcher.numbers.clear()
        self.cluster.start_relay()
        emitter = self.cluster.emitter("honest")

        def is_served() -> bool:
            emitter.emit(TOPIC, {"n": next(self._numbers)})
            return self._watcher.is_served()

        wait_for(is_served, "an honest relay is followed", WAIT_S)
        self.watched.settle()
        report = self.watched.report()
        assert self._edge.process.terminate() == 0
        self.watched.check_log()
        return report

    def _message(self, chance: Random) -> list[bytes]:
        relay = self._relay
        kind = chance.choice(("event", "room", "task", "addressed", "live", "live"))
        if kind == "live":
            return [*relay.record("chat", *chance.choice(LIVE))]
        if kind == "event" and chance.random() < HEARTBEATS:
            if chance.random() < RESTARTS:
                relay.restart()
            return relay.heartbeat()
        relay.tips[kind] += chance.choice((1, 1, 1, 1, 0, 2, -1, 1000, 2**40))
        relay.tips[kind] %= MAX_OFFSET
        topic, data, username = CONTENTS[kind]
        return [*relay.record(kind, chance.choice(topic), relay.tips[kind], data, username)]


CONTENTS = {
    "event": (("event:fuzz", "event:é"), {"n": 1}, None),
    "room": (("room:1", "room:2"), [1, 2.5, {"a": None}], None),
    "task": (("task:1", "task:2"), {"status": "in_progress", "message": "x"}, "alice"),
    "addressed": (("addressed:event:x", "addressed:edge:disconnect"), {"code": 4003}, "bob"),
}
MEMBERS = {"room:1": {"carol": [1_790_000_000_000, 2]}}
LIVE = (
    ("chat:1", 0, {"n": 1}),
    ("resource-monitor:x", 0, {"process_info": None}),
    ("edge-state:0123456789abcdef", 0, {"versions": {"7": 18, "8": 1}}),
    ("edge-state:0123456789abcdef:7", 0, {"version": 18, "members": MEMBERS}),
)
UNASKED = (
    pack_message(AccountReply(id=1)),
    pack_message(ErrorReply(id=1, code="bad_request", message="é")),
    pack_message(ErrorReply(id=0, code="journal_unavailable", message="")),
    *relay_samples.NOTICES,
)


def fuzz_link(budget: Budget, seed: int) -> str:
    """Let a relay lie to an edge, and speak the truth again, in turns; return what was done.

    Raises `AssertionError` if the edge ends, logs a traceback, grows or keeps descriptors, or if an
    honest client is not served afterwards.
    """
    sent = 0
    with tempfile.TemporaryDirectory() as directory, closing(Link(Path(directory))) as link:
        for number in budget.numbers():
            try:
                sent += link.lie(chance_of(seed, number))
                link.speak_truth()
                link.watched.look()
            except AssertionError as error:
                raise AssertionError(
                    f"{error}; again: link --seed {seed} --only {number}"
                ) from error
        return f"{sent} messages of a relay that lies; {link.finish()}"
