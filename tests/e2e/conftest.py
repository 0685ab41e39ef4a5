"""A relay's peers without the product's own clients."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.raw_emitter import RawEmitter
from tests.support.relay_peer import RelayPeer


@pytest.fixture
def emitters(cluster: Cluster) -> Iterator[Callable[..., RawEmitter]]:
    """Opens an emitter's sockets, and closes them all."""
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
    """A tool that asks the relay."""
    with RelayPeer(cluster.control) as peer:
        yield peer
