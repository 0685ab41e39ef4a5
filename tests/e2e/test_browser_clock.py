"""`relay-client.js` in headless Chromium whose clock of the day is wrong (protocol section 7)."""

import datetime
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.cluster import Cluster, Edge

CONNECT = """async ([url, token]) => {
  const { connect } = await import(url);
  window.asked = 0;
  window.client = connect({ token: () => { window.asked += 1; return token; } });
}"""
IS_LIVE = "() => window.client.state.name === 'live'"
IS_WAITING = "() => window.client.state.name !== 'live'"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def edge(shared_cluster: Cluster) -> Edge:
    return shared_cluster.start_edge()


@pytest.fixture(params=[-40, 40], ids=["40 days late", "40 days early"])
def page(request: pytest.FixtureRequest, shared_cluster: Cluster, edge: Edge) -> Iterator[Page]:
    """A page whose client is live; its timers run when the test says so."""
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page()
        now = datetime.datetime.now(tz=datetime.UTC)
        page.clock.install(time=now + datetime.timedelta(days=request.param))
        page.goto(f"{edge.url}/static/clock.js")
        page.clock.pause_at(now + datetime.timedelta(days=request.param, hours=1))
        token = shared_cluster.token("alice", ttl_s=3600)
        page.evaluate(CONNECT, [f"{edge.url}/static/relay-client.js", token])
        page.wait_for_function(IS_LIVE)
        yield page
        browser.close()


def test_a_wrong_clock_asks_for_no_further_token(page: Page) -> None:
    page.clock.run_for(25_000)
    assert page.evaluate("window.asked") == 1
    assert page.evaluate(IS_LIVE)


def test_a_dead_line_is_noticed_whatever_the_clock_says(page: Page, edge: Edge) -> None:
    edge.process.signal(signal.SIGSTOP)
    try:
        page.clock.set_system_time(datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC))
        page.clock.run_for(30_000)
        page.clock.run_for(10_000)
        assert page.evaluate(IS_WAITING)
    finally:
        edge.process.signal(signal.SIGCONT)
    page.clock.run_for(4_000)
    page.wait_for_function(IS_LIVE)
