"""Time from `emit()` to a browser's `onmessage`, beside the shortest possible path.

The path under test is emitter process → relay process → edge process → Chromium. The reference is
one process that sends the same JSON to the same Chromium over a WebSocket of its own.
"""

import asyncio
import contextlib
import json
import multiprocessing
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bench.peers.peer import Peer
from bench.quantiles import COLUMNS, cells, quantiles
from bench.report import Section, Table, Target
from emitters import Emitter
from tests.support.browser import CHROMIUM_ARGUMENTS, find_chromium
from tests.support.cluster import Cluster, free_ports

EVENTS = 1000
RATE_PER_S = 100
WARM_UP = 50
TARGETS_MS = {"p50": 3.0, "p99": 15.0}

RECORDER = """
([url, first, count]) => new Promise((resolve, reject) => {
  const delays = [];
  const socket = new WebSocket(url);
  socket.onopen = () => socket.send(first);
  socket.onclose = (event) => reject(new Error(`closed with ${event.code} ${event.reason}`));
  socket.onmessage = (event) => {
    const now = performance.timeOrigin + performance.now();
    const message = JSON.parse(event.data);
    if (message.status) { window.ready = true; return; }
    delays.push(now - message.data.sent_at_ms);
    if (delays.length === count) { socket.onclose = null; socket.close(); resolve(delays); }
  };
})
"""


def measure(_peers: Mapping[str, Peer]) -> Section:
    """Measure both paths, one after the other."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=CHROMIUM_ARGUMENTS
        )
        reference = quantiles(_measure_reference(browser.new_page()))
        relayed = quantiles(_measure_relay(browser.new_page()))
        browser.close()
    ratios = {name: relayed[name] / reference[name] for name in relayed}
    rows = (
        ("one process that sends over a WebSocket (shortest path)", *cells(reference)),
        ("emitter → relay, journal → edge", *cells(relayed)),
        ("ratio", *cells(ratios)),
    )
    return Section(
        "In a browser",
        f"From `emit()` in one process to `onmessage` in Chromium, {EVENTS:,} events at "
        f"{RATE_PER_S}/s.",
        (Table(("path", *COLUMNS), rows),),
        tuple(
            Target(f"{name} below {limit:.0f} ms", f"{relayed[name]:.2f} ms", relayed[name] < limit)
            for name, limit in TARGETS_MS.items()
        ),
    )


def _measure_relay(page: Page) -> list[float]:
    with TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory))
        try:
            cluster.start_relay()
            edge = cluster.start_edge()
            emitter = multiprocessing.get_context("spawn").Process(
                target=_emit, args=(cluster.ingress, cluster.control)
            )
            url = f"ws://127.0.0.1:{edge.port}/ws?token={cluster.token('bench')}"
            first = json.dumps({"action": "subscribe", "topic": "event:bench"})
            return _record(page, f"{edge.url}/healthz", url, first, emitter)
        finally:
            cluster.close()


def _measure_reference(page: Page) -> list[float]:
    [port] = free_ports(1)
    server = multiprocessing.get_context("spawn").Process(target=_serve_reference, args=(port,))
    return _record(page, f"http://127.0.0.1:{port}/page", f"ws://127.0.0.1:{port}", "start", server)


def _record(page: Page, page_url: str, url: str, first: str, sender: Any) -> list[float]:
    """Start `sender`, let a page at `page_url` receive from `url`, and return the delays after the
    warm-up."""
    sender.start()
    try:
        _open(page, page_url)
        delays: list[float] = page.evaluate(RECORDER, [url, first, WARM_UP + EVENTS])
        return delays[WARM_UP:]
    finally:
        sender.terminate()
        sender.join()


def _open(page: Page, url: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            page.goto(url)
            return
        except PlaywrightError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _paced(index: int, start: float) -> float:
    """Yield the seconds until event `index` is due."""
    return max(0.0, start + index / RATE_PER_S - time.perf_counter())


def _payload() -> dict[str, Any]:
    return {"server_name": "survival", "sent_at_ms": time.time_ns() / 1e6, "result": "success"}


def _emit(ingress: str, control: str) -> None:
    """Emit until terminated; the page takes as many events as it needs."""
    with Emitter(name="bench", ingress=ingress, control=control) as emitter:
        emitter.wait_connected(10)
        start = time.perf_counter()
        for index in range(60 * RATE_PER_S):
            time.sleep(_paced(index, start))
            emitter.emit("event:bench", _payload())


def _serve_reference(port: int) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send('{"status":"success"}')
        start = time.perf_counter()
        with contextlib.suppress(ConnectionClosed):
            for index in range(60 * RATE_PER_S):
                await asyncio.sleep(_paced(index, start))
                await connection.send(json.dumps({"type": "event", "data": _payload()}))

    def page_or_socket(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(200, "reference") if request.path == "/page" else None

    async def run() -> None:
        async with serve(
            handler, "127.0.0.1", port, compression=None, process_request=page_or_socket
        ):
            await asyncio.get_running_loop().create_future()

    asyncio.run(run())
