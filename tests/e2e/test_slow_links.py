"""Connections between emitter and relay that are slow: nothing is sent twice, and all arrives."""

from emitters import Emitter
from tests.emitters.relay_control import emitter_stats, read_journal
from tests.support.cluster import Cluster
from tests.support.tcp_proxy import TcpProxy

EVENT_BYTES = 300_000
BYTES_PER_S = 200_000
"""One event takes 1.5 s, longer than an emitter waits for an acknowledgement before it asks."""
EVENTS = 8
CLOSE_S = 60.0


def test_a_link_slower_than_an_event_a_second_brings_every_event_once(cluster: Cluster) -> None:
    cluster.start_relay()
    ingress_port = int(cluster.ingress.rpartition(":")[2])
    with TcpProxy(ingress_port) as proxy:
        proxy.request_bytes_per_s = BYTES_PER_S
        emitter = Emitter(name="slow", ingress=proxy.endpoint, control=cluster.control)
        for number in range(EVENTS):
            emitter.emit("event:a", {"n": number, "ballast": "x" * EVENT_BYTES})
        assert emitter.wait_acknowledged(CLOSE_S)
        stats = emitter_stats(cluster.control, "slow")
        assert (stats["duplicate"], stats["out_of_sequence"]) == (0, 0)
        assert emitter.close(CLOSE_S) == 0
    events = read_journal(cluster.control)
    assert [event.data["n"] for event in events] == list(range(EVENTS))
