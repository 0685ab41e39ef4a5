"""Pages of others, and text of others in our own page, in a real browser."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.cluster import Cluster, Edge
from tests.support.passwords import cheap_users
from tests.support.processes import ROOT
from tests.support.waiting import wait_for

PASSWORD = "correct horse"
MARKUP = "<img src=x onerror=window.ran=1><script>window.ran=1</script>"
"""A browser that takes it for markup runs a script, and has an image more."""
STATIC = ROOT / "edge" / "static"
SINKS = re.compile(
    r"\.(innerHTML|outerHTML|srcdoc)\b|insertAdjacentHTML|document\.write|createContextualFragment"
    r"|parseFromString|setHTML|\beval\(|new Function|setAttribute\(\s*[\"'`](on|style|href|src)"
    r"|javascript:"
)
"""Ways from text to markup or script."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    users = cheap_users(shared_cluster)
    for name in ("alice", "mallory", MARKUP):
        users.add(name, PASSWORD)
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge()


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


def sign_in(page: Page, edge: Edge, username: str) -> None:
    page.goto(edge.url)
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")


@contextmanager
def elsewhere(markup: str) -> Iterator[int]:
    """Serve a page of somebody else's; yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(markup.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SIGN_IN = """
<form method="post" action="{url}/auth/token">
  <input name="username" value="mallory"><input name="password" value="{password}">
</form><script>document.forms[0].submit()</script>
"""
SIGN_OUT = """
<form method="post" action="{url}/auth/logout"></form>
<script>document.forms[0].submit()</script>
"""
LINK = """<script>location = "{url}/auth/logout?token={token}"</script>"""
FETCH = """<script>
  const options = {{ method: "POST", mode: "no-cors", credentials: "include" }};
  const body = new URLSearchParams({{ username: "mallory", password: "{password}" }});
  Promise.all([
    fetch("{url}/auth/token", {{ ...options, body }}),
    fetch("{url}/auth/logout", options),
    fetch("{url}/auth/logout?token={token}", {{ ...options, method: "GET" }}),
  ]).finally(() => {{ location = "{url}/healthz"; }});
</script>"""
SANDBOX = """<iframe sandbox="allow-scripts allow-forms" srcdoc='
  <form method="post" action="{url}/auth/logout"></form>
  <script>document.forms[0].submit()</script>' onload="this.loads = (this.loads || 0) + 1;
  if (this.loads == 2) location = `{url}/healthz`"></iframe>"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("page", [SIGN_IN, SIGN_OUT, LINK, FETCH, SANDBOX])
def test_a_page_elsewhere_changes_nothing_about_who_is_signed_in(
    cluster: Cluster, edge: Edge, context: BrowserContext, page: str, host: str
) -> None:
    """`127.0.0.1` is the edge's own site, whose cookies the browser sends; `localhost` is not."""
    ours = context.new_page()
    sign_in(ours, edge, "alice")
    before = context.cookies()
    token = cluster.token("mallory")
    markup = page.format(url=edge.url, password=PASSWORD, token=token)
    with elsewhere(markup) as port:
        theirs = context.new_page()
        theirs.goto(f"http://{host}:{port}", wait_until="commit")
        # A sandboxed form stays in its frame, whose answer may not be shown.
        theirs.wait_for_url(re.compile(re.escape(edge.url)) if page != SANDBOX else "**")
        if page == SANDBOX:
            theirs.wait_for_load_state("networkidle")
    assert context.cookies() == before
    ours.reload()
    expect(ours.get_by_test_id("whoami")).to_contain_text("alice")


def test_our_own_page_signs_in_and_out(edge: Edge, context: BrowserContext) -> None:
    page = context.new_page()
    sign_in(page, edge, "alice")
    page.get_by_test_id("signout").click()
    expect(page.get_by_test_id("signin-form")).to_be_visible()
    # The connection is closed, and the form shown, before the answer has come.
    wait_for(lambda: context.cookies() == [], "the cookie is taken back")


