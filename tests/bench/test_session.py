"""The load generator against real servers: every event arrives and is counted."""

from pathlib import Path

import pytest

from bench.load.child import ChildFailed
from bench.load.clients import Plan
from bench.load.dialect import PlainDialect
from bench.load.generator import LoadGenerator
from bench.peers.event_relay import EventRelay, run_relay_and_edge
from bench.peers.peer import Peer
from bench.servers import OURS, PEERS
from bench.session import Run, Session, session
from tests.support.cluster import free_ports
from tests.support.waiting import wait_for

CLIENTS = 20
TOPICS = tuple(f"event:bench-{number}" for number in range(4))

pytestmark = pytest.mark.process

FOUR_TOPICS = EventRelay(topics=TOPICS, groups=tuple((topic, "event:other") for topic in TOPICS))


@pytest.mark.parametrize(
    ("peer", "groups"),
    [(FOUR_TOPICS, 4), *((peer, 1) for peer in PEERS.values())],
    ids=["four topics", *PEERS],
)
def test_every_client_gets_every_event(peer: Peer, groups: int) -> None:
    if missing := peer.missing():
        pytest.skip(missing)
    with session(peer, CLIENTS, groups=groups) as load:
        run = load.paced(events_per_s=100, seconds=0.6, warm_up_s=0.2)
        cpu_us = run.cpu_us
        # The kernel counts in ticks of 10 ms, and a quick server needs less than one for a run.
        while cpu_us == 0:
            cpu_us = load.saturated(0.1).cpu_us
    outcome = run.outcome
    assert (outcome.faults, outcome.wrong, outcome.lost) == ((), 0, 0)
    assert run.deliveries == 60 * CLIENTS // groups
    assert len(outcome.last_ms) == 60
    assert 0 < outcome.p50_ms <= outcome.p99_ms <= outcome.max_ms
    assert cpu_us > 0


def saturated(load: Session) -> Run:
    """Measure again if on a busy machine nobody has run in the time that is measured."""
    for _ in range(10):
        run = load.saturated(0.3)
        if run.deliveries:
            break
    return run


@pytest.mark.parametrize("load_name", ["closed loop", "one at a time"])
def test_other_loads_lose_nothing(load_name: str) -> None:
    with session(PEERS[OURS], CLIENTS) as load:
        run = saturated(load) if load_name == "closed loop" else load.one_at_a_time(2)
    outcome = run.outcome
    assert (outcome.faults, outcome.wrong, outcome.lost) == ((), 0, 0)
    assert run.deliveries >= 2 * CLIENTS
    assert load.growth_bytes.keys() == {"relay", "edge"}


def test_clients_come_hang_up_and_come_again(tmp_path: Path) -> None:
    with run_relay_and_edge(tmp_path) as running, LoadGenerator() as generator:
        plan = Plan(running.dialect(CLIENTS, (TOPICS[:2],)), CLIENTS)
        for _ in range(2):
            assert generator.connect(plan).clients == CLIENTS
            assert running.edge.metrics()["edge_subscriptions"][""] == 2 * CLIENTS
            generator.hang_up()
            wait_for(lambda: running.edge.metrics()["edge_connections"][""] == 0, "they are gone")


def test_a_refused_client_tries_again_until_the_time_is_over() -> None:
    [port] = free_ports(1)
    with LoadGenerator() as generator, pytest.raises(ChildFailed, match="0 of 1 are subscribed"):
        generator.connect(Plan(PlainDialect(port), 1, timeout_s=0.3))
