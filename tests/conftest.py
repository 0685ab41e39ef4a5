"""Fixtures for tests that run real processes, the marker `process`, and Hypothesis's profile."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.support.cluster import Cluster, Edge

# A shell's background job ignores SIGINT, and so would every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROCESS_FIXTURES = {"cluster", "shared_cluster", "event_relay", "browser", "survival"}
PROCESS_FILES = ("tests/e2e/test_", "tests/conformance/")
"""A test that uses one of these fixtures, or is in one of these files, starts a process."""

# The machine is shared by parallel tests: how long an example takes says nothing about the code.
settings.register_profile(
    "parallel", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("parallel")

Cluster.forks = True

HEAVY = "tests that load both cores"
GROUPS = {
    "tests/conformance/test_autobahn.py": "autobahn",
    "tests/conformance/test_publishing.py": "publishing",
    "tests/conformance/test_watching.py": "watching",
    "tests/e2e/attacks/test_connections.py": "attacks",
    "tests/e2e/attacks/test_control.py": "attacks",
    "tests/e2e/attacks/test_egress.py": "attacks",
    "tests/e2e/chaos/test_damage.py": HEAVY,
    "tests/e2e/test_chaos.py": HEAVY,
    "tests/e2e/test_changed_rules.py": "changed rules",
    "tests/e2e/test_clients_many.py": HEAVY,
    "tests/e2e/test_calls.py": "calls",
    "tests/e2e/test_embedding.py": "embedding",
    "tests/e2e/test_event_streams.py": "event streams",
    "tests/e2e/test_front_door.py": "front door",
    "tests/e2e/test_guessers.py": HEAVY,
    "tests/e2e/test_history.py": "history",
    "tests/e2e/test_installed.py": "installed",
    "tests/e2e/test_kept_alive.py": "kept alive",
    "tests/e2e/test_make_run.py": "make run",
    "tests/e2e/test_other_servers.py": "other servers",
    "tests/e2e/test_other_users.py": "other users",
    "tests/e2e/test_presence_many.py": HEAVY,
    "tests/e2e/test_protocol.py": "protocol",
    "tests/e2e/test_publish.py": "publish",
    "tests/e2e/test_slow_edges.py": HEAVY,
    "tests/e2e/test_watching_many.py": HEAVY,
    "tests/fuzz/test_short.py": "attacks",
}
"""Files whose tests run one after another in one worker: they would disturb each other, or they
share processes. All other tests run anywhere."""


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Schedules each group of `GROUPS` as one piece, and every other test by itself.

    xdist's own `loadgroup` has no effect with pytest 9: it sets an attribute that is not read.
    """

    def _split_scope(self, nodeid: str) -> str:
        return GROUPS.get(nodeid.partition("::")[0], nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Let xdist distribute the tests by `GROUPS`."""
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes, and put them first: they take the longest."""
    for item in items:
        fixtures = PROCESS_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if fixtures or item.nodeid.startswith(PROCESS_FILES):
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


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a relay, for the tests of a file that stop nothing of it."""
    cluster = Cluster(tmp_path_factory.mktemp("shared"))
    try:
        cluster.start_relay()
        yield cluster
    finally:
        cluster.close()
