"""An edge of three workers answers as one: metrics and readiness, also while a worker is away."""

import os
import signal
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for

WORKERS = 3


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge(EDGE_WORKERS=str(WORKERS))


def scrape(edge: Edge) -> dict[str, dict[str, float]]:
    """All samples without further labels, by name and worker. No name may come twice."""
    with urllib.request.urlopen(f"{edge.url}/metrics", timeout=20) as response:
        text = response.read().decode()
    families = list(text_string_to_metric_families(text))
    names = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(set(names)) == len(names)
    found: dict[str, dict[str, float]] = {}
    for family in families:
        for sample in family.samples:
            if set(sample.labels) == {"worker"}:
                found.setdefault(sample.name, {})[sample.labels["worker"]] = sample.value
    return found


def test_one_scrape_has_the_counters_of_all_workers(cluster: Cluster, edge: Edge) -> None:
    clients = [cluster.connect(edge, "alice") for _ in range(12)]
    for client in clients:
        client.subscribe("event:*")
    for _ in range(10):
        found = scrape(edge)
        assert len(found["edge_connections"]) == WORKERS
        assert sum(found["edge_connections"].values()) == len(clients)
        assert found["edge_workers"] == dict.fromkeys(found["edge_connections"], WORKERS)
        assert sum(found["edge_connections_accepted_total"].values()) >= len(clients)
    for client in clients:
        client.close()


def test_a_killed_worker_is_missing_until_it_is_replaced(edge: Edge) -> None:
    before = set(scrape(edge)["edge_ready"])
    killed = min(before)
    os.kill(int(killed), signal.SIGKILL)

    def is_replaced() -> bool:
        # Whichever worker answers; uvicorn looks for killed ones twice a second.
        workers = set(scrape(edge)["edge_ready"])
        return len(workers) == WORKERS and killed not in workers

    wait_for(is_replaced, "another worker answers", 40)
    wait_for(lambda: edge.status("/readyz") == 200, "the new one is ready")


def test_a_worker_that_stands_still_does_not_make_the_others_silent(edge: Edge) -> None:
    stopped = min(scrape(edge)["edge_ready"])
    os.kill(int(stopped), signal.SIGSTOP)
    try:
        wait_for(lambda: stopped not in scrape(edge)["edge_ready"], "it is left out", 20)
        assert len(scrape(edge)["edge_ready"]) == WORKERS - 1
        assert edge.status("/readyz") == 200
    finally:
        os.kill(int(stopped), signal.SIGCONT)
    wait_for(lambda: len(scrape(edge)["edge_ready"]) == WORKERS, "it answers again", 20)
    assert f"worker {stopped} does not answer" in edge.process.output()


@pytest.mark.parametrize("end", ["is stopped", "is killed"])
def test_an_edge_leaves_nothing_in_the_directory_for_temporary_files(
    cluster: Cluster, tmp_path: os.PathLike[str], end: str
) -> None:
    edge = cluster.start_edge(EDGE_WORKERS="2", TMPDIR=str(tmp_path))
    assert len(scrape(edge)["edge_ready"]) == 2
    assert [os.stat(each).st_mode & 0o777 for each in os.scandir(tmp_path)] == [0o700]
    if end == "is killed":
        edge.process.kill()
    else:
        assert edge.process.terminate() == 0
    wait_for(lambda: os.listdir(tmp_path) == [], "the last worker tidies up")


def test_an_edge_whose_relay_is_away_is_not_ready_whichever_worker_answers(
    cluster: Cluster,
) -> None:
    edge = cluster.start_edge(ready=False, EDGE_WORKERS="3", EDGE_RELAY_CONTROL="tcp://127.0.0.1:1")
    wait_for(lambda: len(scrape(edge)["edge_ready"]) == WORKERS, "all answer", 40)
    assert {edge.status("/readyz") for _ in range(10)} == {503}
