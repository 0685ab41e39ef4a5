"""Every way to watch passes every scenario."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance.event_stream import ServerSentEvents
from tests.conformance.node_client import NodeClient
from tests.conformance.python_client import PythonClient
from tests.conformance.raw_websocket import RawWebSocket
from tests.conformance.scenarios import SCENARIOS, Judge, Scenario
from tests.conformance.stage import DriverClass, Stage
from tests.conformance.told import Driver
from tests.support.cluster import Cluster

DRIVERS: dict[str, DriverClass] = {
    "raw WebSocket": RawWebSocket,
    "edge.client": PythonClient,
    "relay-client.js": NodeClient,
    "Server-Sent Events": ServerSentEvents,
}
CANNOT: dict[str, set[str]] = {"Server-Sent Events": {"renew"}}
"""Driver to the abilities that it lacks, by the protocol."""


def can(driver: str, scenario: Scenario) -> bool:
    """Whether a driver can play a scenario."""
    return scenario.needs not in CANNOT.get(driver, set())


PAIRS = [
    pytest.param(scenario, driver, id=f"{scenario}-{driver}")
    for scenario in SCENARIOS
    for driver in DRIVERS
    if can(driver, scenario)
]


class Plays:
    """Plays each scenario once. Its clients are there until another one is asked for."""

    def __init__(self, shared: Cluster, directory: Path) -> None:
        self._shared = shared
        self._directory = directory
        self._scenario: Scenario | None = None
        self._stack = ExitStack()
        self._clients: dict[str, Driver] = {}
        self._judge: Judge | None = None

    def judge(self, scenario: Scenario, driver: str) -> None:
        """Judge the client of a driver. Raises `AssertionError`."""
        if scenario is not self._scenario:
            self._play(scenario)
        assert self._judge is not None, "the scenario could not be played"
        self._judge(self._clients[driver])
        assert self._clients[driver].faults == []

    def close(self) -> None:
        """End the present scenario."""
        self._stack.close()

    def _play(self, scenario: Scenario) -> None:
        self.close()
        self._scenario, self._judge = scenario, None
        cluster = self._shared
        if scenario.has_own_relay:
            cluster = Cluster(self._directory / str(scenario))
            self._stack.callback(cluster.close)
        drivers = {name: each for name, each in DRIVERS.items() if can(name, scenario)}
        stage = Stage(cluster, drivers)
        self._stack.callback(stage.close)
        self._judge = scenario.play(stage)
        self._clients = stage.clients


@pytest.fixture(scope="module")
def plays(shared_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plays]:
    plays = Plays(shared_cluster, tmp_path_factory.mktemp("scenarios"))
    yield plays
    plays.close()


@pytest.mark.parametrize(("scenario", "driver"), PAIRS)
def test_scenario(plays: Plays, scenario: Scenario, driver: str) -> None:
    plays.judge(scenario, driver)
