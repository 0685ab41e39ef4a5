"""A cluster whose relay runs, and a `tail` of its events."""

import pytest

from tests.emitters.commands.shell import Tail
from tests.support.cluster import Cluster


@pytest.fixture
def relayed(cluster: Cluster) -> Cluster:
    """A cluster whose relay runs."""
    cluster.start_relay()
    return cluster


@pytest.fixture
def tail(relayed: Cluster) -> Tail:
    """A `tail` of the relay's events of the kind `event`."""
    return Tail(relayed, "event:")
