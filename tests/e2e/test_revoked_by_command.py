"""Revoking by command and by HTTP: who may, what is answered, and without the relay."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.http_api import StreamClient, request
from tests.support.processes import run_cli
from tests.support.waiting import wait_for

REVOKED = (1008, "Token revoked")
NOBODY = "tcp://127.0.0.1:1"
"""Nothing listens there."""


def status(edge: Edge, token: str) -> int:
    return request(f"{edge.url}/auth/me", token).status


def is_refused(edge: Edge, token: str) -> bool:
    return status(edge, token) == 401


def signed_in(edge: Edge, password: str) -> str:
    answer = request(f"{edge.url}/auth/token", data={"username": "ann", "password": password})
    assert answer.status == 200, answer
    token = answer.body["access_token"]
    assert isinstance(token, str)
    return token


def user(cluster: Cluster, *arguments: str, password: str = "") -> tuple[int, str, str]:
    ended = run_cli("edge", "user", *arguments, env=cluster.env, stdin=f"{password}\n")
    return ended.returncode, ended.stdout, ended.stderr


def add(cluster: Cluster, password: str, *more: str) -> tuple[int, str, str]:
    return user(cluster, "add", "ann", "--password-stdin", *more, password=password)


def test_a_new_password_a_new_role_and_removal_end_the_sessions(
    cluster: Cluster, edge: Edge
) -> None:
    assert add(cluster, "first password") == (0, "Added ann (user).\n", "")
    token = signed_in(edge, "first password")
    assert add(cluster, "first password") == (0, "Updated ann (user).\n", "")
    assert status(edge, token) == 200, "nothing has changed"
    for change in (
        ("add", "ann", "--password-stdin"),
        ("add", "ann", "--password-stdin", "--role", "admin"),
        ("remove", "ann"),
    ):
        client = Client(f"ws://127.0.0.1:{edge.port}/ws?token={token}")
        code, _, problem = user(cluster, *change, password="second password")
        assert (code, problem) == (0, "")
        assert client.wait_closed() == REVOKED
        assert status(edge, token) == 401
        if change[0] == "add":
            token = signed_in(edge, "second password")


def test_so_does_passwd_with_another_password(cluster: Cluster, edge: Edge) -> None:
    add(cluster, "first password")
    token = signed_in(edge, "first password")
    client = Client(f"ws://127.0.0.1:{edge.port}/ws?token={token}")
    for password in ("first password", "second password"):
        assert status(edge, token) == 200, "nothing has changed yet"
        changed = user(cluster, "passwd", "ann", "--password-stdin", password=password)
        assert changed == (0, "Changed the password of ann.\n", "")
    assert client.wait_closed() == REVOKED
    assert status(edge, token) == 401
    assert status(edge, signed_in(edge, "second password")) == 200


def test_tokens_can_be_kept(cluster: Cluster, edge: Edge) -> None:
    add(cluster, "first password")
    token = signed_in(edge, "first password")
    assert add(cluster, "second password", "--keep-tokens")[0] == 0
    kept = user(
        cluster, "passwd", "ann", "--password-stdin", "--keep-tokens", password="a third one"
    )
    assert kept[0] == 0
    assert user(cluster, "remove", "ann", "--keep-tokens")[0] == 0
    assert status(edge, token) == 200


def test_without_the_relay_the_command_says_what_remains_to_be_done(cluster: Cluster) -> None:
    cluster.env |= {"EDGE_RELAY_CONTROL": NOBODY, "EMITTER_RELAY_CONTROL": NOBODY}
    first = user(cluster, "add", "ann", "--generate", "--if-first")
    assert (first[0], first[2]) == (0, ""), "a new user has no tokens"
    assert user(cluster, "add", "ann", "--generate", "--if-first")[0] == 0, "nothing has changed"
    code, output, problem = add(cluster, "second password")
    assert (code, output) == (1, "Updated ann (user).\n")
    assert "event-edge revoke --user ann" in problem.splitlines()[-1]
    assert "Traceback" not in problem
    code, output, problem = user(cluster, "passwd", "ann", "--password-stdin", password="third one")
    assert (code, output) == (1, "Changed the password of ann.\n")
    assert "event-edge revoke --user ann" in problem.splitlines()[-1]
    code, output, problem = user(cluster, "add", "ann", "--generate")
    assert code == 1
    assert "The password of ann is" in output, "it is in force"
    code, output, problem = user(cluster, "remove", "ann")
    assert (code, output) == (1, "Removed ann.\n")
    ended = run_cli("edge", "revoke", "--user", "ann", env=cluster.env)
    assert ended.returncode == 1
    assert ended.stderr.endswith("Error: the relay is away: no token was revoked\n")


def test_a_leaked_token_is_revoked_by_its_file_and_not_shown(
    cluster: Cluster, edge: Edge, tmp_path: Path
) -> None:
    tokens = [cluster.token("ann") for _ in range(2)]
    path = tmp_path / "leaked"
    path.write_text(f"{tokens[0]}\n")
    ended = run_cli("edge", "revoke", "--token-file", str(path), env=cluster.env)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Revoked.\n", "")
    wait_for(lambda: status(edge, tokens[0]) == 401, "it is refused")
    assert status(edge, tokens[1]) == 200
    ended = run_cli("edge", "revoke", "--token-file", "-", env=cluster.env, stdin=tokens[1])
    assert ended.returncode == 0
    wait_for(lambda: status(edge, tokens[1]) == 401, "it is refused")
    for wrong in ("", "x.y.z", "ü"):
        ended = run_cli("edge", "revoke", "--token-file", "-", env=cluster.env, stdin=wrong)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "Error: that is no token that is valid here\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "name one of"),
        (["--all", "--user", "ann"], "name one of"),
        (["--token-id", "x", "--before", "2026-01-01"], "--before concerns"),
        (["--all", "--before", "tomorrow"], "must be a time such as"),
        (["--all", "--before", "nan"], "must be a time in the past"),
        (["--all", "--before", "9999-01-01"], "must be a time in the past"),
        (["--all", "--before", "-5"], "must be a time in the past"),
    ],
)
def test_a_wrong_command_line_is_refused(
    cluster: Cluster, arguments: list[str], problem: str
) -> None:
    ended = run_cli("edge", "revoke", *arguments, env=cluster.env)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert problem in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"username": ""},
        {"username": "x" * 300},
        {"username": 5},
        {"token_id": ""},
        {"all": False},
        {"all": "maybe"},
        {"username": "ann", "all": True},
        {"username": "ann", "before": -1},
        {"username": "ann", "before": 10**400},
        {"username": "ann", "before": "soon"},
        {"username": "ann", "expires_at": 5},
        {"token_id": "x", "before": 5},
        {"username": "ann", "more": 1},
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_wrong_request_is_refused_and_revokes_nothing(
    cluster: Cluster, edge: Edge, body: Any
) -> None:
    token = cluster.token("ann")
    url = f"{edge.url}/api/revocations"
    assert request(url, cluster.token("root", "admin"), body).status == 422
    assert status(edge, token) == 200


def test_only_an_administrator_revokes(cluster: Cluster, edge: Edge) -> None:
    url, token = f"{edge.url}/api/revocations", cluster.token("ann")
    for caller, expected in ((None, 401), (token, 403), (cluster.token("bob", "shop"), 403)):
        assert request(url, caller, {"username": "ann"}).status == expected
    admin = cluster.token("root", "admin")
    cookie = f"access_token_cookie={admin}"
    foreign = request(url, None, {"all": True}, Cookie=cookie, Origin="https://else.example.org")
    assert foreign.status == 403
    assert status(edge, token) == 200


def test_an_edge_that_starts_without_the_relay_lets_nobody_in(cluster: Cluster) -> None:
    edge, token = cluster.start_edge(ready=False), cluster.token("ann")
    answer = request(f"{edge.url}/auth/me", token)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.body == {"detail": "the relay is away: revoked tokens are not known yet"}
    with Client(f"ws://127.0.0.1:{edge.port}/ws?token={token}") as client:
        assert client.wait_closed()[0] == 4013
    with Client(f"ws://127.0.0.1:{edge.port}/ws") as client:
        assert client.wait_closed()[0] == 4013
    assert request(f"{edge.url}/auth/me", "forged").status == 401
    out = request(f"{edge.url}/auth/logout", token, b"")
    assert out.status == 503
    assert "Max-Age=0" in out.headers["Set-Cookie"], "signed out here"
    cluster.start_relay()
    edge.wait_ready()
    assert status(edge, token) == 200


def test_clients_see_nothing_of_revocations(cluster: Cluster, edge: Edge) -> None:
    admin = cluster.token("root", "admin")
    with (
        Client(f"ws://127.0.0.1:{edge.port}/ws?token={admin}") as client,
        StreamClient(edge.url, ("*",), token=admin) as stream,
    ):
        position = client.subscribe("*")["position"]
        stream.subscribed()
        for _ in range(3):
            url = f"{edge.url}/api/revocations"
            assert request(url, admin, {"username": "ann"}).status == 204
        cluster.emitter().emit("event:x", {"n": 1})
        assert client.receive()["topic"] == "event:x"
        assert stream.receive()["topic"] == "event:x"
        assert "revocation" not in position
        for topic in ("revocation:user", "revocation:*", "revocation"):
            reply = client.ask({"action": "subscribe", "topic": topic, "id": 1})
            assert (reply["status"], reply["code"]) == ("error", "invalid_topic")
            published = request(f"{edge.url}/api/events", admin, {"topic": topic, "data": {}})
            assert published.status == 422
    assert request(f"{edge.url}/api/streams/revocation/events", admin).status == 404
    kinds = [each["kind"] for each in request(f"{edge.url}/api/topics", admin).body["kinds"]]
    assert "revocation" not in kinds
    assert edge.metrics()["edge_revocations"] == {"": 1.0}


def test_an_edge_of_some_topics_knows_all_revocations(cluster: Cluster) -> None:
    cluster.start_relay()
    edge, token = cluster.start_edge(EDGE_TOPIC_PREFIXES="event:a"), cluster.token("ann")
    client = Client(f"ws://127.0.0.1:{edge.port}/ws?token={token}")
    assert run_cli("edge", "revoke", "--user", "ann", env=cluster.env).returncode == 0
    assert client.wait_closed() == REVOKED
    assert status(edge, token) == 401


def test_no_log_has_a_token_or_a_password(cluster: Cluster) -> None:
    relay = cluster.start_relay(RELAY_LOG_LEVEL="DEBUG")
    edge = cluster.start_edge(EDGE_LOG_LEVEL="DEBUG")
    uvicorn = cluster.start_plain_edge("uvicorn", "--log-level", "trace", EDGE_LOG_LEVEL="DEBUG")
    assert add(cluster, "a secret password")[0] == 0
    shown = [signed_in(edge, "a secret password")]
    for each in (edge, uvicorn):
        token = cluster.token("ann")
        shown.append(token)
        for road in ("ws", "auth/me", "api/tasks", "api/streams/event/events", "wrong"):
            request(f"{each.url}/{road}?x=1&token={token}")
            request(f"{each.url}/{road}?%74oken={token}x")
        with Client(f"ws://127.0.0.1:{each.port}/ws?token={token}") as client:
            client.send({"action": "authenticate", "token": token[:-4] + "AAAA"})
            client.wait_closed()
        assert request(f"{each.url}/auth/logout", token, b"").status == 204
        wait_for(partial(is_refused, each, token), "it is refused")
    logs = "".join(process.output() for process in (relay, edge.process, uvicorn.process))
    for secret in (*shown, "a secret password", cluster.env["EDGE_JWT_SECRET"]):
        assert secret not in logs
        assert secret.rpartition(".")[2] not in logs, "not even its signature"
