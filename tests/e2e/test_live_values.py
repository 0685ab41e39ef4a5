"""Of a live topic the newest value arrives, whenever the relay is killed."""

from emitters import Emitter
from tests.support.clients import Client
from tests.support.cluster import Cluster
from tests.support.waiting import wait_for

ROUNDS = 3
TOPIC = "resource-monitor:survival"


def send(emitter: Emitter, number: int) -> None:
    """Emit a value, and wait until it has left the emitter."""
    emitter.emit(TOPIC, {"n": number})
    wait_for(lambda: emitter.counters()["live_sent"] == number, "it is sent")


def wait_shown(client: Client, number: int) -> None:
    client.receive_until(
        lambda message: message.get("data") == {"n": number}, f"value {number} is shown"
    )


def test_the_newest_value_survives_a_relay_that_is_killed_right_after_it(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="30")
    emitter = cluster.emitter()
    staying = cluster.connect(edge, "alice")
    staying.subscribe(TOPIC)
    wait_for(lambda: emitter.is_watched(TOPIC), "the topic is watched")
    for number in range(1, ROUNDS + 1):
        send(emitter, number)
        relay.kill()
        relay = cluster.start_relay()
        wait_shown(staying, number)
        edge.wait_ready()
        late = cluster.connect(edge, f"bob-{number}")
        late.subscribe(TOPIC)
        wait_shown(late, number)


def test_a_late_subscriber_has_the_value_that_only_the_killed_relay_had(cluster: Cluster) -> None:
    """Nobody watches the topic when the next relay starts."""
    relay = cluster.start_relay()
    edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="30")
    emitter = cluster.emitter()
    early = cluster.connect(edge, "alice")
    early.subscribe(TOPIC)
    wait_for(lambda: emitter.is_watched(TOPIC), "the topic is watched")
    send(emitter, 1)
    wait_shown(early, 1)
    early.close()
    wait_for(lambda: not emitter.is_watched(TOPIC), "nobody watches")
    edge.process.kill()
    relay.kill()
    cluster.start_relay()
    assert emitter.wait_connected(20)
    late = cluster.connect(cluster.start_edge(), "bob")
    late.subscribe(TOPIC)
    wait_shown(late, 1)
