"""`make screenshot`: a picture of the dashboard with the demo managers at work."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.support.browser import CHROMIUM_ARGUMENTS, MISSING, find_chromium
from tests.support.cluster import Cluster
from tests.support.processes import python, run_cli

CHART_MS = 45_000
"""So long the charts fill before the picture is taken."""


def main(target: Path) -> None:
    """Start a cluster, sign in, wait for the charts, and write a PNG to `target`."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory))
        try:
            _take(cluster, chromium, target)
        finally:
            cluster.close()
    print(f"wrote {target}")


def _take(cluster: Cluster, chromium: str, target: Path) -> None:
    run_cli(
        "edge", "user", "add", "alice", "--password-stdin", env=cluster.env, stdin="photographed\n"
    )
    cluster.start_relay()
    edge = cluster.start_edge()
    for name, servers in (("manager-1", "survival,creative"), ("manager-2", "skyblock,lobby")):
        data_dir = str(cluster.directory / name)
        options = ("--servers", servers, "--data-dir", data_dir, "--user", "alice")
        cluster.start(name, python("-m", "relay.demo", name, *options))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 860}, device_scale_factor=1)
        page.goto(edge.url)
        page.get_by_label("Username").fill("alice")
        page.get_by_label("Password").fill("photographed")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_test_id("server-card")).to_have_count(4, timeout=20_000)
        page.wait_for_timeout(CHART_MS)
        page.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
