"""The wheel in a bare environment: an emitter alone, the demo, and a first application."""

import os
import re
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.clients import Client
from tests.support.cluster import Cluster, free_ports
from tests.support.host_app import HostApp
from tests.support.processes import ROOT
from tests.support.waiting import wait_for
from tests.support.wheel import Installed, build_wheel

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

LITTLE = {
    "annotated-types", "click", "event-relay", "event_relay",
    "msgpack", "pydantic", "pydantic_core",
    "pydantic-core", "pydantic-settings", "python-dotenv", "pyzmq", "typing-inspection",
    "typing_extensions", "typing-extensions",
}  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ORDERS = 1000
WORKERS = 4
MAX_LINES = 15


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def emitters_only(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("emitters"), wheel)


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    installed = Installed(tmp_path_factory.mktemp("server"), wheel, "[edge]")
    shutil.copy(ROOT / "examples" / "app.py", installed.directory)
    return installed


@pytest.fixture
def clones(tmp_path: Path) -> list[Path]:
    """Two clean checkouts of the newest commit, with the packages that this one has installed."""
    found = [tmp_path / "one", tmp_path / "another" / ("long" * 20)]
    for number, clone in enumerate(found):
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        for name in (".venv", "node_modules"):
            (clone / name).symlink_to(ROOT / name)
        for path in clone.rglob("*"):
            # Older than the packages, which otherwise would be installed again.
            os.utime(path, (1e9 + number, 1e9 + number), follow_symlinks=False)
    return found


def test_a_release_depends_on_its_commit_alone(clones: list[Path]) -> None:
    made = []
    for clone, umask in zip(clones, (0o022, 0o077), strict=True):
        ran = subprocess.run(
            ["make", "dist"], cwd=clone, umask=umask, capture_output=True, text=True, timeout=200
        )
        assert ran.returncode == 0, ran.stderr
        files = {path.name: path for path in (clone / "dist").iterdir() if path.is_file()}
        made.append({name: path.read_bytes() for name, path in files.items()})
    first, second = made
    version = PROJECT["version"]
    assert first.keys() == {
        f"event_relay-{version}-py3-none-any.whl",
        f"event_relay-{version}.tar.gz",
        f"event_relay-{version}.cdx.json",
        f"event-relay-client-{version}.tgz",
        "SHA256SUMS",
    }
    assert first == second
    assert set(first["SHA256SUMS"].decode().split()[1::2]) == first.keys() - {"SHA256SUMS"}
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    subprocess.run(check, cwd=clones[0] / "dist", check=True)


def test_an_emitter_brings_little(emitters_only: Installed, cluster: Cluster) -> None:
    assert emitters_only.packages <= LITTLE
    relay = emitters_only.start(cluster.env, emitters_only.program("event-relay"))
    try:
        emit = emitters_only.program("event-emit")
        ran = emitters_only.run(emit, "event:x", "1", **cluster.env)
        assert (ran.returncode, ran.stderr) == (0, "")
        script = "from emitters import Emitter\nimport emitters.tasks\nEmitter().close()"
        ran = emitters_only.run(emitters_only.python, "-c", script, **cluster.env)
        assert (ran.returncode, ran.stderr) == (0, "")
        stats = emitters_only.run(emitters_only.program("event-relay"), "stats", **cluster.env)
        assert '"event": 1' in stats.stdout
        assert relay.terminate() == 0
    finally:
        relay.close()


@pytest.mark.parametrize(
    ("program", "extra"),
    [
        (["event-edge"], "edge"),
        (["event-edge", "token", "alice"], "edge"),
        (["event-relay", "demo"], "edge"),
        (["event-emit", "tail", "--url", "ws://127.0.0.1:1/ws"], "client"),
    ],
)
def test_a_program_says_which_extra_it_needs(
    emitters_only: Installed, program: list[str], extra: str
) -> None:
    name, *arguments = program
    ran = emitters_only.run(emitters_only.program(name), *arguments)
    assert ran.returncode == 2
    assert ran.stdout == ""
    [line] = ran.stderr.splitlines()
    assert line.startswith(name)
    assert line.endswith(f': pip install "event-relay[{extra}]"')


