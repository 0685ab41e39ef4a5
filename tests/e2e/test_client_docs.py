"""Every snippet of docs/clients.md runs as it stands, but for the address and the token."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from emitters import Answers, Call, CallFailed
from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.node import find_node
from tests.support.processes import ROOT, python
from tests.support.waiting import wait_for

SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "docs/clients.md").read_text(), re.M | re.S)
PYTHON = [text for language, text in SNIPPETS if language == "python"]
JAVASCRIPT = [text for language, text in SNIPPETS if language == "js"]
IN_NODE = [text for text in JAVASCRIPT if "process.env" in text]
CALLING = [text for text in JAVASCRIPT if "relay.request" in text]
WATCHING = [text for text in JAVASCRIPT if text not in IN_NODE + CALLING]
RULES = """
[kinds.note]
mode = "stream"
subscribe = ["user"]
publish = ["user"]

[methods.greet]
call = ["user"]
"""


def test_all_snippets_were_found() -> None:
    assert (len(PYTHON), len(IN_NODE), len(WATCHING), len(CALLING)) == (3, 1, 3, 1)
    assert len(SNIPPETS) == 8


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("clients"))
    try:
        cluster.configure(RULES)
        cluster.start_relay()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge()


@pytest.fixture
def notes(cluster: Cluster, edge: Edge) -> Iterator[Client]:
    """Bob, who watches what is published; a manager greets him meanwhile."""
    answers = Answers(name="greeter", control=cluster.control)

    @answers("greet")
    def greet(call: Call, name: str) -> str:
        if name != "bob":
            raise CallFailed("I do not know them")
        return f"Hello {name} from {call.username}"

    assert answers.wait_registered(20)
    with cluster.connect(edge, "bob") as client:
        client.subscribe("note:*")
        yield client
    answers.close()


def at(edge: Edge, snippet: str) -> str:
    """Return the snippet with the address of `edge`."""
    return snippet.replace("wss://example.org/ws", f"ws://127.0.0.1:{edge.port}/ws")


def emit_until(cluster: Cluster, is_shown: Callable[[], bool]) -> None:
    """Emit one event of each sort again and again, until the snippet has shown its own."""
    emitter = cluster.emitter()

    def emitted() -> bool:
        emitter.emit("event:shown", {"n": 1})
        emitter.emit("notice:shown", {"n": 2}, username="alice")
        emitter.emit("task:shown", {"status": "in_progress"}, username="alice")
        emitter.emit("resource-monitor:survival", {"process_info": None})
        return is_shown()

    wait_for(emitted, "the snippet shows its events")


@pytest.mark.parametrize(
    ("snippet", "shown"),
    [
        (PYTHON[0], ["event:shown {'n': 1}"]),
        (PYTHON[1], ["resource-monitor:survival None", "task:shown ", "notice:shown ", "live"]),
    ],
)
def test_a_snippet_in_python(
    cluster: Cluster, edge: Edge, tmp_path: Path, snippet: str, shown: list[str]
) -> None:
    program = tmp_path / "program.py"
    program.write_text(at(edge, snippet))
    process = cluster.start_forked("python", python(str(program)), TOKEN=cluster.token("alice"))
    emit_until(cluster, lambda: all(text in process.output() for text in shown))


def test_the_snippet_in_node(cluster: Cluster, edge: Edge, tmp_path: Path) -> None:
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (modules / "ws").symlink_to(ROOT / "node_modules/ws")
    (modules / "event-relay-client").mkdir()
    for file in (*(ROOT / "edge/static").glob("relay-client*"), ROOT / "clients/js/package.json"):
        (modules / "event-relay-client" / file.name).write_bytes(file.read_bytes())
    program = tmp_path / "program.mjs"
    program.write_text(at(edge, IN_NODE[0]))
    command = [find_node(), str(program)]
    process = cluster.start("node", command, TOKEN=cluster.token("alice"))
    emit_until(cluster, lambda: "event:shown { n: 1 }" in process.output())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, edge: Edge) -> Iterator[Page]:
    """A page of the edge without scripts."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{edge.url}/static/clock.js")
        yield page


def run_in(page: Page, snippet: str, token: str) -> list[str]:
    """Return the lines that the page prints, which become more."""
    printed: list[str] = []
    page.on("console", lambda message: printed.append(message.text))
    # The page's policy allows no script in its text; this is the same as `import … from`.
    body = re.sub(r'import (\{.*\}) from (".*");', r"const \1 = await import(\2);", snippet)
    body = body.replace('"TOKEN"', f'"{token}"')
    page.evaluate(f"async () => {{ {body} }}")
    return printed


@pytest.mark.parametrize("snippet", WATCHING, ids=["module", "tabs", "plain"])
def test_a_snippet_in_a_page(cluster: Cluster, edge: Edge, page: Page, snippet: str) -> None:
    printed = run_in(page, at(edge, snippet), cluster.token("alice"))
    topics = ["event:shown"]
    if "onTask" in snippet:
        topics += ["task:shown", "notice:shown"]

    def are_shown() -> bool:
        page.evaluate("0")  # Lets Playwright hand over what the page has printed.
        return all(any(text.startswith(topic) for text in printed) for topic in topics)

    emit_until(cluster, are_shown)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("bob", "Hello bob from alice"), ("eve", "failed I do not know them")],
)
def test_the_call_in_python(
    cluster: Cluster, edge: Edge, notes: Client, tmp_path: Path, name: str, shown: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(at(edge, PYTHON[2]).replace('"bob"', f'"{name}"'))
    process = cluster.start_forked("python", python(str(program)), TOKEN=cluster.token("alice"))
    assert notes.receive_on("note:42")["data"] == {"text": "hello"}
    process.wait_ended()
    assert process.output().splitlines() == [shown]


@pytest.mark.parametrize(
    ("name", "shown"), [("bob", "Hello bob from alice"), ("eve", "I do not know them")]
)
def test_the_call_in_a_page(
    cluster: Cluster, page: Page, notes: Client, name: str, shown: str
) -> None:
    snippet = CALLING[0].replace('"bob"', f'"{name}"')
    printed = run_in(page, snippet, cluster.token("alice"))
    assert notes.receive_on("note:42")["data"] == {"text": "hello"}
    assert printed == [shown]
