"""A revoked token ends what was opened with it, and opens nothing more, on any worker and edge."""

import base64
import json
import time
from functools import partial

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.http_api import Answer, StreamClient, request
from tests.support.processes import run_cli
from tests.support.waiting import wait_for

REVOKED = (1008, "Token revoked")
LOST = (4013, "the relay's heartbeat is missing, retry in 1 s")
REVOCATIONS = "/api/revocations"


@pytest.fixture
def edges(cluster: Cluster) -> list[Edge]:
    """Two edges with two workers each."""
    cluster.start_relay()
    return [cluster.start_edge(EDGE_WORKERS="2") for _ in range(2)]


def revoke(cluster: Cluster, edge: Edge, data: object, role: str = "admin") -> Answer:
    return request(f"{edge.url}{REVOCATIONS}", cluster.token("root", role), data)


def connect(edge: Edge, token: str) -> Client:
    return Client(f"ws://127.0.0.1:{edge.port}/ws?token={token}")


def is_alive(client: Client) -> bool:
    reply = client.ask({"action": "unsubscribe", "topic": "event:x", "id": 1})
    return bool(reply["status"] == "success")


def is_refused(edge: Edge, token: str) -> bool:
    """Whether `token` opens nothing at `edge`, by whatever road."""
    try:
        connect(edge, token).close()
    except InvalidStatus as refused:
        by_handshake = refused.response.status_code == 401
    else:
        return False
    with Client(f"ws://127.0.0.1:{edge.port}/ws") as client:
        client.send({"action": "authenticate", "token": token})
        by_message = client.wait_closed() == (1008, "Invalid token")
    roads = ("/auth/me", "/api/tasks", "/api/events?topic=event:*", "/api/streams/event/events")
    by_http = {request(f"{edge.url}{road}", token).status for road in roads}
    return by_handshake and by_message and by_http == {401}


def is_refused_everywhere(edges: list[Edge], token: str) -> bool:
    # Several times: each connection comes to another worker.
    return all(is_refused(edge, token) for edge in edges for _ in range(4))


def many(edges: list[Edge], token: str) -> list[Client | StreamClient]:
    """Connections to all workers of all edges, of both sorts."""
    sockets = [connect(edge, token) for edge in edges for _ in range(5)]
    streams = [StreamClient(edge.url, token=token) for edge in edges for _ in range(5)]
    return [*sockets, *streams]


def test_signing_out_revokes_the_token_and_no_other(cluster: Cluster, edges: list[Edge]) -> None:
    token, other = cluster.token("ann"), cluster.token("ann")
    theirs, others = many(edges, token), many(edges, other)
    assert request(f"{edges[0].url}/auth/logout", token, b"").status == 204
    assert {each.wait_closed() for each in theirs} == {REVOKED}
    assert is_refused_everywhere(edges, token)
    assert not is_refused(edges[1], other)
    assert all(is_alive(each) for each in others if isinstance(each, Client))
    for each in (*theirs, *others):
        each.close()


def test_signing_out_revokes_the_cookies_of_both_names_and_of_no_page_elsewhere(
    cluster: Cluster, edge: Edge
) -> None:
    name = f"access_token_cookie_{edge.port}"
    cookies = {f"__Host-{name}": cluster.token("ann"), name: cluster.token("ann")}
    shown = {"Cookie": "; ".join(f"{each}={token}" for each, token in cookies.items())}
    for foreign in ({"Origin": "https://else.example"}, {"Sec-Fetch-Site": "same-site"}):
        for method in ("POST", "GET"):
            url = f"{edge.url}/auth/logout?everywhere=true"
            assert request(url, method=method, **shown, **foreign).status == 403
    assert request(f"{edge.url}/auth/me", **shown).status == 200
    by_tls = {"X-Forwarded-Proto": "https"}
    out = request(f"{edge.url}/auth/logout", method="POST", **shown, **by_tls)
    cleared = [each.partition("=")[0] for each in out.headers.get_all("Set-Cookie", [])]
    assert (out.status, sorted(cleared)) == (204, sorted(cookies))
    for token in cookies.values():
        wait_for(partial(is_refused, edge, token), "it is refused")


