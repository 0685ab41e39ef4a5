"""A relay beside the application: it starts, is shared, survives, and ends with its processes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from tests.support.cluster import Cluster
from tests.support.host_app import HostApp, serve
from tests.support.processes import ROOT, python
from tests.support.waiting import wait_for

APP = "tests.apps.embedded:app"
USER = {"Cookie": "user=ann"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def relays(cluster: Cluster) -> list[psutil.Process]:
    """The embedded relays with the cluster's data directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "relay.embedded" not in (process.info["cmdline"] or ()):
            continue
        try:
            if process.environ().get("RELAY_DATA_DIR") == cluster.env["RELAY_DATA_DIR"]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_delivers(app: HostApp, number: int) -> None:
    """An order reaches a client that comes now."""
    with app.connect(additional_headers=USER) as client:
        client.subscribe("event:order")
        status, _ = app.request(f"/orders/{number}", method="POST")
        assert status == 200
        assert client.receive_on("event:order")["data"] == {"number": number}


def test_one_file_is_a_cluster_that_ends_with_it(cluster: Cluster) -> None:
    app = serve(cluster, APP)
    assert_delivers(app, 1)
    assert len(relays(cluster)) == 1
    os.kill(app.process.pid, signal.SIGINT)
    wait_for(lambda: app.process.returncode is not None, "the application ends")
    assert relays(cluster) == []
    assert "Traceback" not in app.process.output()


def test_a_killed_application_leaves_no_relay(cluster: Cluster) -> None:
    app = serve(cluster, APP)
    os.kill(app.process.pid, signal.SIGKILL)
    wait_for(lambda: not relays(cluster), "the relay ends")


def test_a_killed_relay_is_started_again_with_its_journal(cluster: Cluster) -> None:
    # On a busy machine the start takes longer than the edge waits before it sends clients away.
    app = serve(cluster, APP, EDGE_RELAY_TIMEOUT_S="30")
    assert_delivers(app, 1)
    with app.connect(additional_headers=USER) as client:
        client.subscribe("event:order")
        relays(cluster)[0].kill()
        app.request("/orders/2", method="POST")
        assert client.receive_on("event:order", timeout=40)["data"] == {"number": 2}
    with app.connect(additional_headers=USER) as client:
        reply = client.ask({"action": "subscribe", "topic": "event:order", "last": 5, "id": 1})
        assert reply["status"] == "success"
        past = [m["data"]["number"] for m in client.received if m.get("type") == "event"]
        assert past == [1, 2]


def test_the_workers_of_an_application_share_one_relay(cluster: Cluster, stack: ExitStack) -> None:
    app = serve(cluster, APP, workers=2)
    clients = [
        stack.enter_context(app.subscribed("event:order", additional_headers=USER))
        for _ in range(12)
    ]
    for number in range(200):
        assert app.request(f"/orders/{number}", method="POST")[0] == 200
    for client in clients:
        for _ in range(200):
            # Each worker emits in its order; together they are one stream.
            client.receive_on("event:order")
        numbers = [m["data"]["number"] for m in client.received if m.get("type") == "event"]
        assert sorted(numbers) == list(range(200))
    assert len(relays(cluster)) == 1


def test_another_process_goes_on_with_the_relay(cluster: Cluster) -> None:
    first = serve(cluster, APP)
    second = serve(cluster, APP)
    assert len(relays(cluster)) == 1
    os.kill(first.process.pid, signal.SIGKILL)

    def is_taken_over() -> bool:
        return [each.ppid() for each in relays(cluster)] == [second.process.pid]

    wait_for(is_taken_over, "the second process has the relay")
    wait_for(lambda: second.request("/live/readyz")[0] == 200, "it is ready again")
    assert_delivers(second, 3)


def test_a_relay_that_runs_already_is_used(cluster: Cluster) -> None:
    cluster.start_relay()
    app = serve(cluster, APP)
    assert_delivers(app, 1)
    assert relays(cluster) == []


def test_a_relay_that_cannot_run_is_told(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="Not a directory"):
        serve(cluster, APP, RELAY_DATA_DIR=f"{__file__}/below")


def test_a_wrong_name_of_a_relay_is_refused() -> None:
    code = "import edge; edge.Edge(relay='tcp://127.0.0.1:5555')"
    ended = subprocess.run(
        python("-c", code), capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert 'relay: must be "embedded"' in ended.stderr


UNDER_TEST_CLIENT = """
import time
from fastapi.testclient import TestClient
from tests.apps.embedded import app

def is_ready(client):
    return client.get("/live/readyz").status_code == 200

for number in range(2):
    with TestClient(app, cookies={"user": "ann"}) as client:
        deadline = time.monotonic() + 60
        while not is_ready(client) and time.monotonic() < deadline:
            time.sleep(0.05)
        with client.websocket_connect("/live/ws") as socket:
            socket.send_json({"action": "subscribe", "topic": "event:order"})
            while "status" not in socket.receive_json():
                pass
            assert client.post(f"/orders/{number}").status_code == 200
            assert socket.receive_json()["data"] == {"number": number}
print("all right")
"""


def test_the_test_client_of_fastapi_starts_it_again_and_again(cluster: Cluster) -> None:
    """Its event loop runs in a thread, and it ends a WebSocket by a scope of anyio."""
    process = cluster.start("test client", python("-c", UNDER_TEST_CLIENT))
    process.wait_ended(90)
    assert "all right" in process.output()
    assert "Traceback" not in process.output()
    assert relays(cluster) == []
