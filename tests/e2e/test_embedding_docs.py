"""docs/embedding.md does what it says, also in a browser behind nginx at a sub-path."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.cluster import Cluster, free_ports
from tests.support.host_app import OUR_HTTP, HostApp, serve
from tests.support.processes import ROOT
from tests.support.waiting import wait_for

PAGE = (ROOT / "docs" / "embedding.md").read_text()
NGINX = """
daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{
    listen 127.0.0.1:{port};
    {locations}
  }}
}}
"""

RULES = """
[kinds.room]
subscribe = ["user"]

[methods.restart_server]
call = ["*"]
"""


def snippets(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"the page has no {language}"
    return found


@pytest.fixture
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def app(cluster: Cluster, tmp_path: Path) -> HostApp:
    """All Python of the page in one file."""
    (tmp_path / "app.py").write_text("\n".join(snippets("python")))
    cluster.configure(
        '[kinds.room]\nsubscribe = ["user"]\n[methods.restart_server]\ncall = ["*"]\n'
    )
    return serve(cluster, "app:app", PYTHONPATH=f"{tmp_path}:{ROOT}", EDGE_DOCS_ACCESS="everybody")


def test_the_application_of_the_page(app: HostApp) -> None:
    [uvicorn, *_] = re.findall(r"uvicorn app:app (--http \S+)", snippets("sh")[0])
    assert uvicorn == " ".join(OUR_HTTP)
    with app.connect(additional_headers={"Cookie": "user=ann"}) as client:
        assert (
            client.receive_until(lambda m: m.get("type") == "greeting", "the greeting")["text"]
            == "Hello ann"
        )
        client.subscribe("event:order")
        app.request("/orders/7", method="POST")
        assert client.receive_on("event:order")["data"] == {"number": 7}
        client.send({"action": "dance", "id": 1})
        echo = client.receive_until(lambda m: m.get("type") == "echo", "the echo")
        assert echo["message"] == {"action": "dance", "id": 1}
        client.subscribe("room:1")
        client.ask({"action": "publish", "topic": "room:1", "data": "hi"})
        assert client.receive_on("room:1")["data"] == {"from": "ann", "text": "hi"}
        rename = {"server_name": "a", "new_name": "b"}
        reply = client.ask({"action": "request", "method": "rename_server", "params": rename})
        assert reply["result"] == {"renamed": ["a", "b"]}
        restart = {"action": "request", "params": {"server_name": "survival"}}
        # The relay has perhaps not heard of the method yet.
        restarted = wait_for(
            lambda: client.ask({**restart, "method": "restart_server"}).get("result"),
            "the method is answered",
        )
        assert restarted == {"restarted_by": "ann"}


CADDY = """
{{
  admin off
  auto_https off
  storage file_system {directory}/storage
}}
http://127.0.0.1:{port} {{
  {locations}
}}
"""


def assert_works_below(front: HostApp, browser: Browser) -> None:
    """The page is live, shows an event, and so is the API's documentation."""
    wait_for(lambda: front.request("/shop/live/readyz")[0] == 200, "the proxy answers")
    page = browser.new_page()
    try:
        page.context.add_cookies([{"name": "user", "value": "ann", "url": front.url}])
        page.goto(f"{front.url}/shop/live/")
        state = page.get_by_test_id("connection-state")
        expect(state).to_have_attribute("data-state", "live", timeout=15_000)
        front.request("/shop/orders/8", method="POST")
        page.get_by_text("order", exact=False).first.wait_for()
        page.goto(f"{front.url}/shop/live/docs")
        page.get_by_text("/api/tasks").first.wait_for()
    finally:
        page.close()


def test_behind_caddy_at_a_sub_path(
    app: HostApp, cluster: Cluster, tmp_path: Path, browser: Browser
) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("caddy is not installed")
    (port,) = free_ports(1)
    [location] = snippets("caddyfile")
    configuration = tmp_path / "Caddyfile"
    configuration.write_text(
        CADDY.format(
            directory=tmp_path,
            port=port,
            locations=location.replace("127.0.0.1:8000", f"127.0.0.1:{app.port}"),
        )
    )
    run = [caddy, "run", "--adapter", "caddyfile", "--config", str(configuration)]
    process = cluster.start("caddy", run, HOME=str(tmp_path))
    assert_works_below(HostApp(process, port, "/shop/live"), browser)


def test_behind_nginx_at_a_sub_path(
    app: HostApp, cluster: Cluster, tmp_path: Path, browser: Browser
) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    (port,) = free_ports(1)
    [location] = snippets("nginx")
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        NGINX.format(
            directory=tmp_path,
            port=port,
            locations=location.replace("127.0.0.1:8000", f"127.0.0.1:{app.port}"),
        )
    )
    process = cluster.start("nginx", [nginx, "-p", str(tmp_path), "-c", str(configuration)])
    assert_works_below(HostApp(process, port, "/shop/live"), browser)
