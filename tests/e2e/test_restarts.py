"""After any one process is killed and started again, events flow as before."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
import zmq

from emitters import Emitter, EmitterClosed, OutboxFull
from relay.wire.control import HEARTBEAT_TOPIC
from tests.e2e.journaled import Subscriber
from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for

RECOVERY_S = 5.0


def test_a_killed_relay_sends_clients_away_and_is_followed_again(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge()
    emitter = cluster.emitter()
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    relay.kill()
    assert client.wait_closed() == (4013, "the relay's heartbeat is missing, retry in 1 s")
    assert edge.status("/readyz") == 503
    wait_for(lambda: not emitter.wait_connected(0), "the emitter notices")
    emitter.emit("event:while_away", {"n": 1})
    cluster.start_relay()
    wait_for(lambda: edge.status("/readyz") == 200, "the edge is ready again", RECOVERY_S)
    again = cluster.connect(edge, "alice")
    again.subscribe("event:*")
    assert emitter.wait_connected(RECOVERY_S)
    emitter.emit("event:after", {"n": 2})
    assert again.receive_on("event:after")["data"] == {"n": 2}


def test_a_relay_that_is_back_at_once_costs_no_connection_and_no_event(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="10")
    emitter = cluster.emitter()
    client = cluster.connect(edge, "alice")
    epoch = client.subscribe("event:*")["epoch"]
    emitter.emit("event:before", {})
    assert client.receive_on("event:before")["offset"] == 1
    relay.kill()
    wait_for(lambda: not emitter.wait_connected(0), "the emitter notices")
    emitter.emit("event:meanwhile", {})
    cluster.start_relay()
    assert emitter.wait_connected(RECOVERY_S)
    emitter.emit("event:after", {})
    assert client.receive_on("event:meanwhile")["offset"] == 2
    assert client.receive_on("event:after")["offset"] == 3
    assert client.ask({"action": "subscribe", "topic": "event:*"})["epoch"] == epoch


def test_events_emitted_before_there_is_a_relay_wait_for_it(cluster: Cluster) -> None:
    emitter = Emitter(name="early", ingress=cluster.ingress, control=cluster.control, max_events=3)
    try:
        for number in range(3):
            emitter.emit("event:early", {"n": number})
        with pytest.raises(OutboxFull, match="3 events"):
            emitter.emit("event:early", {"n": 3})
        # The edge starts first, so that the relay has a subscriber before the first event.
        edge = cluster.start_edge(ready=False)
        cluster.start_relay(RELAY_HEARTBEAT_S="0.1")
        edge.wait_ready()
        assert emitter.wait_connected(10)
        assert emitter.close(5) == 0
    finally:
        emitter.close(0)


def test_a_killed_edge_is_replaced_on_the_same_port(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    emitter = cluster.emitter()
    emitter.emit("task:1", {"status": "in_progress"}, username="alice")
    edge.process.kill()
    edge = cluster.start_edge(port=edge.port)
    client = cluster.connect(edge, "alice")
    assert client.receive_on("task:1")["data"] == {"status": "in_progress"}


def test_workers_of_a_killed_edge_end_by_themselves(cluster: Cluster) -> None:
    """Or they would hold the port, and the edge could not be started again."""
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2")
    edge.process.kill()
    wait_for(lambda: not edge.is_listening(), "the workers are gone")
    replaced = cluster.start_edge(port=edge.port, EDGE_WORKERS="2")
    assert replaced.status("/readyz") == 200


def test_a_killed_worker_is_replaced(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2")
    before = set(edge.connections_by_worker())
    os.kill(int(min(before)), signal.SIGKILL)
    wait_for(
        lambda: (
            len(edge.connections_by_worker() | {}) == 2
            and set(edge.connections_by_worker()) != before
        ),
        "a new worker",
        15,
    )


def test_closing_waits_until_the_relay_has_everything(cluster: Cluster) -> None:
    """Events in the buffers of libzmq and the kernel do not count as acknowledged."""
    relay = cluster.start_relay()
    emitter = cluster.emitter()
    relay.signal(signal.SIGSTOP)
    for number in range(20_000):
        emitter.emit("event:x", {"n": number})
    left = emitter.close(0.2)
    assert left > 0, "nothing can be confirmed by a relay that stands still"
    relay.signal(signal.SIGCONT)
    second = cluster.emitter("second")
    with listening(cluster, b"event:y") as receive:
        for number in range(20_000):
            second.emit("event:y", {"n": number})
        assert second.close(30) == 0
        for _ in range(20_000):
            receive()


def test_an_edge_that_stood_still_does_not_blame_the_relay(cluster: Cluster) -> None:
    cluster.start_relay(RELAY_HEARTBEAT_S="0.1")
    edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="1")
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    edge.process.signal(signal.SIGSTOP)
    with listening(cluster, HEARTBEAT_TOPIC) as receive_heartbeat:
        for _ in range(20):
            receive_heartbeat()
    edge.process.signal(signal.SIGCONT)
    emitter = cluster.emitter()
    emitter.emit("event:after", {})
    client.receive_on("event:after")
    assert "lost the relay" not in edge.process.output()


def test_a_callback_that_raises_does_not_end_the_emitter(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()
    called = []

    def fail() -> None:
        called.append(True)
        raise RuntimeError("a callback's own fault")

    emitter.on_watch_change(fail)
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    client.subscribe("resource-monitor:x")
    wait_for(lambda: called, "the callback is called")
    emitter.emit("event:x", {})
    assert client.receive_on("event:x")["data"] == {}


@contextmanager
def listening(cluster: Cluster, prefix: bytes) -> Iterator[Callable[[], list[bytes]]]:
    """Yield a function that returns the relay's next message on a topic with `prefix`."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.setsockopt(zmq.RCVTIMEO, 5000)
    subscriber.setsockopt(zmq.RCVHWM, 0)
    subscriber.subscribe(HEARTBEAT_TOPIC)
    subscriber.subscribe(prefix)
    subscriber.connect(cluster.egress)

    def receive() -> list[bytes]:
        while not (frames := subscriber.recv_multipart())[0].startswith(prefix):
            pass
        return frames

    try:
        subscriber.recv_multipart()  # a heartbeat: the subscriptions are in place
        yield receive
    finally:
        context.destroy(linger=0)


def test_an_emitter_that_is_closed_says_so(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()
    assert emitter.close() == 0
    with pytest.raises(EmitterClosed):
        emitter.emit("event:x", {})


def test_a_relay_with_rare_heartbeats_is_not_lost_between_them(cluster: Cluster) -> None:
    cluster.start_relay(RELAY_HEARTBEAT_S="0.6")
    edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="0.2")
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    with closing(Subscriber(cluster, HEARTBEAT_TOPIC)) as subscriber:
        for _ in range(4):
            subscriber.heartbeat()
    cluster.emitter().emit("event:after", {})
    assert client.receive_on("event:after")["offset"] == 1
    assert "lost the relay" not in edge.process.output()
