"""Fixtures for tests that run real processes, the marker `process`, and Hypothesis's profile."""

import gc
import signal
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.support.cluster import Cluster, Edge
from tests.support.forked import ROOT

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
    "tests/e2e/attacks/test_connections.py": "attacks",
    "tests/e2e/attacks/test_control.py": "attacks",
    "tests/e2e/attacks/test_egress.py": "attacks",
    "tests/e2e/chaos/test_damage.py": HEAVY,
    "tests/e2e/test_chaos.py": HEAVY,
    "tests/e2e/test_clients_many.py": HEAVY,
    "tests/e2e/test_guessers.py": HEAVY,
    "tests/e2e/test_presence_many.py": HEAVY,
    "tests/e2e/test_slow_edges.py": HEAVY,
    "tests/e2e/test_watching_many.py": HEAVY,
    "tests/fuzz/test_short.py": "attacks",
}
"""Files whose tests run one after another in one worker: they would disturb each other."""
LONGEST = (
    "tests/e2e/test_make_run.py",
    "tests/e2e/test_browser.py",
    "tests/e2e/test_browser_safety.py",
    "tests/e2e/test_console.py",
    "tests/e2e/test_installed.py",
)
"""Files of one group that begin early, so that no worker runs alone at the end."""


@cache
def group_of(path: str) -> str | None:
    """Return what the tests of a file run one after another with; None if each runs anywhere.

    Tests that share a process or a browser for their module would start one in each worker.
    """
    if path in GROUPS:
        return GROUPS[path]
    text = (ROOT / path).read_text()
    is_shared = 'scope="module"' in text or "shared_cluster" in text
    # Those of a core take no time: they go to a worker together.
    return path if is_shared or "/core/" in path else None


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Schedules each group as one piece, and every other test by itself.

    xdist's own `loadgroup` has no effect with pytest 9: it sets an attribute that is not read.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0]) or nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Let xdist distribute the tests by their groups, in the order in which they are collected."""
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is collected out of the garbage collector, which would walk it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes, and put first what takes the longest."""
    for item in items:
        fixtures = PROCESS_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if fixtures or item.nodeid.startswith(PROCESS_FILES):
            item.add_marker(pytest.mark.process)
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    path = item.nodeid.partition("::")[0]
    if item.get_closest_marker("process") is None:
        return 4
    if group_of(path) == HEAVY:
        return 0
    if path in LONGEST:
        return 1
    return 3 if group_of(path) is None else 2


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
