"""Fixtures for tests that run real processes, the marker `process`, and Hypothesis's profile."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.cluster import Cluster, Edge

PROCESS_FIXTURES = {"cluster", "shared_cluster", "browser", "survival"}
"""A test that uses one of these starts a process."""

# The machine is shared by parallel tests: how long an example takes says nothing about the code.
settings.register_profile(
    "parallel", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("parallel")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes, and put them first: they take the longest."""
    for item in items:
        if PROCESS_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.process)
    items.sort(key=lambda item: item.get_closest_marker("process") is None)


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
