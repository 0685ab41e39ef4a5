"""The dashboard in headless Chromium, watching real processes."""

import os
import re
import signal
from collections.abc import Callable, Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.cluster import Cluster, Edge
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.waiting import wait_for

PASSWORDS = {"alice": "alice's password", "bob": "bob's password", "root": "root's password"}
PATIENCE_MS = 15_000
LIVE = re.compile("^live$")

pytestmark = pytest.mark.timeout(180)

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def users(cluster: Cluster) -> None:
    for name, password in PASSWORDS.items():
        role = "admin" if name == "root" else "user"
        added = run_cli(
            "edge",
            "user",
            "add",
            name,
            "--role",
            role,
            "--password-stdin",
            env=cluster.env,
            stdin=f"{password}\n",
        )
        assert added.returncode == 0, added.stderr


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[Edge, str], Page]]:
    """Open the dashboard in a browser context of its own and sign in."""
    contexts = []

    def open_page(edge: Edge, username: str) -> Page:
        context = browser.new_context()
        contexts.append(context)
        page = context.new_page()
        page.goto(edge.url)
        sign_in(page, username)
        expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", LIVE)
        return page

    yield open_page
    for context in contexts:
        context.close()


def sign_in(page: Page, username: str, password: str | None = None) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORDS[username] if password is None else password)
    page.get_by_role("button", name="Sign in").click()


def start_manager(cluster: Cluster, name: str = "manager-1") -> ManagedProcess:
    return cluster.start(
        name,
        python(
            "-m",
            "emitters.demo",
            name,
            "--servers",
            "survival",
            "--data-dir",
            str(cluster.directory / name),
            "--user",
            "alice",
        ),
    )


def picture_of(page: Page) -> bytes:
    return page.get_by_test_id("chart").first.screenshot()


@pytest.mark.usefixtures("users")
def test_a_user_signs_in_and_sees_events_charts_and_their_task(
    cluster: Cluster, edge: Edge, open_page: Callable[[Edge, str], Page]
) -> None:
    start_manager(cluster)
    page = open_page(edge, "alice")
    expect(page.get_by_test_id("whoami")).to_contain_text("alice")
    expect(page.get_by_test_id("feed-row").first).to_contain_text("event:")
    card = page.locator('[data-testid="server-card"][data-server="survival"]')
    expect(card.get_by_test_id("memory")).to_have_text(re.compile(r"^\d+(\.\d+)?$"))
    before = picture_of(page)
    wait_for(lambda: picture_of(page) != before, "the chart moves")
    finished = page.locator('[data-testid="task"][data-status="success"]').first
    expect(finished).to_be_visible(timeout=30_000)
    page.reload()
    expect(page.locator('[data-testid="task"]').first).to_be_visible()


@pytest.mark.usefixtures("users")
def test_a_wrong_password_is_said_and_signing_out_ends_the_session(
    edge: Edge, browser: Browser
) -> None:
    page = browser.new_page()
    page.goto(edge.url)
    sign_in(page, "alice", "wrong")
    expect(page.get_by_role("alert").filter(has_text="Incorrect")).to_be_visible()
    sign_in(page, "alice")
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", LIVE)
    page.get_by_test_id("signout").click()
    expect(page.get_by_test_id("signin-form")).to_be_visible()
    page.reload()
    expect(page.get_by_test_id("signin-form")).to_be_visible()
    page.close()


@pytest.mark.usefixtures("users")
def test_tasks_reach_both_browsers_of_their_user_and_no_other(
    cluster: Cluster, open_page: Callable[[Edge, str], Page]
) -> None:
    """Two edge workers; the other user is an administrator."""
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2")
    mine = [open_page(edge, "alice") for _ in range(2)]
    others = [open_page(edge, "root") for _ in range(2)]
    done = run_cli(
        "emitters", "task", "--user", "alice", "--", "echo", "the secret result", env=cluster.env
    )
    assert done.returncode == 0, done.stderr
    run_cli("emitters", "event:marker", "{}", env=cluster.env)
    for page in mine:
        task = page.locator('[data-testid="task"][data-status="success"]')
        expect(task).to_have_count(1)
    for page in others:
        expect(page.get_by_test_id("feed")).to_contain_text("event:marker")
        expect(page.get_by_test_id("task")).to_have_count(0)
        assert "the secret result" not in page.content()


@pytest.mark.usefixtures("users")
def test_the_feed_filters_pauses_and_never_runs_what_it_shows(
    cluster: Cluster, edge: Edge, open_page: Callable[[Edge, str], Page]
) -> None:
    page = open_page(edge, "alice")
    emitter = cluster.emitter()
    emitter.emit("event:<img src=x onerror=alert(1)>", {"html": "<script>alert(2)</script>"})
    rows = page.get_by_test_id("feed-row")
    expect(rows).to_have_count(1)
    emitter.emit("event:after_backup", {"server_name": "survival"})
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#feed img").count() == 0
    page.get_by_test_id("feed-filter").fill("after_backup")
    expect(rows).to_have_count(1)
    page.get_by_test_id("feed-filter").fill("")
    page.get_by_test_id("feed-pause").click()
    emitter.emit("event:while_paused", {})
    expect(page.get_by_test_id("feed-pause")).to_have_text("Resume (1 waiting)")
    expect(rows).to_have_count(2)
    page.get_by_test_id("feed-pause").click()
    expect(rows).to_have_count(3)


