"""An edge that stands still costs the relay a bounded number of bytes, and its clients nothing."""

import signal
import threading

import psutil

from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.processes import ManagedProcess
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for

MIB = 2**20
EVENTS = 800
EVENT_BYTES = 200_000
"""Together 160 MB: less than the retention, and far more than the bound below."""
BUDGET_BYTES = 24 * MIB
BESIDE_BYTES = 56 * MIB
"""Events on their way from the emitter, a batch, and the pages that SQLite and malloc keep."""
ROUND = 50
LIVE = "resource-monitor:survival"
WAIT_S = 90.0


def memory_bytes(process: ManagedProcess) -> int:
    return int(psutil.Process(process.pid).memory_info().rss)


class Reader(threading.Thread):
    """A client that reads all the time. It sends no pings: a frozen edge would not answer."""

    def __init__(self, cluster: Cluster, edge: Edge, username: str) -> None:
        super().__init__(daemon=True)
        url = f"ws://127.0.0.1:{edge.port}/ws?token={cluster.token(username)}"
        self.client = Client(url, ping_interval=None)
        self.client.subscribe("event:*")
        self.client.subscribe(LIVE)
        self.offsets: list[int] = []
        self.live = 0
        """The last value of the live topic."""
        self.start()

    def run(self) -> None:
        while len(self.offsets) < EVENTS + ROUND or self.live < EVENTS // ROUND:
            message = self.client.receive(WAIT_S)
            self.client.received.clear()
            if message.get("topic") == "event:large":
                self.offsets.append(message["offset"])
            elif message.get("topic") == LIVE and "status" not in message:
                self.live = message["data"]["n"]

    def wait_for(self, count: int) -> None:
        wait_for(lambda: len(self.offsets) >= count, f"{count} events arrive", WAIT_S)


def test_a_frozen_edge_costs_the_relay_little_and_then_sends_every_event_once(
    cluster: Cluster,
) -> None:
    relay = cluster.start_relay(RELAY_EGRESS_BYTES=str(BUDGET_BYTES))
    room = str(2 * EVENTS * EVENT_BYTES)
    frozen = cluster.start_edge(EDGE_MAX_QUEUED_BYTES=room)
    living = cluster.start_edge(EDGE_MAX_QUEUED_BYTES=room)
    waiting, served = Reader(cluster, frozen, "alice"), Reader(cluster, living, "bob")
    emitter = cluster.emitter()
    data = {"padding": "x" * EVENT_BYTES}
    for _ in range(ROUND):
        emitter.emit("event:large", data)
    for reader in (waiting, served):
        reader.wait_for(ROUND)
    before, most = memory_bytes(relay), 0
    frozen.process.signal(signal.SIGSTOP)
    for number in range(EVENTS // ROUND):
        emitter.emit(LIVE, {"n": number + 1})
        for _ in range(ROUND):
            emitter.emit("event:large", data)
        assert emitter.wait_acknowledged(30)
        most = max(most, memory_bytes(relay))
    with RelayPeer(cluster.control) as peer:
        assert peer.stats()["subscribers_cut"] == 1
    frozen.process.signal(signal.SIGCONT)
    for reader in (served, waiting):
        reader.wait_for(EVENTS + ROUND)
        assert reader.offsets == list(range(1, EVENTS + ROUND + 1)), "once, and in order"
        reader.join(WAIT_S)
        assert reader.live == EVENTS // ROUND, "the last live value arrives as well"
        reader.client.close()
    print(f"the relay grew by {(most - before) / MIB:.1f} MiB")
    assert most - before < BUDGET_BYTES + BESIDE_BYTES
