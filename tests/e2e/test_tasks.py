"""Task updates reach the user who started the task, everywhere, and nobody else."""

import json
import urllib.request

from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for


def task_data(username: str, **changes: object) -> dict[str, object]:
    data: dict[str, object] = {
        "status": "in_progress",
        "message": "Task is running.",
        "result": None,
        "username": username,
    }
    return data | changes


def task_topics(client: Client) -> list[str]:
    return [message["topic"] for message in client.received if message.get("type") == "task_update"]


def connect_to_both_workers(cluster: Cluster, edge: Edge, username: str, role: str) -> list[Client]:
    """Connect until the edge's two workers both hold a client of `username`."""
    clients: list[Client] = []

    def held_by_both() -> bool:
        before = edge.connections_by_worker()
        client = cluster.connect(edge, username, role)
        client.subscribe("*")
        clients.append(client)

        def counted() -> dict[str, float]:
            now = edge.connections_by_worker()
            return {} if now == before else now

        after = wait_for(counted, "the new connection is counted")
        holders.update(worker for worker in after if after[worker] > before.get(worker, 0))
        return len(holders) == 2

    holders: set[str] = set()
    wait_for(held_by_both, f"clients of {username} at both workers", 20)
    return clients


def test_two_users_two_workers(cluster: Cluster) -> None:
    """Neither `*` nor the admin role shows another user's task."""
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2")
    clients = {
        "alice": connect_to_both_workers(cluster, edge, "alice", "user"),
        "root": connect_to_both_workers(cluster, edge, "root", "admin"),
    }
    emitter = cluster.emitter()
    emitter.emit("task:7f3c", task_data("alice"), username="alice")
    emitter.emit("task:9d21", task_data("root"), username="root")
    emitter.emit("event:marker", {})
    for username, topic in (("alice", "task:7f3c"), ("root", "task:9d21")):
        for client in clients[username]:
            client.receive_on("event:marker")
            assert task_topics(client) == [topic]


def test_on_connect_a_user_gets_the_latest_state_of_unfinished_tasks(
    cluster: Cluster, edge: Edge
) -> None:
    """Also from an edge that was started after the task, which asks the relay."""
    watcher = cluster.connect(edge, "alice")
    emitter = cluster.emitter()
    emitter.emit("task:done", task_data("alice"), username="alice")
    emitter.emit("task:running", task_data("alice", progress=0.25), username="alice")
    emitter.emit("task:done", task_data("alice", status="success"), username="alice")
    emitter.emit("task:running", task_data("alice", progress=0.5), username="alice")
    watcher.receive_until(
        lambda message: message.get("data", {}).get("progress") == 0.5, "the last update"
    )
    for one_edge in (edge, cluster.start_edge()):
        late = cluster.connect(one_edge, "alice")
        state = late.receive_on("task:running")
        assert state["data"]["progress"] == 0.5
        late.subscribe("event:x")
        assert task_topics(late) == ["task:running"]
        stranger = cluster.connect(one_edge, "bob")
        stranger.subscribe("*")
        assert task_topics(stranger) == []


def test_the_task_list_is_the_callers_own(cluster: Cluster, edge: Edge) -> None:
    watcher = cluster.connect(edge, "alice")
    emitter = cluster.emitter()
    emitter.emit("task:a", task_data("alice"), username="alice")
    emitter.emit(
        "task:b", task_data("alice", status="error", message="disk full"), username="alice"
    )
    watcher.receive_on("task:b")

    def tasks_of(username: str) -> list[str]:
        request = urllib.request.Request(
            f"{edge.url}/api/tasks", headers={"Authorization": f"Bearer {cluster.token(username)}"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return [task["topic"] for task in json.load(response)["tasks"]]

    assert tasks_of("alice") == ["task:b", "task:a"]
    assert tasks_of("bob") == []


def test_an_edge_learns_of_more_than_fits_one_reply(cluster: Cluster) -> None:
    """Together these states are above what ZeroMQ carries in one message of ours."""
    limit = str(64 * 1024 * 1024)
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_MAX_QUEUED_BYTES=limit)
    watcher = cluster.connect(edge, "alice")
    emitter = cluster.emitter()
    text = "x" * 900_000
    for number in range(20):
        emitter.emit(f"task:{number}", task_data("alice", message=text), username="alice")
    watcher.receive_on("task:19")
    late = cluster.connect(cluster.start_edge(EDGE_MAX_QUEUED_BYTES=limit), "alice")
    late.receive_until(lambda _: len(task_topics(late)) == 20, "all of the tasks")
    assert set(task_topics(late)) == {f"task:{number}" for number in range(20)}
    assert len(emitter.retained("task:")) == 20


def test_another_users_task_on_the_same_topic_takes_nothing_away(cluster: Cluster) -> None:
    """Both are remembered, by a relay and an edge that were restarted as well."""
    relay = cluster.start_relay()
    emitter = cluster.emitter()
    emitter.emit("task:7f3c", task_data("alice"), username="alice")
    emitter.emit("task:7f3c", task_data("bob", status="success"), username="bob")
    assert emitter.wait_acknowledged(20)
    relay.kill()
    cluster.start_relay()
    edge = cluster.start_edge()
    for username, status in (("alice", "in_progress"), ("bob", "success")):
        request = urllib.request.Request(
            f"{edge.url}/api/tasks",
            headers={"Authorization": f"Bearer {cluster.token(username)}"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            [task] = json.load(response)["tasks"]
        assert (task["data"]["username"], task["data"]["status"]) == (username, status)