@pytest.mark.usefixtures("users")
def test_a_killed_relay_is_said_and_the_page_is_live_again_without_a_reload(
    cluster: Cluster, open_page: Callable[[Edge, str], Page]
) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge()
    page = open_page(edge, "alice")
    emitter = cluster.emitter()
    relay.kill()
    state = page.get_by_test_id("connection-state")
    expect(state).not_to_have_attribute("data-state", LIVE)
    expect(state).to_contain_text("relay")
    cluster.start_relay()
    expect(state).to_have_attribute("data-state", LIVE)
    assert emitter.wait_connected(10)
    emitter.emit("event:after_restart", {})
    expect(page.get_by_test_id("feed")).to_contain_text("event:after_restart")


@pytest.mark.usefixtures("users")
def test_a_relay_that_is_back_at_once_is_said(
    cluster: Cluster, open_page: Callable[[Edge, str], Page]
) -> None:
    """The connection stays, and the page tells that events may have been missed."""
    relay = cluster.start_relay()
    edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="30")
    page = open_page(edge, "alice")
    relay.kill()
    cluster.start_relay()
    expect(page.get_by_test_id("restart-notice")).to_contain_text("The relay was restarted")
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", LIVE)


@pytest.mark.usefixtures("users")
def test_a_killed_edge_is_said_and_the_page_is_live_again_without_a_reload(
    cluster: Cluster, edge: Edge, open_page: Callable[[Edge, str], Page]
) -> None:
    page = open_page(edge, "alice")
    emitter = cluster.emitter()
    edge.process.kill()
    state = page.get_by_test_id("connection-state")
    expect(state).not_to_have_attribute("data-state", LIVE)
    cluster.start_edge(port=edge.port)
    expect(state).to_have_attribute("data-state", LIVE)
    emitter.emit("event:after_restart", {})
    expect(page.get_by_test_id("feed")).to_contain_text("event:after_restart")


@pytest.mark.usefixtures("users")
def test_a_killed_manager_is_said_and_its_return_is_seen(
    cluster: Cluster, edge: Edge, open_page: Callable[[Edge, str], Page]
) -> None:
    manager = start_manager(cluster)
    page = open_page(edge, "alice")
    card = page.locator('[data-testid="server-card"][data-server="survival"]')
    expect(card.get_by_test_id("memory")).to_have_text(re.compile(r"\d"))
    children = psutil.Process(manager.pid).children(recursive=True)
    manager.kill()
    expect(card.locator(".server-note")).to_contain_text("No reading")
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children), "the manager's servers ended too"
    start_manager(cluster)
    expect(card.locator(".server-note")).not_to_contain_text("No reading")
    expect(card.locator(".server-status-text")).to_have_text("Running")


@pytest.mark.usefixtures("users")
def test_a_killed_server_is_seen(
    cluster: Cluster, edge: Edge, open_page: Callable[[Edge, str], Page]
) -> None:
    manager = start_manager(cluster)
    page = open_page(edge, "alice")
    card = page.locator('[data-testid="server-card"][data-server="survival"]')
    expect(card.locator(".server-status-text")).to_have_text("Running")
    page.get_by_test_id("feed-filter").fill("CRASHED")
    [child] = wait_for(lambda: psutil.Process(manager.pid).children(), "the manager has a server")
    os.kill(child.pid, signal.SIGKILL)
    expect(page.get_by_test_id("feed-row").first).to_contain_text("CRASHED")


@pytest.mark.usefixtures("users")
def test_a_closed_tab_ends_the_sampling(
    cluster: Cluster, edge: Edge, open_page: Callable[[Edge, str], Page]
) -> None:
    topic = "resource-monitor:survival"
    emitter = cluster.emitter()
    page = open_page(edge, "alice")
    assert not emitter.is_watched(topic)
    emitter.emit("event:after_server_start", {"server_name": "survival"})
    wait_for(lambda: emitter.is_watched(topic), "the card watches its server")
    page.close()
    wait_for(lambda: not emitter.is_watched(topic), "nobody watches")


def test_the_api_page_needs_no_other_host(edge: Edge, browser: Browser) -> None:
    page = browser.new_page()
    elsewhere: list[str] = []
    page.on(
        "request",
        lambda request: None if request.url.startswith(edge.url) else elsewhere.append(request.url),
    )
    page.goto(f"{edge.url}/docs")
    expect(page.locator("#swagger-ui")).to_contain_text("/auth/token")
    assert [url for url in elsewhere if not url.startswith("data:")] == []
    page.close()