@pytest.mark.parametrize("exp", [2**53, 2**53 - 1, 10**10])
def test_a_token_that_expires_late_can_be_revoked(cluster: Cluster, edge: Edge, exp: int) -> None:
    token = cluster.tokens.issue("\U0001f389" * 255, "user", exp)
    assert request(f"{edge.url}/auth/logout", token, b"").status == 204
    wait_for(lambda: is_refused(edge, token), "it is refused")


def test_signing_out_everywhere_revokes_all_tokens_of_the_user(
    cluster: Cluster, edges: list[Edge]
) -> None:
    tokens, bob = [cluster.token("ann") for _ in range(2)], cluster.token("bob")
    theirs = [client for token in tokens for client in many(edges, token)]
    url = f"{edges[1].url}/auth/logout?everywhere=true"
    assert request(url, tokens[0], b"").status == 204
    assert {each.wait_closed() for each in theirs} == {REVOKED}
    assert all(is_refused_everywhere(edges, token) for token in tokens)
    assert not is_refused(edges[0], bob)
    assert not is_refused(edges[0], cluster.token("ann")), "whoever signs in again is in"
    for each in theirs:
        each.close()


def test_a_renewal_with_a_revoked_token_ends_the_connection(
    cluster: Cluster, edges: list[Edge]
) -> None:
    token, other = cluster.token("ann"), cluster.token("ann")
    client = connect(edges[0], token)
    assert revoke(cluster, edges[1], {"token_id": _claims(other)["jti"]}).status == 204
    wait_for(lambda: is_refused_everywhere(edges, other), "the other token is refused")
    assert is_alive(client)
    client.send({"action": "authenticate", "token": other})
    assert client.wait_closed() == (1008, "Invalid token")


def test_a_connection_that_has_a_new_token_outlives_its_first_one(
    cluster: Cluster, edges: list[Edge]
) -> None:
    token = cluster.token("ann")
    client = connect(edges[0], token)
    assert client.ask({"action": "authenticate", "token": cluster.token("ann"), "id": 1})
    assert revoke(cluster, edges[0], {"token_id": _claims(token)["jti"]}).status == 204
    wait_for(lambda: is_refused_everywhere(edges, token), "the first token is refused")
    assert is_alive(client)


@pytest.mark.parametrize("all_users", [True, False])
def test_all_before_a_time_is_revoked(cluster: Cluster, edges: list[Edge], all_users: bool) -> None:
    now = time.time()
    old = cluster.tokens.issue("ann", "user", int(now) + 600, now - 100)
    undated = cluster.tokens.issue("ann", "user", int(now) + 600)
    young = cluster.tokens.issue("ann", "user", int(now) + 600, now - 10)
    scope = {"all": True} if all_users else {"username": "ann"}
    assert revoke(cluster, edges[0], scope | {"before": now - 50}).status == 204
    wait_for(lambda: is_refused_everywhere(edges, old), "the old token is refused")
    assert is_refused_everywhere(edges, undated), "nobody knows how old it is"
    assert not is_refused(edges[0], young)


def test_it_survives_kill_of_relay_and_edges(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2")
    token, bob = cluster.token("ann"), cluster.token("bob")
    theirs = many([edge], token)
    ended = run_cli("edge", "revoke", "--user", "ann", env=cluster.env)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Revoked.\n", "")
    relay.kill()
    assert {each.wait_closed() for each in theirs} <= {REVOKED, LOST}
    edge.process.kill()
    relay.start()
    relay.wait_for_output("relaying")
    again = [cluster.start_edge(EDGE_WORKERS="2") for _ in range(2)]
    assert is_refused_everywhere(again, token)
    assert not is_refused(again[0], bob)
    for each in theirs:
        each.close()


def _claims(token: str) -> dict[str, str]:
    part = token.split(".")[1]
    found: dict[str, str] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found
