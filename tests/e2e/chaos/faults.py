"""What goes wrong during a round. Each fault lasts until its effect was seen, and is then lifted.

Faults of one target wait for each other; those of different targets may overlap.
"""

import random
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from edge.core.websocket.close_codes import CloseCode
from relay.wire.topics import EVENT
from tests.e2e.chaos.lives import SPOOLING
from tests.e2e.chaos.stage import EDGES, Stage
from tests.support.cluster import Edge
from tests.support.swarm_client import SwarmClient
from tests.support.waiting import wait_for

STOPPED_S = 5.0
DISK_FULL_S = (0.5, 3.0)
"""Each half of it: files cannot grow, and then nothing can be written."""
EFFECT_TIMEOUT_S = 30.0


class Fault(NamedTuple):
    """Something that goes wrong with `target`."""

    name: str
    target: str
    apply: Callable[["Scene"], None]
    """Begins, waits, and ends the fault."""


class Scene(NamedTuple):
    """What a fault works with."""

    stage: Stage
    random: random.Random
    failed: threading.Event
    """Set when another fault has failed: then nothing is waited for any more."""

    def pause(self, seconds: float) -> None:
        """Let the system run for a while."""
        self.failed.wait(seconds)


def kill_relay(scene: Scene) -> None:
    """The journal tells the next relay where everybody was."""
    scene.stage.kill_and_restart_relay()


def stop_relay(scene: Scene) -> None:
    """Longer than anybody waits for it: connections are given up and made anew."""
    proceed = scene.stage.stop(scene.stage.relay)
    try:
        scene.pause(STOPPED_S)
    finally:
        proceed()


def fill_disk(scene: Scene) -> None:
    """The relay acknowledges nothing, says so, and goes on by itself."""
    try:
        scene.stage.limit_relay_files()
        scene.pause(scene.random.uniform(*DISK_FULL_S))
        _fill_disk_until_told(scene)
        scene.pause(scene.random.uniform(*DISK_FULL_S))
    finally:
        scene.stage.make_room()
    wait_for(scene.stage.is_journaling, "the relay journals again", EFFECT_TIMEOUT_S)


def kill_relay_with_full_disk(scene: Scene) -> None:
    """The next one finds a journal whose last write was refused."""
    _fill_disk_until_told(scene)
    scene.stage.kill_and_restart_relay()


def _fill_disk_until_told(scene: Scene) -> None:
    scene.stage.fill_relay_disk()
    wait_for(
        lambda: not scene.stage.is_journaling(),
        "the relay says that it cannot journal",
        EFFECT_TIMEOUT_S,
    )


def kill_edge(scene: Scene, index: int) -> None:
    """Its clients come back and go on where they were."""
    scene.stage.kill_and_restart_edge(index)


def stop_edge(scene: Scene, index: int) -> None:
    """It falls behind by itself, and catches up by itself."""
    proceed = scene.stage.stop(scene.stage.edges[index].process)
    try:
        scene.pause(STOPPED_S)
    finally:
        proceed()


def kill_emitter(scene: Scene, index: int) -> None:
    """What it had taken is in its spool."""
    scene.stage.emitters[index].kill_and_restart()


def cut_clients(scene: Scene) -> None:
    """Several clients lose their connections without a word, three times."""
    for _ in range(3):
        for client in scene.random.sample(scene.stage.swarm.clients, 10):
            scene.stage.swarm.call(client.abort)
        scene.pause(scene.random.uniform(0.1, 0.5))


def read_nothing(scene: Scene, index: int) -> None:
    """A client of the edge stops reading until the edge gives it up with 4008.

    When its connection ends otherwise meanwhile, it begins anew.
    """
    edge, clients = scene.stage.edges[index], scene.stage.swarm.clients
    slow = [each for each in clients if each.port == edge.port and each.has_small_buffer]
    client = scene.random.choice(slow)
    before = client.closes[CloseCode.TOO_SLOW.code]
    while not scene.failed.is_set() and client.closes[CloseCode.TOO_SLOW.code] == before:
        _stop_reading_for_a_while(scene, client, edge)


def _stop_reading_for_a_while(scene: Scene, client: SwarmClient, edge: Edge) -> None:
    """Until the edge has sent a client away, probably this one."""

    def wait_unless_failed(condition: Callable[[], bool], what: str) -> None:
        wait_for(lambda: scene.failed.is_set() or condition(), what, EFFECT_TIMEOUT_S)

    swarm, record = scene.stage.swarm, client.record
    wait_unless_failed(lambda: client.is_settled, f"{client.name} is connected")
    connections, closed = client.connections, _sent_away(edge)
    swarm.call(client.stop_reading)
    try:
        wait_unless_failed(
            lambda: client.connections > connections or _sent_away(edge) > closed,
            f"the edge gives {client.name} up",
        )
    finally:
        swarm.call(client.resume_reading)
    tip = max(each.record.positions[EVENT] for each in swarm.clients if each.record.patterns)
    wait_unless_failed(
        lambda: client.connections > connections or record.positions[EVENT] >= tip,
        f"{client.name} has read what waited",
    )


def all_faults() -> list[Fault]:
    """Every fault on every target."""
    edges = range(EDGES)
    return [
        Fault("kill -9 the relay", "relay", kill_relay),
        Fault("SIGSTOP the relay", "relay", stop_relay),
        Fault("the relay's disk is full", "relay", fill_disk),
        Fault("kill -9 the relay while its disk is full", "relay", kill_relay_with_full_disk),
        Fault("cut connections", "clients", cut_clients),
        *(Fault(f"kill -9 edge {n}", f"edge {n}", partial(kill_edge, index=n)) for n in edges),
        *(Fault(f"SIGSTOP edge {n}", f"edge {n}", partial(stop_edge, index=n)) for n in edges),
        *(
            Fault(
                f"a client of edge {n} does not read", f"edge {n}", partial(read_nothing, index=n)
            )
            for n in edges
        ),
        *(
            Fault(f"kill -9 emitter {n}", f"emitter {n}", partial(kill_emitter, index=n))
            for n in range(SPOOLING)
        ),
    ]


def _sent_away(edge: Edge) -> float:
    """How many clients `edge` has closed because they, or the relay, were too slow."""
    closed = edge.metrics()["edge_closed"]
    return sum(
        closed.get(str(code.code), 0.0) for code in (CloseCode.TOO_SLOW, CloseCode.TRY_AGAIN_LATER)
    )
