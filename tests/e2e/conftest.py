"""Fixtures for tests that talk to a relay directly, without the product's own clients."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.cluster import Cluster
from tests.support.raw_emitter import RawEmitter
from tests.support.relay_peer import RelayPeer


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test has opened."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def emitters(cluster: Cluster) -> Iterator[Callable[..., RawEmitter]]:
    """A function that opens an emitter's sockets; all are closed after the test."""
    opened: list[RawEmitter] = []

    def start(name: str = "raw", epoch: int = 5) -> RawEmitter:
        emitter = RawEmitter(cluster.ingress, cluster.control, name=name, epoch=epoch)
        opened.append(emitter)
        return emitter

    yield start
    for emitter in opened:
        emitter.close()


@pytest.fixture
def peer(cluster: Cluster) -> Iterator[RelayPeer]:
    """A client of the relay's control socket."""
    with RelayPeer(cluster.control) as peer:
        yield peer
