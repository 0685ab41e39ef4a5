"""Access to metrics and documentation, and the places from which an administrator may act."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.nginx import start_nginx
from tests.support.processes import run_cli
from tests.support.waiting import wait_for

DOCUMENTS = ("/docs", "/openapi.json", "/asyncapi.json")
PATHS = ("/metrics", *DOCUMENTS)
THROUGH_PROXIES = {
    "that tells the client": {"X-Forwarded-For": "192.0.2.1"},
    "that tells of loopback": {"X-Forwarded-For": "127.0.0.1"},
    "of another kind": {"Via": "1.1 proxy"},
    "that tells its name": {"X-Real-IP": "127.0.0.1"},
    "that follows the standard": {"Forwarded": "for=127.0.0.1"},
    "that passes the host alone": {"Host": "edge.example"},
    "a page under another name": {"Host": "127.0.0.1.evil.example"},
}
TOKEN = "a token of a program"


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge()


def status(edge: Edge, path: str, *, data: bytes | None = None, **headers: Any) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{edge.url}{path}", data, named)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def statuses(edge: Edge, **headers: Any) -> dict[str, int]:
    return {path: status(edge, path, **headers) for path in PATHS}


def all_of(value: int, documents: int | None = None) -> dict[str, int]:
    return {"/metrics": value, **dict.fromkeys(DOCUMENTS, documents or value)}


@pytest.mark.parametrize("host", ["", "localhost:8000", "127.0.0.1", "[::1]:8000", "127.1.2.3:1"])
def test_programs_on_this_machine_read_everything(edge: Edge, host: str) -> None:
    assert statuses(edge, **({"Host": host} if host else {})) == all_of(200)


@pytest.mark.parametrize("proxy", THROUGH_PROXIES)
def test_by_default_nobody_else_does_whatever_the_role(
    cluster: Cluster, edge: Edge, proxy: str
) -> None:
    headers = THROUGH_PROXIES[proxy]
    assert statuses(edge, **headers) == all_of(403)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{edge.url}/metrics", headers=headers))
    told = json.loads(refused.value.read())
    assert told == {"detail": "Not allowed from here: see EDGE_METRICS_ACCESS"}
    bearer = f"Bearer {cluster.token('root', 'admin')}"
    assert statuses(edge, Authorization=bearer, **headers) == all_of(403)
    for path in ("/healthz", "/readyz", "/"):
        assert status(edge, path, data=None, **headers) == 200


def test_a_proxy_on_this_machine_is_not_this_machine(
    cluster: Cluster, edge: Edge, tmp_path: Path
) -> None:
    tells = "proxy_set_header X-Forwarded-For $remote_addr;"
    assert statuses(start_nginx(cluster, edge, tmp_path, tells)) == all_of(403)


def test_each_grant_lets_in_whom_it_names(cluster: Cluster, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN.replace(' ', '-')}\n{'x' * 40}\n")
    tokens.chmod(0o600)
    edge = cluster.start_edge(EDGE_METRICS_ACCESS=f"file:{tokens},admin", EDGE_DOCS_ACCESS="user")
    users = {role: f"Bearer {cluster.token(role, role)}" for role in ("user", "admin")}
    assert statuses(edge) == all_of(401), "not even to this machine: it is not named"
    assert statuses(edge, Authorization=users["user"]) == all_of(401, 200)
    assert statuses(edge, Authorization=users["admin"]) == all_of(200)
    for token in (TOKEN.replace(" ", "-"), "x" * 40):
        assert statuses(edge, Authorization=f"Bearer {token}") == all_of(200, 401)
    for wrong in ("x" * 39, "", "x" * 41):
        assert statuses(edge, Authorization=f"Bearer {wrong}") == all_of(401)
    assert status(edge, f"/metrics?token={'x' * 40}") == 401
    tokens.write_text("another-token-of-a-program\n")
    assert statuses(edge, Authorization=f"Bearer {'x' * 40}") == all_of(401)
    tokens.unlink()
    assert statuses(edge, Authorization=f"Bearer {'x' * 40}") == all_of(401)
    wait_for(lambda: f"cannot read {tokens}" in edge.process.output(), "it is logged")
    assert "Traceback" not in edge.process.output()


def test_everybody_may_be_let_in(cluster: Cluster) -> None:
    edge = cluster.start_edge(EDGE_METRICS_ACCESS="everybody", EDGE_DOCS_ACCESS="everybody")
    assert statuses(edge, X_Forwarded_For="192.0.2.1") == all_of(200)


@pytest.mark.parametrize(("setting", "wanted"), [("loopback", 403), ("everybody", 204)])
def test_from_where_an_administrator_may_act(cluster: Cluster, setting: str, wanted: int) -> None:
    edge = cluster.start_edge(EDGE_ADMIN_ACCESS=setting)
    users = {role: f"Bearer {cluster.token(role, role)}" for role in ("user", "admin")}

    def act(path: str, body: bytes, role: str, **headers: str) -> int:
        headers |= {"Content-Type": "application/json", "Authorization": users[role]}
        return status(edge, path, data=body, **headers)

    for path, body in (
        ("/api/users/somebody/disconnect", b""),
        ("/api/revocations", b'{"token_id": "of nobody"}'),
    ):
        assert act(path, body, "admin") == 204
        assert act(path, body, "admin", X_Forwarded_For="192.0.2.1") == wanted
        assert act(path, body, "user") == 403, "the role is needed in any case"


def test_while_no_token_can_be_judged_other_grants_count(cluster: Cluster) -> None:
    nobody = "tcp://127.0.0.1:1"  # Nothing listens there.
    edge = cluster.start_edge(
        ready=False,
        EDGE_RELAY_CONTROL=nobody,
        EDGE_RELAY_EGRESS=nobody,
        EDGE_METRICS_ACCESS="admin,loopback",
        EDGE_DOCS_ACCESS="user",
    )
    bearer = f"Bearer {cluster.token('root', 'admin')}"
    assert statuses(edge, Authorization=bearer) == all_of(200, 503)
    elsewhere = statuses(edge, Authorization=bearer, X_Forwarded_For="192.0.2.1")
    assert elsewhere == all_of(503)
    assert statuses(edge, X_Forwarded_For="192.0.2.1") == all_of(401)


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (None, 0, "cannot read"),
        ("short", 0o600, "must hold a token of at least 16 characters a line"),
        ("", 0o600, "must hold a token of at least 16 characters a line"),
        ("x" * 40, 0o644, "other users may use it (its mode is 644): chmod 600"),
    ],
)
def test_a_file_of_tokens_that_cannot_be_used_is_refused(
    cluster: Cluster, tmp_path: Path, content: str | None, mode: int, told: str
) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    [port] = free_ports(1)
    env = cluster.env | {"EDGE_PORT": str(port), "EDGE_DOCS_ACCESS": f"file:{path}"}
    ended = run_cli("edge", env=env)
    assert ended.returncode == 2
    assert ended.stderr.startswith("event-edge: EDGE_DOCS_ACCESS: ")
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
