"""The faults of a round. Each lasts until its effect is observed, and is then ended.

Faults of one target exclude each other; faults of different targets may overlap.
"""

import random
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from edge.core.websocket.close_codes import CloseCode
from relay.wire.topics import EVENT
from tests.e2e.chaos.lives import SPOOLING
from tests.e2e.chaos.stage import EDGES, Stage
from tests.e2e.chaos.wires import Failure
from tests.support.cluster import Edge
from tests.support.swarm_client import SwarmClient
from tests.support.waiting import wait_for

STOPPED_S = 5.0
DISK_FULL_S = (0.5, 3.0)
"""The time for each of two stages: files cannot grow, then no write succeeds."""
WIRE_FAILS_S = (1.0, 8.0)
EFFECT_TIMEOUT_S = 90.0


class Fault(NamedTuple):
    """One fault of the process or clients named `target`."""

    name: str
    target: str
    apply: Callable[["Scene"], None]
    """Starts the fault, waits for its effect, and ends it."""


class Scene(NamedTuple):
    """The objects that a fault uses."""

    stage: Stage
    random: random.Random
    failed: threading.Event
    """Set when another fault has failed: all waits then end at once."""
    note: Callable[[str], None]
    """Adds a line to the log of the round."""

    def pause(self, seconds: float) -> None:
        """Let the system run for `seconds`, or until a fault fails."""
        self.failed.wait(seconds)


def kill_relay(scene: Scene) -> None:
    """The next relay reads all cursors from the journal."""
    scene.stage.kill_and_restart_relay()


def stop_relay(scene: Scene) -> None:
    """For longer than all timeouts: its peers give their connections up and make new ones."""
    proceed = scene.stage.stop(scene.stage.relay)
    try:
        scene.pause(STOPPED_S)
    finally:
        proceed()


def fill_disk(scene: Scene) -> None:
    """The relay acknowledges no event, reports that, and recovers by itself."""
    try:
        scene.stage.limit_relay_files()
        scene.pause(scene.random.uniform(*DISK_FULL_S))
        _fill_disk_until_told(scene)
        scene.pause(scene.random.uniform(*DISK_FULL_S))
    finally:
        scene.stage.make_room()
    wait_for(scene.stage.is_journaling, "the relay journals again", EFFECT_TIMEOUT_S)


def kill_relay_with_full_disk(scene: Scene) -> None:
    """The next relay opens a journal whose last write failed."""
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
    """Its clients reconnect and resume."""
    scene.stage.kill_and_restart_edge(index)


def stop_edge(scene: Scene, index: int) -> None:
    """The edge falls behind, and catches up by itself."""
    proceed = scene.stage.stop(scene.stage.edges[index].process)
    try:
        scene.pause(STOPPED_S)
    finally:
        proceed()


def kill_emitter(scene: Scene, index: int) -> None:
    """Its accepted events are in its spool."""
    scene.stage.emitters[index].kill_and_restart()


def cut_clients(scene: Scene) -> None:
    """Several connections are cut without a close frame, three times."""
    for _ in range(3):
        for client in scene.random.sample(scene.stage.swarm.clients, 10):
            scene.stage.swarm.call(client.abort)
        scene.pause(scene.random.uniform(0.1, 0.5))


def move_clients(scene: Scene) -> None:
    """Clients resume at the other edge, which may be ahead of their place or behind it."""
    # Those with a small buffer are at a place where other faults look for them.
    clients = [each for each in scene.stage.swarm.clients if not each.has_small_buffer]
    for _ in range(3):
        for client in scene.random.sample(clients, 4):
            scene.stage.move(client)
        scene.pause(scene.random.uniform(0.1, 0.5))


def fail_wire(scene: Scene, wire: str) -> None:
    """A wire fails in one of the ways, for a while, and comes back."""
    failure = scene.random.choice(list(Failure))
    scene.note(f"{wire} {failure.value}")
    try:
        scene.stage.wires.fail(wire, failure)
        if failure is not Failure.CUT:
            scene.pause(scene.random.uniform(*WIRE_FAILS_S))
    finally:
        scene.stage.wires.mend(wire)


def read_nothing(scene: Scene, index: int) -> None:
    """A client of the edge stops reading until the edge gives it up with 4008.

    If its connection ends for another reason, the fault starts again.
    """
    edge, clients = scene.stage.edges[index], scene.stage.swarm.clients
    slow = [each for each in clients if each.port == edge.port and each.has_small_buffer]
    client = scene.random.choice(slow)
    before = client.closes[CloseCode.TOO_SLOW.code]
    while not scene.failed.is_set() and client.closes[CloseCode.TOO_SLOW.code] == before:
        _stop_reading_for_a_while(scene, client, edge)


def _stop_reading_for_a_while(scene: Scene, client: SwarmClient, edge: Edge) -> None:
    """Stop reading until the edge closes a slow client, probably this one."""

    def wait_unless_failed(condition: Callable[[], bool], what: str) -> None:
        wait_for(lambda: scene.failed.is_set() or condition(), what, EFFECT_TIMEOUT_S)

    swarm, record = scene.stage.swarm, client.record
    wait_unless_failed(lambda: client.is_settled, f"{client.name} is connected")
    connections, closed = client.connections, _sent_away(edge)
    swarm.call(client.stop_reading)
    try:
        # The first if the edge had counted this connection already, and its end was on the way.
        wait_unless_failed(
            lambda: client.is_given_up or _sent_away(edge) > closed,
            f"the edge gives {client.name} up",
        )
    finally:
        swarm.call(client.resume_reading)
    tip = max(each.record.positions[EVENT] for each in swarm.clients if each.record.patterns)
    wait_unless_failed(
        lambda: client.connections > connections or record.positions[EVENT] >= tip,
        f"{client.name} has read what waited",
    )


def all_faults(wires: Iterable[str]) -> list[Fault]:
    """Every fault on every target."""
    edges = range(EDGES)
    return [
        Fault("kill -9 the relay", "relay", kill_relay),
        Fault("SIGSTOP the relay", "relay", stop_relay),
        Fault("the relay's disk is full", "relay", fill_disk),
        Fault("kill -9 the relay while its disk is full", "relay", kill_relay_with_full_disk),
        Fault("cut connections", "clients", cut_clients),
        Fault("clients move to the other edge", "clients", move_clients),
        *(Fault(f"the wire {name} fails", name, partial(fail_wire, wire=name)) for name in wires),
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
    """Return the number of clients that `edge` closed because they, or the relay, were too slow."""
    closed = edge.metrics()["edge_closed"]
    return sum(
        closed.get(str(code.code), 0.0) for code in (CloseCode.TOO_SLOW, CloseCode.TRY_AGAIN_LATER)
    )
