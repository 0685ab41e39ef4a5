"""Revoking in an application that knows its users itself."""

import time

from tests.support.clients import Client
from tests.support.cluster import Cluster
from tests.support.host_app import HostApp, serve

APPLICATION = """
from dataclasses import dataclass
from typing import Annotated
from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection
from edge import Edge

@dataclass
class User:
    username: str
    issued_at: float | None = None
    token_id: str | None = None

def user(connection: HTTPConnection) -> User | None:
    # name, or name:issued_at:token_id
    name, _, rest = connection.query_params.get("user", "").partition(":")
    issued_at, _, token_id = rest.partition(":")
    return User(name, float(issued_at) if rest else None, token_id or None) if name else None

app = FastAPI()
live = Edge(authenticate=user)
live.install(app, prefix="/live")

@app.post("/revoke")
async def revoke(user: str | None = None, token: str | None = None) -> str:
    await live.revoke(user, token_id=token)
    return "done"

@app.get("/me")
async def me(user: Annotated[object, Depends(live.user)]) -> str:
    return user.username
"""
REVOKED = (1008, "Token revoked")


def serving(cluster: Cluster) -> HostApp:
    (cluster.directory / "revoking_app.py").write_text(APPLICATION)
    cluster.start_relay()
    path = f"{cluster.directory}:."
    app = "revoking_app:app"
    return serve(cluster, app, workers=2, PYTHONPATH=path, EDGE_DOCS_ACCESS="user")


def me(host: HostApp, user: str) -> int:
    return host.request(f"/me?user={user}")[0]


def clients(host: HostApp, user: str) -> list[Client]:
    return [host.subscribed("event:*", f"user={user}") for _ in range(4)]


def test_an_application_revokes_by_user_and_by_token(cluster: Cluster) -> None:
    host, now = serving(cluster), time.time()
    dated, undated, other = f"ann:{now}:one", "ann", "bob"
    theirs = [*clients(host, dated), *clients(host, undated)]
    others = clients(host, other)
    assert host.request("/revoke?user=ann", method="POST") == (200, "done")
    assert {each.wait_closed() for each in theirs} == {REVOKED}
    assert {me(host, dated) for _ in range(6)} == {401}
    assert me(host, undated) == 200, "the application decides about it"
    for user, expected in ((dated, 401), (undated, 200)):
        assert host.request(f"/live/openapi.json?user={user}")[0] == expected
    later = f"ann:{time.time() + 1}:two"
    again = [*clients(host, undated), *clients(host, later)]
    assert host.request("/revoke?token=two", method="POST") == (200, "done")
    assert {each.wait_closed() for each in again[4:]} == {REVOKED}
    for each in (*others, *again[:4]):
        assert each.subscribe("event:y")["status"] == "success"
    status, _ = host.request("/revoke", method="POST")
    assert status == 500, "it has named nothing"