@pytest.mark.parametrize(
    ("statement", "extra"),
    [
        ("from edge import Edge", "edge"),
        ("import edge.app", "edge"),
        ("import edge.uvicorn", "edge"),
        ("from edge.client import connect", "client"),
        ("from emitters.resources import ResourceMonitor", "resources"),
    ],
)
def test_an_import_says_which_extra_it_needs(
    emitters_only: Installed, statement: str, extra: str
) -> None:
    ran = emitters_only.run(emitters_only.python, "-c", statement)
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("ImportError: this part of Event Relay needs the package of ")
    assert last.endswith(f': pip install "event-relay[{extra}]"')


def test_the_demo_without_a_checkout(server: Installed) -> None:
    demo = server.start({}, server.program("event-relay"), "demo")
    try:
        demo.wait_for_output("Ctrl-C stops everything", 90)
        url = demo.output().partition("Open ")[2].split()[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=require_chromium(), args=CHROMIUM_ARGUMENTS
            )
            page = browser.new_page()
            page.goto(url)
            page.get_by_label("Username").fill("alice")
            [password] = re.findall(r"alice \(password ([\w-]{16})\)", demo.output())
            page.get_by_label("Password").fill(password)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_text("survival", exact=False).first.wait_for()
            browser.close()
        demo.signal(signal.SIGINT)
        demo.wait_ended(30)
        assert demo.returncode == 0
        assert "Traceback" not in demo.output()
    finally:
        demo.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def serve(stack: ExitStack, server: Installed, cluster: Cluster, *options: str) -> HostApp:
    """Serve `app.py`, on free ports beside other tests."""
    (port,) = free_ports(1)
    where = ["--app-dir", str(server.directory), "--port", str(port)]
    command = [server.program("uvicorn"), "app:app", "--http", "edge.uvicorn:http"]
    process = server.start(cluster.env, *command, *where, *options)
    stack.callback(process.close)
    app = HostApp(process, port, "/live")
    app.wait_ready()
    return app


def test_the_first_application_is_short() -> None:
    lines = (ROOT / "examples" / "app.py").read_text().splitlines()
    assert len([line for line in lines if line]) <= MAX_LINES


def test_an_event_of_a_handler_arrives_in_a_browser(
    stack: ExitStack, server: Installed, cluster: Cluster
) -> None:
    app = serve(stack, server, cluster)
    playwright = stack.enter_context(sync_playwright())
    browser = playwright.chromium.launch(
        executable_path=require_chromium(), args=CHROMIUM_ARGUMENTS
    )
    stack.callback(browser.close)
    page = browser.new_page()
    assert page.request.get(f"{app.url}/live/api/topics").status == 401
    assert page.request.post(f"{app.url}/sign-in/ann").ok
    page.goto(f"{app.url}/live/")
    state = page.get_by_test_id("connection-state")
    expect(state).to_have_attribute("data-state", "live", timeout=15_000)
    app.request("/orders/4711", method="POST")
    page.get_by_text("4711", exact=False).first.wait_for()


def test_four_workers_deliver_everything_to_the_clients_of_each(
    stack: ExitStack, server: Installed, cluster: Cluster
) -> None:
    app = serve(stack, server, cluster, "--workers", str(WORKERS))
    clients: list[Client] = []

    def has_each_worker_one() -> bool:
        cookie = {"Cookie": "user=ann"}
        clients.append(
            stack.enter_context(app.subscribed("event:order", additional_headers=cookie))
        )
        return len(workers_with_clients(app, clients)) == WORKERS

    wait_for(has_each_worker_one, "each worker has a client", 60)
    with ThreadPoolExecutor(8) as pool:
        paths = [f"/orders/{number}" for number in range(ORDERS)]
        answers = pool.map(lambda path: app.request(path, method="POST")[0], paths)
        assert set(answers) == {200}
    for client in clients:
        for _ in range(ORDERS):
            client.receive_on("event:order")
        numbers = [m["data"]["number"] for m in client.received if m.get("type") == "event"]
        assert sorted(numbers) == list(range(ORDERS))


def workers_with_clients(app: HostApp, clients: list[Client]) -> set[int]:
    """Return the processes that serve one of `clients`."""
    ports = {client.local_port for client in clients}
    return {
        process.pid
        for process in psutil.Process(app.process.pid).children()
        for connection in process.net_connections("tcp")
        if connection.raddr and connection.raddr.port in ports
    } - {os.getpid()}
