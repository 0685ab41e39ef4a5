"""Revocations around the death of relays, edges and workers, and the loss of the journal."""

import os
import shutil
import signal
import threading
import time

from tests.e2e.test_revocation import REVOKED, connect, is_alive, is_refused, revoke
from tests.support.cluster import Cluster, Edge
from tests.support.http_api import request
from tests.support.processes import ManagedProcess, run_cli
from tests.support.waiting import wait_for


def status(edge: Edge, token: str) -> int:
    return request(f"{edge.url}/auth/me", token).status


def restart(relay: ManagedProcess) -> None:
    relay.start()
    relay.wait_for_output("relaying")


def follow_again(edges: list[Edge], counts: list[int]) -> None:
    """Wait until each worker follows another relay process."""
    for edge, count in zip(edges, counts, strict=True):
        wait_for(
            lambda edge=edge, count=count: followed(edge) >= count + edge.workers,  # type: ignore[misc]
            "every worker follows the relay again",
        )


def followed(edge: Edge) -> int:
    return edge.process.output().count("following the relay")


def test_edges_that_stay_know_the_revocations_of_the_next_relay(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    edges = [cluster.start_edge(EDGE_WORKERS="2", EDGE_RELAY_TIMEOUT_S="60") for _ in range(2)]
    first, second = cluster.token("ann"), cluster.token("ann")
    theirs = [connect(edge, second) for edge in edges for _ in range(4)]
    assert revoke(cluster, edges[0], {"token_id": token_id(cluster, first)}).status == 204
    counts = list(map(followed, edges))
    relay.kill()
    restart(relay)
    follow_again(edges, counts)
    assert all(is_refused(edge, first) for edge in edges for _ in range(3))
    assert all(map(is_alive, theirs))
    assert run_cli("edge", "revoke", "--user", "ann", env=cluster.env).returncode == 0
    assert {each.wait_closed() for each in theirs} == {REVOKED}
    assert all(is_refused(edge, second) for edge in edges for _ in range(3))


def test_what_was_answered_with_204_is_revoked_whenever_the_relay_was_killed(
    cluster: Cluster,
) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2", EDGE_RELAY_TIMEOUT_S="60")
    for round_number in range(5):
        tokens = [cluster.token(f"user {round_number} {n}") for n in range(6)]
        answers: dict[str, int] = {}

        def sign_out(tokens: list[str], answers: dict[str, int]) -> None:
            for token in tokens:
                answers[token] = request(f"{edge.url}/auth/logout", token, b"").status

        thread = threading.Thread(target=sign_out, args=(tokens, answers))
        thread.start()
        wait_for(lambda answers=answers: answers, "one is answered")  # type: ignore[misc]
        relay.kill()
        restart(relay)
        thread.join()
        assert set(answers.values()) <= {204, 503}
        for token, answer in answers.items():
            # Also with 503: the edge holds the revocation until the relay has it.
            assert answer in (204, 503)
            wait_for(lambda token=token: status(edge, token) == 401, "it is refused")  # type: ignore[misc]


def test_a_worker_that_was_killed_comes_back_with_all_revocations(cluster: Cluster) -> None:
    cluster.start_relay()
    edge, token = cluster.start_edge(EDGE_WORKERS="2"), cluster.token("ann")
    assert revoke(cluster, edge, {"username": "ann"}).status == 204
    before = set(edge.connections_by_worker())
    for worker in before:
        os.kill(int(worker), signal.SIGKILL)
    wait_for(lambda: followed(edge) >= 4, "two new workers follow the relay")
    wait_for(lambda: edge.status("/readyz") == 200, "they are ready")
    assert set(edge.connections_by_worker()).isdisjoint(before)
    assert all(is_refused(edge, token) for _ in range(6))


def test_a_lost_journal_gets_the_revocations_back_from_the_edges(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2", EDGE_RELAY_TIMEOUT_S="60")
    by_user, by_id = cluster.token("ann"), cluster.token("bob")
    assert revoke(cluster, edge, {"username": "ann"}).status == 204
    assert revoke(cluster, edge, {"token_id": token_id(cluster, by_id)}).status == 204
    wait_for(lambda: all(is_refused(edge, each) for each in (by_user, by_id)), "all know it")
    count = followed(edge)
    relay.kill()
    shutil.rmtree(cluster.directory / "relay")
    restart(relay)
    follow_again([edge], [count])
    assert is_refused(edge, by_user)

    def is_journaled() -> bool:
        listed = run_cli("relay", "journal", "tail", "revocation", env=cluster.env).stdout
        return listed.count('"revocation:') >= 2

    wait_for(is_journaled, "the new journal has both")
    listed = run_cli("relay", "journal", "tail", "revocation", env=cluster.env).stdout
    assert listed.count('"revocation:') == 2, "once, although two workers know them"
    late = cluster.start_edge(EDGE_WORKERS="2")
    for each in (by_user, by_id):
        assert all(is_refused(late, each) for _ in range(3))
    assert status(late, cluster.token("ann")) == 200


def token_id(cluster: Cluster, token: str) -> str:
    found = cluster.tokens.verify(token, time.time()).token_id
    assert found is not None
    return found
