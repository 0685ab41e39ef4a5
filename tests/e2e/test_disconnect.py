"""Disconnecting a user: every connection that was there, on all workers and edges, and no other."""

import json
import urllib.error
import urllib.request
from typing import Any

import msgpack
import zmq
from websockets.exceptions import ConnectionClosed

from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.http_api import request
from tests.support.processes import run_cli
from tests.support.waiting import wait_for

CLOSED = (4003, "disconnected by the application")


def disconnect(
    cluster: Cluster, edge: Edge, username: str, data: Any = None, role: str = "admin"
) -> tuple[int, str]:
    """Return status and body of the answer."""
    request = urllib.request.Request(
        f"{edge.url}/api/users/{username}/disconnect",
        b"" if data is None else json.dumps(data).encode(),
        {
            "Authorization": f"Bearer {cluster.token('root', role)}",
            "Content-Type": "application/json",
        },
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def is_alive(client: Client) -> bool:
    try:
        return bool(client.ask({"action": "unsubscribe", "topic": "event:x"}))
    except ConnectionClosed:
        return False


def test_all_connections_of_the_user_end_and_no_other(cluster: Cluster) -> None:
    cluster.start_relay()
    edges = [cluster.start_edge(EDGE_WORKERS="2") for _ in range(2)]
    theirs = [cluster.connect(edge, "ann") for edge in edges for _ in range(6)]
    others = [cluster.connect(edge, name) for edge in edges for name in ("bob", "anna", "root")]
    for edge in edges:
        assert sum(edge.connections_by_worker().values()) == 9
    assert disconnect(cluster, edges[0], "ann")[0] == 204
    assert {client.wait_closed() for client in theirs} == {CLOSED}
    assert all(is_alive(client) for client in others)
    again = [cluster.connect(edge, "ann") for edge in edges for _ in range(3)]
    late = cluster.start_edge()
    again.append(cluster.connect(late, "ann"))
    assert disconnect(cluster, edges[1], "bob", {"code": 4900, "reason": "bye"})[0] == 204
    assert {others[index].wait_closed() for index in (0, 3)} == {(4900, "bye")}
    assert all(is_alive(client) for client in again), "a command is for those who are there"


def test_the_command_line_does_it_as_well(cluster: Cluster, edge: Edge) -> None:
    theirs, others = cluster.connect(edge, "ann"), cluster.connect(edge, "bob")
    ended = run_cli("edge", "user", "disconnect", "ann", env=cluster.env)
    assert (ended.returncode, ended.stdout) == (0, "Disconnected ann.\n")
    assert theirs.wait_closed() == CLOSED
    assert is_alive(others)


def test_a_connection_made_after_the_command_stays(cluster: Cluster, edge: Edge) -> None:
    client = cluster.connect(edge, "ann")
    for _ in range(20):
        assert disconnect(cluster, edge, "ann")[0] == 204
        following = cluster.connect(edge, "ann")
        assert client.wait_closed() == CLOSED
        assert is_alive(following)
        client = following


def test_it_comes_behind_what_the_user_was_sent_before(cluster: Cluster, edge: Edge) -> None:
    client = cluster.connect(edge, "ann")
    emitter = cluster.emitter()
    for number in range(100):
        emitter.emit("notice:1", {"n": number}, username="ann")
    assert emitter.wait_acknowledged(10)
    assert disconnect(cluster, edge, "ann")[0] == 204
    assert client.wait_closed() == CLOSED
    told = [message["data"]["n"] for message in client.received if "stream" in message]
    assert told == list(range(100))


def test_a_client_that_resumes_is_not_told_of_commands(cluster: Cluster, edge: Edge) -> None:
    client = cluster.connect(edge, "ann")
    epoch = client.subscribe("event:*")["epoch"]
    assert disconnect(cluster, edge, "ann")[0] == 204
    assert client.wait_closed() == CLOSED
    cluster.emitter().emit("notice:1", {}, username="ann")
    token = cluster.token("ann")
    again = Client(f"ws://127.0.0.1:{edge.port}/ws?token={token}&epoch={epoch}&addressed=0")
    assert again.receive_on("notice:1")["offset"] == 2
    assert [each for each in again.received if "offset" in each and each["offset"] == 1] == []
    assert is_alive(again)
    again.close()


def test_it_is_for_administrators_and_wrong_values_are_refused(
    cluster: Cluster, edge: Edge
) -> None:
    client = cluster.connect(edge, "ann")
    assert disconnect(cluster, edge, "ann", role="user")[0] == 403
    wrong: list[Any] = [{"code": 1000}, {"code": 5000}, {"reason": "x" * 124}, {"reason": 1}, []]
    for data in wrong:
        assert disconnect(cluster, edge, "ann", data)[0] == 422, data
    assert disconnect(cluster, edge, "x" * 256)[0] == 422
    cookie = f"access_token_cookie={cluster.token('root', 'admin')}"
    for origin, status in (("http://evil.example", 403), (edge.url, 204)):
        answer = request(
            f"{edge.url}/api/users/bob/disconnect", data=b"", Cookie=cookie, Origin=origin
        )
        assert answer.status == status, "a page of another site makes the browser send the cookie"
    assert is_alive(client)


def test_a_relay_that_is_away_gets_the_command_later(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge()
    assert disconnect(cluster, edge, "nobody")[0] == 204
    relay.kill()
    status, body = disconnect(cluster, edge, "ann")
    assert (status, "the relay has not taken the command" in body) == (503, True)
    cluster.start_relay()
    wait_for(lambda: edge.status("/readyz") == 200, "the edge follows the relay")
    client = cluster.connect(edge, "ann")
    assert disconnect(cluster, edge, "ann")[0] == 204
    assert client.wait_closed() == CLOSED


def test_a_malformed_command_is_counted_and_harms_nobody(cluster: Cluster, edge: Edge) -> None:
    client = cluster.connect(edge, "ann")
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.connect(cluster.ingress)

        def is_counted() -> bool:
            wrong: tuple[dict[str, Any], ...] = ({"code": 12}, {"code": 4003, "reason": 5})
            for data in wrong:
                payload = msgpack.packb({"type": "edge", "data": data, "username": "ann"})
                publisher.send_multipart([b"addressed:edge:disconnect", payload])
            payload = msgpack.packb({"type": "edge", "data": {}, "username": "ann"})
            publisher.send_multipart([b"addressed:edge:dance", payload])
            return edge.metrics()["edge_malformed"].get("invalid_envelope", 0) >= 2

        wait_for(is_counted, "the commands are counted")
    assert "'dance' to edges is not known here" in edge.process.output()
    assert is_alive(client)


def test_a_wrong_setting_of_the_emitter_is_named_when_it_is_needed(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EMITTER_NAMES="x")
    status, body = disconnect(cluster, edge, "ann")
    assert (status, "EMITTER_NAMES" in body) == (503, True)
    assert "Traceback" not in edge.process.output()
