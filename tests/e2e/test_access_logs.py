"""Tokens in URLs and the access logs of the servers on which an application with an edge runs."""

import pytest

from relay.testing.places import free_ports
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.http_api import request
from tests.support.processes import python
from tests.support.waiting import wait_for

APPLICATION = """
from fastapi import FastAPI
from edge import Edge
app = FastAPI()
Edge().install(app)
"""
SERVERS = {
    "uvicorn": ["--no-proxy-headers", "--port", "{port}"],
    "hypercorn": [
        "--bind", "127.0.0.1:{port}", "--access-logfile", "-", "--access-logformat",
        "%(R)s %(U)s?%(q)s %(s)s",
    ],
    "granian": [
        "--interface", "asgi", "--port", "{port}", "--access-log", "--access-log-fmt",
        "%(method)s %(path)s?%(query_string)s %(status)d",
    ],
}  # fmt: skip


@pytest.mark.parametrize("server", SERVERS)
def test_the_access_log_shows_the_request_and_not_the_token(cluster: Cluster, server: str) -> None:
    (cluster.directory / "app.py").write_text(APPLICATION)
    [port] = free_ports(1)
    options = [each.format(port=port) for each in SERVERS[server]]
    cluster.start_relay()
    process = cluster.start(
        server, python("-m", server, "app:app", *options), PYTHONPATH=f"{cluster.directory}:."
    )
    edge, token = Edge(process, port, 1), cluster.token("ann")
    wait_for(lambda: edge.status("/readyz") == 200, "the edge is ready")
    assert request(f"{edge.url}/auth/me?x=1&token={token}").status == 200
    with Client(f"ws://127.0.0.1:{port}/ws?token={token}") as client:
        client.subscribe("event:*")
    process.wait_for_output("/auth/me?x=1&token=[redacted]")
    edge.process.terminate()
    assert token not in process.output()
    assert token.rpartition(".")[2] not in process.output()
