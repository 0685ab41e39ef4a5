"""A relay with honest peers, for all attacks of a file, or for one that ends it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.attacks.honest import MIB, Honest
from tests.support.cluster import Cluster
from tests.support.waiting import wait_for

SETTINGS = {"RELAY_EGRESS_BYTES": str(8 * MIB)}


@contextmanager
def _running(cluster: Cluster) -> Iterator[Honest]:
    """In the journal and among the retained values are some megabytes to be asked for."""
    relay = cluster.start_relay(**SETTINGS)
    emitter = cluster.emitter("before")
    honest = Honest(cluster, relay)
    honest.client.subscribe("resource-monitor:*")
    # Without that its live values go nowhere, and nothing of them is retained.
    wait_for(lambda: emitter.is_watched("resource-monitor:large0"), "the values are wanted")
    for number in range(300):
        emitter.emit("event:large", {"padding": "x" * 10_000})
        emitter.emit(f"resource-monitor:large{number}", {"padding": "x" * 10_000})
    assert emitter.wait_acknowledged(30)
    assert emitter.close(10) == 0
    honest.start()
    yield honest
    honest.stop()


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of `honest`."""
    cluster = Cluster(tmp_path_factory.mktemp("attacked"))
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def honest(attacked: Cluster) -> Iterator[Honest]:
    """For attacks that leave the relay at work."""
    with _running(attacked) as running:
        yield running


@pytest.fixture
def honest_alone(cluster: Cluster) -> Iterator[Honest]:
    """For an attack that ends the relay."""
    with _running(cluster) as running:
        yield running
