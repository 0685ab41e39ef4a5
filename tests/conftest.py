"""Fixtures for tests that run real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Edge


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without any process yet."""
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def edge(cluster: Cluster) -> Edge:
    """A running relay and a ready edge that follows it."""
    cluster.start_relay()
    return cluster.start_edge()
