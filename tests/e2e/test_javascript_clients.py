"""The JavaScript client outside our own page: as a package in Node, in React, from another origin,
and shared by the tabs of a browser."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.cluster import Cluster, Edge
from tests.support.node import find_node
from tests.support.processes import ROOT
from tests.support.waiting import wait_for

ORIGIN = "https://front.example"


def url(edge: Edge) -> str:
    return f"ws://127.0.0.1:{edge.port}/ws"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the npm package is installed as `make npm` packs it."""
    built = tmp_path_factory.mktemp("npm")
    subprocess.run(
        ["make", "npm", f"NPM_DIST={built}"], cwd=ROOT, check=True, capture_output=True, timeout=100
    )
    [archive] = built.glob("event-relay-client-*.tgz")
    modules = built / "app" / "node_modules"
    modules.mkdir(parents=True)
    shutil.unpack_archive(archive, modules)
    (modules / "package").rename(modules / "event-relay-client")
    for name in ("ws", "typescript", "@types"):
        (modules / name).symlink_to(ROOT / "node_modules" / name)
    return built / "app"


def test_the_package_has_the_version_of_the_product_and_every_file(package: Path) -> None:
    folder = package / "node_modules" / "event-relay-client"
    described = json.loads((folder / "package.json").read_text())
    assert f'version = "{described["version"]}"' in (ROOT / "pyproject.toml").read_text()
    shared = sorted(path.name for path in (ROOT / "edge/static").glob("relay-client*"))
    assert sorted(described["files"]) == shared
    assert {"README.md", "LICENSE", *shared} < {path.name for path in folder.iterdir()}


def test_the_package_in_node(cluster: Cluster, edge: Edge, package: Path) -> None:
    script = package / "client.mjs"
    shutil.copy(ROOT / "tests/js/e2e/package-client.mjs", script)
    command = [find_node(), str(script), url(edge), cluster.token("alice"), "3"]
    client = cluster.start("node", command)
    client.wait_for_output("live")
    emitter = cluster.emitter()
    for number in range(1, 4):
        emitter.emit("event:a", {"n": number})
    client.wait_ended()
    assert client.returncode == 0, client.output()
    lines = [line for line in client.output().splitlines() if line.startswith("{")]
    assert [json.loads(line)["n"] for line in lines] == [1, 2, 3]


def test_the_types_of_the_package(package: Path) -> None:
    (package / "use.mts").write_text(
        'import { connect, type RelayMessage } from "event-relay-client";\n'
        'import WebSocket from "ws";\n'
        'const relay = connect({ url: "ws://x/ws", WebSocket, shared: "alice" });\n'
        "relay.subscribe('event:*', (event: RelayMessage) => console.log(event.topic));\n"
        "// @ts-expect-error - no such option\n"
        "connect({ tokens: 1 });\n"
    )
    options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022"]
    types = ["--lib", "es2023,dom", "--skipLibCheck", "--types", "node"]
    compiler = ROOT / "node_modules/typescript/bin/tsc"
    command = [find_node(), str(compiler), *options, *types, "use.mts"]
    ran = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_the_react_hook(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()
    for number in range(1, 4):
        emitter.emit("event:a", {"n": number})
    script = "tests/js/e2e/react-hook.mjs"
    page = cluster.start("react", [find_node(), script, url(edge), cluster.token("alice")])
    page.wait_for_output("live: 1 2 3")
    for number in range(4, 7):
        emitter.emit("event:a", {"n": number})
    page.wait_ended()
    assert page.returncode == 0, page.output()
    assert "live: 4 5 6" in page.output()


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, ORIGIN), ("https://other.example", None)])
def test_pages_of_allowed_origins_may_import_the_client(
    cluster: Cluster, origin: str, allowed: str | None
) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_ALLOWED_ORIGINS=ORIGIN)
    for name in ("relay-client.js", "nothing.js"):
        request = urllib.request.Request(f"{edge.url}/static/{name}", headers={"Origin": origin})
        try:
            headers = urllib.request.urlopen(request, timeout=5).headers
        except urllib.error.HTTPError as error:
            headers = error.headers
            assert name == "nothing.js"
        assert (headers["Access-Control-Allow-Origin"]) == (
            allowed if name == "relay-client.js" else None
        )
        assert name == "nothing.js" or headers["Vary"] == "Origin"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context() as context:
        yield context


