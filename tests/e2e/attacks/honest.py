"""`Honest`: a relay with an emitter, an edge and a client, which an attack must not disturb."""

import itertools
import select
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
from websockets.exceptions import WebSocketException

from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for
from tests.support.zmtp_peer import ZmtpPeer

MIB = 2**20
TOPIC = "event:honest"
LIVE = "resource-monitor:honest"
INTERVAL_S = 0.01
RECONNECT_S = 0.01
WAIT_S = 60.0
REST_BYTES = 32 * MIB
"""malloc keeps so much of what was freed; a leak in proportion to an attack is larger."""
LOG_LINES = 40
"""Lines that the relay may write during an attack: one for each cause in 10 s."""


class Attack:
    """Peers in threads of their own, which come again when they are cut off."""

    def __init__(self, endpoint: str, socket_type: bytes | None = None, peers: int = 1) -> None:
        self.endpoint, self.socket_type = endpoint, socket_type
        self.rounds = 0
        """How often `work` was called."""
        self.cut = 0
        """How often the relay has ended a connection."""
        self.held = 0
        """How many connections are in `hold`."""
        self._stop = threading.Event()
        self._peers = peers
        self._threads: list[threading.Thread] = []
        self._faults: list[BaseException] = []

    def work(self, peer: ZmtpPeer) -> None:
        """Do one round of the attack on a connection. `OSError` means that it was ended."""
        raise NotImplementedError

    def hold(self, peer: ZmtpPeer) -> None:
        """Read nothing and send nothing until the relay ends the connection, or the attack ends."""
        poll = select.poll()
        poll.register(peer.socket, select.POLLRDHUP)
        self.held += 1
        try:
            while not self._stop.is_set():
                if poll.poll(100):
                    raise ConnectionError("the relay has ended the connection")
        finally:
            self.held -= 1

    def pause(self) -> None:
        """Wait a moment, or until the attack ends."""
        if self._stop.wait(0.05):
            raise ConnectionError("the attack has ended")

    def start(self) -> None:
        """Begin."""
        self._threads = [
            threading.Thread(target=self._run, daemon=True) for _ in range(self._peers)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all connections."""
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "the attack has not ended"
        assert not self._faults, self._faults

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    with ZmtpPeer(self.endpoint, self.socket_type) as peer:
                        while not self._stop.is_set():
                            self.work(peer)
                            self.rounds += 1
                except OSError:
                    self.cut += 1
                    self._stop.wait(RECONNECT_S)
        except BaseException as fault:
            self._faults.append(fault)
            raise


class Together:
    """Several attacks at once."""

    def __init__(self, attacks: Sequence[Attack]) -> None:
        self.attacks = attacks

    def start(self) -> None:
        """Begin."""
        for each in self.attacks:
            each.start()

    def stop(self) -> None:
        """End all connections."""
        for each in self.attacks:
            each.stop()

    @property
    def rounds(self) -> int:
        """The rounds of the one that has done the fewest, ended connections included."""
        return min(each.rounds + each.cut for each in self.attacks)

    @property
    def cut(self) -> int:
        """The connections that the relay has ended."""
        return sum(each.cut for each in self.attacks)


class Peak:
    """The most memory that a process has had during one attack."""

    def __init__(self, first_bytes: int, grows_by: float = float("inf")) -> None:
        self.bytes = first_bytes
        self._most_bytes = first_bytes + grows_by

    def check(self) -> None:
        """It is below its bound."""
        assert self.bytes < self._most_bytes, f"{self.bytes / MIB:.0f} MiB"


class Honest:
    """Emits an event and a live value every 10 ms, and receives them through an edge."""

    def __init__(self, cluster: Cluster, relay: ManagedProcess) -> None:
        self._relay = relay
        self._cluster = cluster
        self._process = psutil.Process(relay.pid)
        self._emitter = cluster.emitter("honest")
        self.edge = cluster.start_edge()
        self.client = cluster.connect(self.edge, "alice")
        self.client.subscribe(TOPIC)
        self.client.subscribe(LIVE)
        self.emitted = 0
        self.received: list[int] = []
        self.live = 0
        self._peak = Peak(0)
        self._descriptors = 0
        """Of the relay, before the first attack."""
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=each, daemon=True)
            for each in (self._emit, self._receive, self._watch_memory)
        ]
        self._faults: list[BaseException] = []

    def start(self) -> None:
        """Begin, and wait until all is on its way."""
        for thread in self._threads:
            thread.start()
        self.wait_for_more(20)
        self._descriptors = self._process.num_fds()

    def stop(self) -> None:
        """End; what is on its way is not waited for."""
        self._stop.set()

    @property
    def rss(self) -> int:
        """Bytes of the relay in memory."""
        return int(self._process.memory_info().rss)

    def wait_for_more(self, count: int) -> None:
        """Wait until so many further events, and a live value, have arrived in order."""
        wanted, live = len(self.received) + count, self.live

        def has_come() -> bool:
            assert not self._faults, self._faults
            assert self._relay.returncode is None, self._cluster.tails()
            # At once: an attack that goes on would fill the machine.
            self._peak.check()
            return len(self.received) >= wanted and self.live > live

        wait_for(has_come, f"{count} further events arrive", WAIT_S)
        # Another one may arrive while they are compared.
        received = list(self.received)
        assert received == list(range(1, len(received) + 1)), "each once, in order"

    def stats(self) -> dict[str, Any]:
        """The relay answers a tool that connects now."""
        with RelayPeer(self._cluster.control) as peer:
            return peer.stats()

    def check_stats(self) -> None:
        """The answer is right."""
        assert self.stats()["relayed"]["event"] > 0

    @contextmanager
    def endures(
        self, attack: Attack | Together, grows_by: int, cuts: Mapping[str, str] | None = None
    ) -> Iterator[None]:
        """Go on while the body waits for the attack to have done its work, and afterwards.

        The relay never has more than `grows_by` bytes over those before, and gives nearly all of
        them back. It logs a few lines, and on each port of `cuts` it cuts peers off for the reason
        that is given there.
        """
        before_bytes, lines, cut_before = self.rss, self._log_lines, self._peers_cut
        # A new object: the thread may be about to write into the one before.
        peak = self._peak = Peak(before_bytes, grows_by)
        attack.start()
        try:
            yield
            self.check_stats()
            self.wait_for_more(20)
        finally:
            attack.stop()
        self.wait_for_more(20)
        print(f"{attack.rounds} rounds, {attack.cut} cut; {peak.bytes / MIB:.0f} MiB at most,")
        print(f"{before_bytes / MIB:.0f} before, {self.rss / MIB:.0f} afterwards")
        peak.check()
        assert self._log_lines - lines < LOG_LINES
        cut_after = self._peers_cut
        for port, reason in (cuts or {}).items():
            before = cut_before.get(port, {}).get(reason, 0)
            assert cut_after.get(port, {}).get(reason, 0) > before, f"{port}: {reason}"
        wait_for(lambda: self.rss < before_bytes + REST_BYTES, "memory is given back", WAIT_S)
        wait_for(
            lambda: self._process.num_fds() <= self._descriptors,
            "descriptors are given back",
            WAIT_S,
        )

    def ends(self, attack: Together) -> None:
        """The relay ends in the midst of an attack when it is told to."""
        attack.start()
        try:
            wait_for(lambda: attack.rounds > 0, "each of the attacks goes on", WAIT_S)
            self.stop()
            assert self._relay.terminate() == 0
        finally:
            attack.stop()
        assert "Traceback" not in self._relay.output()

    def answered(self, operation: str) -> int:
        """How many requests for an operation the relay has answered."""
        return int(self.stats()["control_requests"].get(operation, 0))

    def wait_for_silence_on(self, operation: str) -> None:
        """Wait until the relay answers no such request any more, but for those of ours."""
        ours = 1 if operation == "stats" else 0

        def is_silent() -> bool:
            before = self.answered(operation)
            self.wait_for_more(20)
            return self.answered(operation) == before + ours

        wait_for(is_silent, f"no {operation!r} is answered any more", WAIT_S)

    def cut(self, port: str, reason: str) -> int:
        """How many peers of a socket the relay has cut off for a reason."""
        return int(self._peers_cut.get(port, {}).get(reason, 0))

    @property
    def _peers_cut(self) -> dict[str, dict[str, int]]:
        cut: dict[str, dict[str, int]] = self.stats()["peers_cut"]
        return cut

    @property
    def _log_lines(self) -> int:
        return len(self._relay.output().splitlines())

    def _emit(self) -> None:
        for number in itertools.count(1):
            if self._stop.wait(INTERVAL_S):
                return
            self._emitter.emit(TOPIC, {"n": number})
            self._emitter.emit(LIVE, {"n": number})
            self.emitted = number

    def _receive(self) -> None:
        try:
            while not self._stop.is_set():
                message = self.client.receive(WAIT_S)
                self.client.received.clear()
                if "status" not in message and message.get("topic") == TOPIC:
                    self.received.append(message["data"]["n"])
                elif "status" not in message and message.get("topic") == LIVE:
                    self.live = message["data"]["n"]
        except (OSError, TimeoutError, WebSocketException) as fault:
            if not self._stop.is_set():
                self._faults.append(fault)

    def _watch_memory(self) -> None:
        while not self._stop.wait(0.02):
            peak = self._peak
            try:
                peak.bytes = max(peak.bytes, self.rss)
            except psutil.Error:
                return


def wait_done(is_done: Callable[[], bool], what: str) -> None:
    """Wait until an attack has done its work."""
    wait_for(is_done, what, WAIT_S)