def test_text_of_others_is_never_markup(cluster: Cluster, edge: Edge, browser: Browser) -> None:
    """Without the security policy, which would hide a mistake: it is a second defence."""
    emitter = cluster.emitter(f"manager {MARKUP}")
    data = {"server_name": f"s {MARKUP}", f"key {MARKUP}": [f"value {MARKUP}", {MARKUP: MARKUP}]}
    with browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        sign_in(page, edge, MARKUP)
        images = page.locator("img").count()
        for topic in (f"event:{MARKUP}", "event:after_server_start", "event:after_backup"):
            emitter.emit(topic, data, type=f"type {MARKUP}")
        for status in ("in_progress", "success", "error"):
            state = {"status": status, "message": f"m {MARKUP}", "result": {MARKUP: [MARKUP]}}
            emitter.emit(f"task:{status} {MARKUP}", state, username=MARKUP)
        emitter.emit(f"resource-monitor:s {MARKUP}", {"process_info": {"cpu_percent": MARKUP}})
        expect(page.get_by_test_id("whoami")).to_contain_text(MARKUP)
        expect(page.get_by_test_id("task")).to_have_count(3)
        expect(page.get_by_test_id("task").first).to_contain_text(f"m {MARKUP}")
        expect(page.get_by_test_id("server-card").first).to_contain_text(f"s {MARKUP}")
        rows = page.get_by_test_id("feed-row")
        expect(rows.filter(has_text=f"event:{MARKUP}")).to_have_count(1)
        rows.filter(has_text=f"event:{MARKUP}").click()
        details = page.locator("#event-details")
        for text in (f"event:{MARKUP}", f"manager {MARKUP}", f"key {MARKUP}", f"value {MARKUP}"):
            expect(details).to_contain_text(text)
        page.get_by_test_id("feed-filter").fill(MARKUP)
        expect(rows).to_have_count(3)
        page.get_by_test_id("feed-filter").fill(f"nothing {MARKUP}")
        expect(rows).to_have_count(0)
        page.get_by_test_id("signout").click()
        page.get_by_label("Username").fill(f"nobody {MARKUP}")
        page.get_by_label("Password").fill(MARKUP)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#signin-message")).not_to_be_empty()
        assert page.locator("img").count() == images
        assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("url", ["/api/topics", "/api/tasks", "/auth/me", "/nowhere", "/healthz"])
def test_answers_with_text_of_others_are_no_pages(
    cluster: Cluster, edge: Edge, context: BrowserContext, url: str
) -> None:
    page = context.new_page()
    answer = page.goto(f"{edge.url}{url}?token={MARKUP}")
    assert answer is not None
    assert answer.headers["content-type"].startswith("application/json")
    assert page.locator("img").count() == 0
    assert page.evaluate("window.ran") is None


def test_the_page_and_the_documentation_keep_their_strict_policy(
    edge: Edge, context: BrowserContext
) -> None:
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    sign_in(page, edge, "alice")
    page.get_by_test_id("signout").click()
    expect(page.get_by_test_id("signin-form")).to_be_visible()
    page.goto(f"{edge.url}/docs")
    expect(page.locator("#swagger-ui")).to_contain_text("/auth/token")
    page.get_by_text("/auth/logout").first.click()
    expect(page.get_by_role("button", name="Try it out")).to_be_visible()
    # The page asks who is signed in, and nobody is.
    assert [each for each in complaints if "401" not in each] == []


def test_the_policy_stops_scripts_that_get_into_the_page(
    edge: Edge, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(edge.url)
    write = "markup => { document.body.insertAdjacentHTML('beforeend', markup); }"
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate(write, MARKUP)
    append = """() => {
        const script = document.createElement("script");
        try { script.append("window.ran = 1"); } catch { return; }
        document.body.append(script);
    }"""
    page.evaluate(append)
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_script_of_ours_makes_markup_of_text(path: Path) -> None:
    assert SINKS.findall(path.read_text(encoding="utf-8")) == []


def test_no_page_of_ours_has_script_or_style_in_its_markup() -> None:
    pages = sorted(STATIC.glob("*.html"))
    assert len(pages) == 2
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|<style|\sstyle=|javascript:", text)