def open_tab(context: BrowserContext, edge: Edge, token: str, **options: object) -> Page:
    """Open a page of the edge's origin without scripts, and subscribe there to all events."""
    page = context.new_page()
    page.goto(f"{edge.url}/static/clock.js")
    page.evaluate(
        """async ([token, options]) => {
            const { connect } = await import("/static/relay-client.js");
            window.heard = [];
            window.relay = connect({ token: () => token, shared: true, ...options });
            relay.subscribe("event:*", ({ data }) => heard.push(data.n), { last: 100 });
            relay.onAddressed(({ topic }) => heard.push(topic));
        }""",
        [token, options],
    )
    wait_for(lambda: page.evaluate("relay.state.name === 'live'"), "the tab is live")
    return page


def heard(page: Page, count: int) -> list[object]:
    wait_for(lambda: page.evaluate("heard.length") >= count, f"the tab hears {count} events")
    return list(page.evaluate("heard"))


def connections(edge: Edge) -> float:
    return sum(edge.connections_by_worker().values())


def test_three_tabs_have_one_connection(
    cluster: Cluster, edge: Edge, context: BrowserContext
) -> None:
    emitter = cluster.emitter()
    token = cluster.token("alice")
    emitter.emit("event:a", {"n": 1})
    tabs = [open_tab(context, edge, token) for _ in range(3)]
    assert [heard(tab, 1) for tab in tabs] == [[1], [1], [1]]
    emitter.emit("event:a", {"n": 2})
    emitter.emit("notice:1", {}, username="alice")
    wanted = {1, 2, "notice:1"}
    assert [set(map(str, heard(tab, 3))) for tab in tabs] == [set(map(str, wanted))] * 3
    assert connections(edge) == 1
    refused = "relay.request('nothing').catch(({ name, code }) => [name, code])"
    assert tabs[1].evaluate(refused) == ["RelayCallError", "forbidden"]
    edge.process.kill()
    emitter.emit("event:a", {"n": 3})
    edge = cluster.start_edge(port=edge.port)
    assert [heard(tab, 4)[-1] for tab in tabs] == [3, 3, 3]
    assert connections(edge) == 1
    for tab in tabs[:2]:
        tab.close()
    emitter.emit("event:a", {"n": 4})
    assert heard(tabs[2], 5)[-1] == 4
    assert connections(edge) == 1
    tabs[2].evaluate("relay.close()")
    wait_for(lambda: connections(edge) == 0, "the last tab ends the connection")


def test_a_tab_that_crashes_leaves_its_subscriptions(
    cluster: Cluster, edge: Edge, context: BrowserContext
) -> None:
    """The edge forwards events of a topic as long as a tab is subscribed to it."""
    token = cluster.token("alice")
    first, second = (open_tab(context, edge, token) for _ in range(2))
    second.evaluate("void relay.subscribe('resource-monitor:x', () => {})")
    with cluster.emitter() as emitter:
        wait_for(lambda: emitter.is_watched("resource-monitor:x"), "it is watched")
        with pytest.raises(Error):
            second.goto("chrome://crash")
        wait_for(lambda: not emitter.is_watched("resource-monitor:x"), "nobody watches any more")
        emitter.emit("event:a", {"n": 1})
        assert heard(first, 1) == [1]


def test_tabs_with_another_name_or_without_shared_workers_have_their_own(
    cluster: Cluster, edge: Edge, context: BrowserContext
) -> None:
    emitter = cluster.emitter()
    token = cluster.token("alice")
    tabs = [
        open_tab(context, edge, token, shared="alice"),
        open_tab(context, edge, token, shared="bob"),
    ]
    context.add_init_script("delete globalThis.SharedWorker")
    tabs.append(open_tab(context, edge, token))
    emitter.emit("event:a", {"n": 1})
    assert [heard(tab, 1) for tab in tabs] == [[1], [1], [1]]
    assert connections(edge) == 3
