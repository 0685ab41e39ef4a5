"""The dashboard knows its user by the cookie, and says so at once.

A client that says nothing becomes the cookie's user only after a second.
"""

from playwright.sync_api import expect, sync_playwright

from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.cluster import Cluster, Edge
from tests.support.passwords import cheap_users

PASSWORD = "alice's password"
RECORD_SOCKETS = """
    window.log = [];
    window.WebSocket = class extends WebSocket {
        constructor(...options) {
            super(...options);
            this.addEventListener("open", () => {
                log.push("open");
                setTimeout(() => log.push("after open"));
            });
            this.addEventListener("message", () => log.push("message"));
        }
        send(text) {
            const { action, token } = JSON.parse(text);
            log.push(action === "authenticate" ? `authenticate '${token}'` : action);
            super.send(text);
        }
    };
"""


def test_the_dashboard_authenticates_as_soon_as_the_socket_is_open(
    cluster: Cluster, edge: Edge
) -> None:
    path = require_chromium()
    cheap_users(cluster).add("alice", PASSWORD, "user")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page()
        page.add_init_script(RECORD_SOCKETS)
        page.goto(edge.url)
        page.get_by_label("Username").fill("alice")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        state = page.get_by_test_id("connection-state")
        expect(state).to_have_attribute("data-state", "live", timeout=15_000)
        log = page.evaluate("log")
        browser.close()
    opened = log.index("open")
    assert log[opened + 1] == "authenticate ''", "it takes the user of the cookie"
    assert log.index("authenticate ''") < log.index("after open"), "in the event `open` itself"
