"""An edge with an identity provider: the settings of docs/operations.md, and rotation."""

import time
from typing import Any

import pytest

from relay.testing.places import free_ports
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.http_api import request
from tests.support.identity_server import serving_keys
from tests.support.processes import ROOT, run_cli
from tests.support.signing import OTHERS, PRIVATE, jwk, jwks, pem, signed
from tests.support.snippets import commands, snippets
from tests.support.waiting import wait_for

SETTINGS = snippets(ROOT / "docs" / "operations.md", "sh")[1]
FIRST = jwks(jwk("RS256", PRIVATE["RS256"], "a", use="sig", alg="RS256"))
SECOND = jwks(jwk("RS256", OTHERS["RS256"], "b"))


def settings_of_the_page(port: int) -> dict[str, Any]:
    settings = dict(line.split("=", 1) for line in commands(SETTINGS))
    assert settings["EDGE_JWT_JWKS"].startswith("https://")
    return settings | {
        "EDGE_JWT_JWKS": f"http://127.0.0.1:{port}/certs",
        "EDGE_JWT_JWKS_INTERVAL_S": "0.2",
    }


def token(settings: dict[str, Any], private: Any = None, kid: str = "a", **claims: Any) -> str:
    """A token as Keycloak makes it."""
    now = time.time()
    found: dict[str, Any] = {
        "iss": settings["EDGE_JWT_ISSUER"],
        "aud": [settings["EDGE_JWT_AUDIENCE"], "account"],
        "sub": "0b2a",
        "preferred_username": "alice",
        "realm_access": {"roles": ["offline_access", "user"]},
        "iat": int(now),
        "exp": int(now) + 600,
    }
    return signed("RS256", private, kid, **(found | claims))


def status(edge: Edge, shown: str) -> int:
    return request(f"{edge.url}/auth/me", shown).status


def test_the_settings_of_the_page_and_a_rotation(cluster: Cluster) -> None:
    [port] = free_ports(1)
    settings = settings_of_the_page(port)
    cluster.start_relay()
    with serving_keys(port, FIRST) as server:
        edge = cluster.start_edge(**settings)
        first = token(settings)
        wait_for(lambda: status(edge, first) == 200, "the keys are known")
        me = request(f"{edge.url}/auth/me", first).body
        assert me["username"] == "alice"
        with Client(f"ws://127.0.0.1:{edge.port}/ws?token={first}") as client:
            client.subscribe("event:*")
        for wrong in (
            token(settings, aud="account"),
            token(settings, iss="https://else.example.org"),
            token(settings, exp=int(time.time()) - 1),
            token(settings, OTHERS["RS256"]),
            signed("ES256"),
            cluster.token("alice"),
        ):
            assert status(edge, wrong) == 401
        assert request(
            f"{edge.url}/auth/token", data={"username": "a", "password": "b"}
        ).status in (
            404,
            405,
        )
        server.body = SECOND
        second = token(settings, OTHERS["RS256"], "b")
        wait_for(lambda: status(edge, second) == 200, "the new key is known")
        assert status(edge, first) in (401, 503), "the old one is withdrawn"
    for _ in range(3):
        assert status(edge, second) == 200, "the last keys stay while the server is away"


def test_a_provider_that_is_away_at_the_start(cluster: Cluster) -> None:
    [port] = free_ports(1)
    settings = settings_of_the_page(port) | {"EDGE_JWT_ALGORITHMS": "HS256,RS256"}
    del settings["EDGE_JWT_USER_CLAIM"], settings["EDGE_JWT_ISSUER"], settings["EDGE_JWT_AUDIENCE"]
    cluster.start_relay()
    edge = cluster.start_edge(**settings)
    theirs = signed("RS256", None, "a", exp=int(time.time()) + 600)
    answer = request(f"{edge.url}/auth/me", theirs)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    with Client(f"ws://127.0.0.1:{edge.port}/ws?token={theirs}") as client:
        code, reason = client.wait_closed()
        assert (code, reason.endswith("retry in 1 s")) == (4013, True)
    assert status(edge, cluster.token("alice")) == 200, "our own tokens need no provider"
    with serving_keys(port, FIRST):
        wait_for(lambda: status(edge, theirs) == 200, "the keys are known")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"EDGE_JWT_ALGORITHMS": "none"}, "EDGE_JWT_ALGORITHMS: must be some of HS256"),
        ({"EDGE_JWT_ALGORITHMS": "RS256"}, "EDGE_JWT_ALGORITHMS: RS256 needs"),
        ({"EDGE_JWT_JWKS": "ftp://x"}, "EDGE_JWT_JWKS: must be a path, or a URL"),
        ({"EDGE_JWT_JWKS": "http://x/y"}, "EDGE_JWT_ALGORITHMS: lacks"),
        (
            {"EDGE_JWT_JWKS": "missing.json", "EDGE_JWT_ALGORITHMS": "RS256"},
            "EDGE_JWT_JWKS: missing.json cannot be read",
        ),
        (
            {"EDGE_JWT_PUBLIC_KEYS": "missing.pem", "EDGE_JWT_ALGORITHMS": "RS256"},
            "EDGE_JWT_PUBLIC_KEYS: missing.pem: No such file",
        ),
        (
            {"EDGE_JWT_PUBLIC_KEYS": "README.md", "EDGE_JWT_ALGORITHMS": "RS256"},
            "EDGE_JWT_PUBLIC_KEYS: README.md holds no PEM public key",
        ),
        ({"EDGE_JWT_SECRET_FILE": "README.md"}, "EDGE_JWT_SECRET_FILE: EDGE_JWT_SECRET is given"),
    ],
    ids=str,
)
def test_a_wrong_setting_ends_the_edge_with_a_line(
    cluster: Cluster, settings: dict[str, Any], line: str
) -> None:
    ended = run_cli("edge", env=cluster.env | settings)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"event-edge: {line}")
    assert ended.stderr.count("\n") == 1


def test_pem_files_and_several_secrets(cluster: Cluster) -> None:
    directory = cluster.directory
    (directory / "rsa.pem").write_bytes(pem(PRIVATE["RS256"]))
    (directory / "ec.pem").write_bytes(pem(PRIVATE["ES256"]))
    (directory / "secrets").write_text(f"{'n' * 32}\n\n{cluster.env['EDGE_JWT_SECRET']}\n")
    (directory / "secrets").chmod(0o600)
    old = cluster.token("alice")
    settings: dict[str, Any] = {
        "EDGE_JWT_ALGORITHMS": "HS256,RS256,ES256",
        "EDGE_JWT_PUBLIC_KEYS": f"{directory}/rsa.pem,{directory}/ec.pem",
        "EDGE_JWT_SECRET_FILE": f"{directory}/secrets",
    }
    del cluster.env["EDGE_JWT_SECRET"]
    cluster.start_relay()
    edge = cluster.start_edge(**settings)
    new = run_cli("edge", "token", "alice", env=cluster.env | settings).stdout.strip()
    exp = int(time.time()) + 600
    for shown in (old, new, signed("RS256", exp=exp), signed("ES256", exp=exp)):
        assert status(edge, shown) == 200
    assert status(edge, signed("EdDSA", exp=exp)) == 401
