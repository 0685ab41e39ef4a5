"""`EDGE_COMPRESSION`, with a library, raw sockets and a browser (RFC 7692)."""

import urllib.request

import pytest
from playwright.sync_api import sync_playwright
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.raw_http import TIMEOUT_S


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    """One for all tests: none of them stops anything."""
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge()


@pytest.fixture(scope="module")
def compressing(cluster: Cluster) -> Edge:
    return cluster.start_edge(EDGE_COMPRESSION="true")


OPEN_WEBSOCKET = """
(token) => new Promise((opened, failed) => {
  window.came = [];
  const socket = new WebSocket(`ws://${location.host}/ws?token=${token}`);
  const request = { action: "subscribe", topic: "event:browsed", id: "x".repeat(250) };
  socket.onopen = () => socket.send(JSON.stringify(request));
  socket.onclose = ({ code, reason }) => failed(new Error(`${code} ${reason}`));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.id === request.id) opened(socket.extensions);
    if (message.topic === request.topic && message.data) window.came.push(message);
  };
})
"""


class TestCompression:
    """`EDGE_COMPRESSION`."""

    def connect(self, cluster: Cluster, edge: Edge, compression: str | None) -> Client:
        url = f"ws://127.0.0.1:{edge.port}/ws?token={cluster.token('alice')}"
        return Client(url, compression=compression)

    def test_events_arrive_alike_with_and_without(
        self, cluster: Cluster, compressing: Edge
    ) -> None:
        small = self.connect(cluster, compressing, "deflate")
        plain = self.connect(cluster, compressing, None)
        assert len(small.extensions) == 1
        assert plain.extensions == []
        # No more than may wait for a client, for they are read one after the other.
        texts = ["händler " * size for size in (0, 1, 90, 128, 1_000, 20_000)] * 6
        texts.append("händler " * 110_000)
        for client in (small, plain):
            client.subscribe("event:*")
        emitter = cluster.emitter("large")
        for text in texts:
            emitter.emit("event:counted", {"text": text})
        for client in (small, plain):
            came = [client.receive_on("event:counted")["data"]["text"] for _ in texts]
            assert came == texts
        late = self.connect(cluster, compressing, "deflate")
        late.send({"action": "subscribe", "topic": "event:counted", "last": len(texts)})
        late.receive_until(lambda message: message.get("recovered") is True, "the reply")
        replayed = [message["data"]["text"] for message in late.received if "offset" in message]
        assert replayed == texts

    def test_messages_of_clients_may_be_compressed(
        self, cluster: Cluster, compressing: Edge
    ) -> None:
        client = self.connect(cluster, compressing, "deflate")
        for number in range(3):
            request = {"action": "subscribe", "topic": "event:x", "id": f"{number}" + "x" * 200}
            assert client.ask(request)["id"] == request["id"]
        client.send({"action": "subscribe", "topic": "event:" + "x" * 1_000_000})
        assert client.wait_closed()[0] == 1009, "it is small only on its way"

    def test_an_edge_that_does_not_compress_accepts_no_offer(
        self, cluster: Cluster, edge: Edge
    ) -> None:
        client = self.connect(cluster, edge, "deflate")
        assert client.extensions == []
        client.subscribe("event:x")

    def test_a_client_that_wants_a_smaller_window_is_served_uncompressed(
        self, cluster: Cluster, compressing: Edge
    ) -> None:
        url = f"ws://127.0.0.1:{compressing.port}/ws?token={cluster.token('alice')}"
        wish = ClientPerMessageDeflateFactory(server_max_window_bits=9)
        client = Client(url, compression=None, extensions=[wish])
        assert client.extensions == []
        client.subscribe("event:x")

    def test_a_browser_gets_the_events_as_well(self, cluster: Cluster, compressing: Edge) -> None:
        path = require_chromium()
        emitter = cluster.emitter("for-the-browser")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
            page = browser.new_page()
            page.goto(compressing.url)
            extensions = page.evaluate(OPEN_WEBSOCKET, cluster.token("alice"))
            assert "permessage-deflate" in extensions
            texts = ["ä" * size for size in (0, 1, 100, 5_000, 300_000)] * 3
            for text in texts:
                emitter.emit("event:browsed", {"text": text})
            page.wait_for_function("count => window.came.length >= count", arg=len(texts))
            assert page.evaluate("window.came.map((event) => event.data.text)") == texts
            browser.close()

    def test_it_is_for_websockets_only(self, compressing: Edge) -> None:
        with urllib.request.urlopen(f"{compressing.url}/healthz", timeout=TIMEOUT_S) as response:
            assert response.status == 200
