"""A token that expires ends its connection with 4001, on every road; a renewed one does not."""

import time

import pytest

from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.http_api import StreamClient, request

EXPIRED = (4001, "token expired")


@pytest.mark.parametrize("server", ["event-edge", "uvicorn", "hypercorn", "granian"])
def test_connections_end_with_their_token(cluster: Cluster, server: str) -> None:
    cluster.start_relay()
    edge = cluster.start_edge() if server == "event-edge" else cluster.start_plain_edge(server)
    exp = int(time.time()) + 3
    token = cluster.tokens.issue("ann", "user", exp, time.time())
    lasting = cluster.token("ann")
    url = f"ws://127.0.0.1:{edge.port}/ws"
    with (
        Client(f"{url}?token={token}") as by_handshake,
        Client(url) as by_message,
        Client(f"{url}?token={token}") as renewed,
        StreamClient(edge.url, token=token) as stream,
    ):
        by_message.ask({"action": "authenticate", "token": token, "id": 1})
        reply = renewed.ask({"action": "authenticate", "token": lasting, "id": 1})
        assert reply["status"] == "success"
        closed = {each.wait_closed() for each in (by_handshake, by_message, stream)}
        assert closed == {EXPIRED}
        assert time.time() >= exp, "not before"
        assert is_refused(edge, token)
        assert renewed.subscribe("event:*")["status"] == "success"


def is_refused(edge: Edge, token: str) -> bool:
    return request(f"{edge.url}/auth/me", token).status == 401
