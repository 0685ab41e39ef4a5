"""The dashboard in headless Chromium, with a real relay, edge and manager."""

import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from emitters import Emitter
from relay.wire.control import ReplayReply
from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.cluster import Cluster, Edge
from tests.support.passwords import cheap_users
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for

PASSWORDS = {"alice": "alice's password", "bob": "bob's password", "root": "root's password"}
PATIENCE_MS = 15_000
LIVE = re.compile("^live$")
FIRST_EVENTS = 50
"""The number of newest events that a new page shows."""
EVENTS_A_SECOND = 50

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
    users = cheap_users(cluster)
    for name, password in PASSWORDS.items():
        users.add(name, password, "admin" if name == "root" else "user")


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
    return cluster.start_forked(
        name,
        python(
            "-m",
            "relay.demo",
            name,
            "--servers",
            "survival",
            "--data-dir",
            str(cluster.directory / name),
            "--user",
            "alice",
        ),
    )


class Counting:
    """Emits events numbered from 1 in a thread, until the end of the `with` block."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0

    def __enter__(self) -> "Counting":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def go_on(self) -> None:
        """Wait for some more events to be emitted."""
        enough = self.count + EVENTS_A_SECOND
        wait_for(lambda: self.count >= enough, "events go on")

    def _run(self) -> None:
        while not self._ended.wait(1 / EVENTS_A_SECOND):
            self._emitter.emit("event:counted", {"number": self.count + 1})
            self.count += 1


def numbers_in_feed(page: Page) -> list[int]:
    """Return the numbers of all rows, oldest first, in a feed so high that it draws each row."""
    rows = int(page.locator("#feed-count").inner_text().split()[0].replace(",", ""))
    feed = page.get_by_test_id("feed")
    feed.evaluate("(feed, rows) => feed.style.height = `${rows * 40}px`", rows)
    expect(page.get_by_test_id("feed-row")).to_have_count(rows)
    texts = page.locator(".feed .feed-row:not(.feed-gap) .feed-data").all_inner_texts()
    return [int(re.findall(r"\d+", text)[0]) for text in reversed(texts)]


def first_page(peer: RelayPeer) -> ReplayReply:
    """Return the first page of the journal of events."""
    return peer.page("event")


def expect_all(page: Page, count: int) -> None:
    """The feed gets each number up to `count` once and in order, and shows no gap or restart."""
    expect(page.locator("#feed-count")).to_have_text(f"{count:,} events")
    expect(page.get_by_test_id("feed-row").first).to_contain_text(f'"number":{count}}}')
    assert numbers_in_feed(page) == list(range(1, count + 1))
    expect(page.get_by_test_id("feed-gap")).to_have_count(0)
    expect(page.get_by_test_id("restart-notice")).not_to_contain_text("restarted")


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
def test_the_feed_begins_with_the_newest_events(
    cluster: Cluster, edge: Edge, open_page: Callable[[Edge, str], Page]
) -> None:
    emitter = cluster.emitter()
    for number in range(1, FIRST_EVENTS + 11):
        emitter.emit("event:counted", {"number": number})
    assert emitter.close(10) == 0, "the relay has them all"
    page = open_page(edge, "alice")
    expect(page.locator("#feed-count")).to_have_text(f"{FIRST_EVENTS} events")
    assert numbers_in_feed(page) == list(range(11, FIRST_EVENTS + 11))


@pytest.mark.usefixtures("users")
def test_a_killed_relay_is_said_and_costs_the_page_nothing(
    cluster: Cluster, open_page: Callable[[Edge, str], Page]
) -> None:
    relay = cluster.start_relay()
    edge = cluster.start_edge()
    page = open_page(edge, "alice")
    state = page.get_by_test_id("connection-state")
    with Counting(cluster.emitter()) as counting:
        counting.go_on()
        relay.kill()
        expect(state).not_to_have_attribute("data-state", LIVE)
        expect(state).to_contain_text("relay")
        cluster.start_relay()
        expect(state).to_have_attribute("data-state", LIVE)
        counting.go_on()
    expect_all(page, counting.count)


@pytest.mark.usefixtures("users")
def test_a_relay_that_is_back_at_once_costs_the_page_nothing(
    cluster: Cluster, open_page: Callable[[Edge, str], Page]
) -> None:
    """The connection stays, for the edge catches up behind it."""
    relay = cluster.start_relay()
    edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="30")
    page = open_page(edge, "alice")
    with Counting(cluster.emitter()) as counting:
        counting.go_on()
        relay.kill()
        cluster.start_relay()
        counting.go_on()
    expect_all(page, counting.count)


@pytest.mark.usefixtures("users")
def test_a_relay_with_a_new_journal_is_said(
    cluster: Cluster, open_page: Callable[[Edge, str], Page]
) -> None:
    """The page says that events may be missing, and continues with the new ones."""
    relay = cluster.start_relay()
    edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="30")
    page = open_page(edge, "alice")
    relay.kill()
    shutil.rmtree(cluster.env["RELAY_DATA_DIR"])
    cluster.start_relay()
    expect(page.get_by_test_id("restart-notice")).to_contain_text("The relay was restarted")
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", LIVE)
    cluster.emitter().emit("event:after_restart", {})
    expect(page.get_by_test_id("feed")).to_contain_text("event:after_restart")


@pytest.mark.usefixtures("users")
def test_a_killed_edge_is_said_and_costs_the_page_nothing(
    cluster: Cluster, edge: Edge, open_page: Callable[[Edge, str], Page]
) -> None:
    page = open_page(edge, "alice")
    state = page.get_by_test_id("connection-state")
    with Counting(cluster.emitter()) as counting:
        counting.go_on()
        expect(page.get_by_test_id("feed-row").first).to_contain_text("event:counted")
        edge.process.kill()
        expect(state).not_to_have_attribute("data-state", LIVE)
        counting.go_on()
        cluster.start_edge(port=edge.port)
        expect(state).to_have_attribute("data-state", LIVE)
        counting.go_on()
    expect_all(page, counting.count)


@pytest.mark.usefixtures("users")
def test_a_task_that_ends_while_the_edge_is_away_is_shown_once(
    cluster: Cluster, edge: Edge, open_page: Callable[[Edge, str], Page]
) -> None:
    emitter = cluster.emitter()
    state = {"message": "Copying", "result": None, "username": "alice"}
    emitter.emit("task:copy", {"status": "in_progress", **state}, username="alice")
    page = open_page(edge, "alice")
    task = page.get_by_test_id("task")
    expect(task).to_have_attribute("data-status", "in_progress")
    task.evaluate("(card) => { card.wasKept = true; }")
    edge.process.kill()
    expect(page.get_by_test_id("connection-state")).not_to_have_attribute("data-state", LIVE)
    emitter.emit("task:copy", {"status": "success", **state}, username="alice")
    cluster.start_edge(port=edge.port)
    expect(task).to_have_attribute("data-status", "success")
    expect(task).to_have_count(1)
    assert task.evaluate("(card) => card.wasKept"), "the card was drawn anew"


@pytest.mark.usefixtures("users")
def test_events_that_retention_took_are_a_line_in_the_feed(
    cluster: Cluster, open_page: Callable[[Edge, str], Page]
) -> None:
    """While the edge is away, retention removes the first events that the page missed."""
    cluster.start_relay(RELAY_RETENTION_BYTES=str(64 * 1024))
    edge = cluster.start_edge()
    page = open_page(edge, "alice")
    emitter = cluster.emitter()
    emitter.emit("event:counted", {"number": 1})
    expect(page.get_by_test_id("feed-row")).to_have_count(1)
    edge.process.kill()
    last = 40
    with RelayPeer(cluster.control) as peer:
        for number in range(2, last):
            emitter.emit("event:counted", {"number": number, "filling": "x" * 8192})
        wait_for(lambda: first_page(peer).tip == last - 1, "the journal has them")
        emitter.emit("event:counted", {"number": last})
        wait_for(lambda: first_page(peer).low > 2, "retention takes the oldest")
    cluster.start_edge(port=edge.port)
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", LIVE)
    expect(page.get_by_test_id("feed-row").first).to_contain_text(f'"number":{last}}}')
    text = page.get_by_test_id("feed-gap").locator(".feed-topic").inner_text()
    expect(page.get_by_test_id("feed-news")).to_have_text(text)
    told = re.fullmatch(r"(\d+) events were not kept long enough: 2 to (\d+)", text)
    assert told, text
    count, up_to = map(int, told.groups())
    assert count == up_to - 1
    assert numbers_in_feed(page) == [1, *range(up_to + 1, last + 1)]
    rows = page.locator(".feed .feed-row")
    expect(rows.nth(rows.count() - 2)).to_have_attribute("data-testid", "feed-gap")


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
