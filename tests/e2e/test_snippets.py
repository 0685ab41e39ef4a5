"""The snippets of README.md and of the pages that have no test file of their own.

`RUN_BY` says for every page which file runs its code.
"""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from edge.config import EdgeSettings
from relay.shared.settings import load
from tests.emitters.relay_control import read_journal
from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.nginx import find_nginx
from tests.support.processes import ROOT, python
from tests.support.snippets import commands, languages, snippets
from tests.support.waiting import wait_for

README = ROOT / "README.md"
DOCS = ROOT / "docs"
OPERATIONS = DOCS / "operations.md"
THIS = "tests/e2e/test_snippets.py"
RUN_BY = {
    ("README.md", "python"): THIS,
    ("README.md", "js"): THIS,
    ("README.md", "sh"): "tests/e2e/test_installed.py",
    ("clients.md", "python"): "tests/e2e/test_client_docs.py",
    ("clients.md", "js"): "tests/e2e/test_client_docs.py",
    ("embedding.md", "python"): "tests/e2e/test_embedding_docs.py",
    ("embedding.md", "sh"): "tests/e2e/test_embedding_docs.py",
    ("embedding.md", "nginx"): "tests/e2e/test_embedding_docs.py",
    ("embedding.md", "caddyfile"): "tests/e2e/test_embedding_docs.py",
    ("embedding.md", "js"): THIS,
    ("events.md", "python"): THIS,
    ("http.md", "go"): THIS,
    ("http.md", "js"): THIS,
    ("http.md", "json"): "tests/e2e/test_http_docs.py",
    ("http.md", "php"): THIS,
    ("http.md", "sh"): "tests/e2e/test_http_docs.py",
    ("migration.md", "python"): "tests/e2e/test_migration.py",
    ("migration.md", "js"): "tests/e2e/test_migration.py",
    ("migration.md", "sh"): THIS,
    ("operations.md", "nginx"): THIS,
    ("operations.md", "sh"): THIS,
    ("operations.md", "toml"): "tests/relay/shared/test_config_file.py",
    ("protocol.md", "js"): "tests/e2e/test_credentials.py",
    ("protocol.md", "json"): THIS,
    ("securing.md", "sh"): "tests/e2e/test_securing_docs.py",
    ("securing.md", "toml"): "tests/e2e/test_securing_docs.py",
    ("testing.md", "python"): THIS,
}
NOT_RUN = {"", "mermaid", "text"}
"""Pictures, and calls of another program."""
NGINX = """
daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""
PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


def test_every_snippet_has_a_test() -> None:
    pages = [README, ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]
    found = {(page.name, each) for page in pages for each in languages(page)}
    assert {pair for pair in found if pair[1] not in NOT_RUN} == set(RUN_BY)
    for (page, _), file in RUN_BY.items():
        text = (ROOT / file).read_text()
        assert page in text or page == "README.md" or "config_file" in file, file


# README.md and the pages about events and tests.


def test_the_emitter_of_the_readme(cluster: Cluster) -> None:
    cluster.start_relay()
    client = cluster.connect(cluster.start_edge(), "alice")
    client.subscribe("event:*")
    snippet, _ = snippets(README, "python")
    program = cluster.start_forked("python", python("-c", snippet))
    program.wait_ended(60)
    assert (program.returncode, program.output()) == (0, "")
    received = [client.receive_until(is_event, "an event") for _ in range(2)]
    assert {each["topic"]: each["data"] for each in received} == {
        "event:after_backup": {"server_name": "survival"},
        "task:7f3c": {"status": "success"},
    }


def is_event(message: dict[str, object]) -> bool:
    return message.get("type") in ("event", "task_update")


def test_the_publisher_of_the_readme_without_our_code(cluster: Cluster) -> None:
    cluster.start_relay()
    client = cluster.connect(cluster.start_edge(), "alice")
    client.subscribe("event:*")
    _, snippet = snippets(README, "python")
    assert "tcp://127.0.0.1:5555" in snippet
    snippet = snippet.replace("tcp://127.0.0.1:5555", cluster.ingress)
    cluster.start("python", python("-c", snippet)).wait_ended(60)
    assert client.receive_on("event:after_backup")["data"] == {"server_name": "survival"}


def test_the_commands_in_the_text_of_the_readme(cluster: Cluster) -> None:
    cluster.start_relay()
    [emit] = re.findall(r"`(event-emit event:after_backup [^`]*)`", README.read_text())
    assert shell(cluster, emit).returncode == 0
    assert [e.data for e in read_journal(cluster.control)] == [{"server_name": "survival"}]
    targets = re.findall(r"^make (\w+)", "\n".join(snippets(README, "sh")), re.MULTILINE)
    assert targets == ["run", "test"]
    assert set(targets) <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)) | {
        "test"
    }


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=require_chromium(), args=CHROMIUM_ARGUMENTS
        )
        yield browser.new_page()
        browser.close()


def imported(snippet: str) -> str:
    """Return a snippet for a page whose policy allows no script in its text."""
    return re.sub(r'import (\{.*\}) from (".*");', r"const \1 = await import(\2);", snippet)


def test_the_page_of_the_readme(cluster: Cluster, page: Page) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    [snippet] = snippets(README, "js")
    token = cluster.token("alice")
    body = imported(snippet).replace("connect()", f'connect({{ token: async () => "{token}" }})')
    printed: list[str] = []
    page.goto(f"{edge.url}/static/clock.js")
    page.on("console", lambda message: printed.append(message.text))
    page.evaluate(f"async () => {{ {body} }}")
    emitter = cluster.emitter()

    def is_shown() -> bool:
        emitter.emit("event:shown", {"n": 1})
        emitter.emit("task:1", {"status": "success", "message": "done"}, username="alice")
        emitter.emit("resource-monitor:survival", {"process_info": {"cpu_percent": 31.5}})
        page.evaluate("0")  # Lets Playwright hand over what the page has printed.
        text = "\n".join(printed)
        return all(each in text for each in ("event:shown", "success done", "live", "31.5"))

    wait_for(is_shown, "the page shows its events")


def test_the_model_of_the_events_page(cluster: Cluster) -> None:
    cluster.configure('[kinds.order_paid]\nmode = "stream"\n')
    cluster.start_relay()
    [snippet] = snippets(DOCS / "events.md", "python")
    program = cluster.start_forked("python", python("-c", snippet))
    program.wait_ended(60)
    assert (program.returncode, program.output()) == (0, "")
    events = read_journal(cluster.control, "order_paid")
    assert [e.data for e in events] == [{"order": 5, "total": 0.0}, {"order": 6, "total": 0.0}]


@pytest.mark.process
def test_the_tests_of_the_testing_page(tmp_path: Path) -> None:
    [snippet] = snippets(DOCS / "testing.md", "python")
    (tmp_path / "test_shop.py").write_text(f"from emitters import Emitter\n\n\n{snippet}")
    ran = subprocess.run(
        python("-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


# docs/http.md and docs/embedding.md


def test_the_event_source_of_a_page(cluster: Cluster, page: Page) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    [snippet] = [each for each in snippets(DOCS / "http.md", "js") if "EventSource" in each]
    printed: list[str] = []
    page.context.add_cookies(
        [{"name": "access_token_cookie", "value": cluster.token("alice"), "url": edge.url}]
    )
    page.goto(f"{edge.url}/static/clock.js")
    page.on("console", lambda message: printed.append(message.text))
    page.evaluate(f"() => {{ {snippet} }}")
    emitter = cluster.emitter()

    def is_shown() -> bool:
        emitter.emit("event:shown", {"n": 1})
        page.evaluate("0")  # Lets Playwright hand over what the page has printed.
        return any(text.startswith("event:shown") for text in printed)

    wait_for(is_shown, "the page shows its event")


def test_who_is_present_in_a_page(cluster: Cluster, page: Page) -> None:
    cluster.configure('[kinds.room]\nsubscribe = ["user"]\npresence = true\n')
    cluster.start_relay()
    edge = cluster.start_edge()
    [snippet] = snippets(DOCS / "embedding.md", "js")
    page.goto(f"{edge.url}/static/clock.js")
    page.evaluate(
        f"""async () => {{
          const {{ connect }} = await import("/static/relay-client.js");
          const relay = connect({{ token: async () => "{cluster.token("alice")}" }});
          {snippet}
          window.present = () => [...users.keys()].sort().join();
        }}"""
    )
    with cluster.connect(edge, "bob") as bob, cluster.connect(edge, "carol") as carol:
        bob.subscribe("room:5")
        carol.subscribe("room:5")
        wait_for(lambda: page.evaluate("present()") == "bob,carol", "both are present")
        bob.ask({"action": "unsubscribe", "topic": "room:5"})
        wait_for(lambda: page.evaluate("present()") == "carol", "one has left")


GO = """
package main
import ("fmt"; "net/http"; "os"; "strings")
func main() {
edge, token := os.Getenv("EDGE"), os.Getenv("TOKEN")
%s
if err != nil { panic(err) }
fmt.Println(response.StatusCode)
}
"""
PHP = """<?php
$edge = getenv("EDGE"); $token = getenv("TOKEN");
%s
echo count($reply->events), " published";
"""


@pytest.mark.parametrize(
    ("language", "command", "program", "shown"),
    [("go", ["go", "run"], GO, "200"), ("php", ["php"], PHP, "1 published")],
)
def test_publishing_in_other_languages(
    cluster: Cluster, tmp_path: Path, language: str, command: list[str], program: str, shown: str
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    cluster.start_relay()
    env = {"EDGE": cluster.start_edge().url, "TOKEN": cluster.token("till", "admin")}
    [snippet] = snippets(DOCS / "http.md", language)
    file = tmp_path / f"publish.{language}"
    file.write_text(program % snippet)
    process = cluster.start(language, [*command, str(file)], **env)
    process.wait_ended(110)
    assert process.output().strip() == shown
    assert [e.data for e in read_journal(cluster.control)] == [{"order": 42}]


# The protocol, and the settings of the migration.


@pytest.mark.parametrize("block", snippets(DOCS / "protocol.md", "json"))
def test_the_messages_of_the_protocol_are_json(block: str) -> None:
    for line in block.splitlines():
        assert isinstance(json.loads(line), dict)


def test_the_settings_of_the_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = snippets(DOCS / "migration.md", "sh")
    for line in commands(block):
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value.replace("…", "s" * 32))
    settings = load(EdgeSettings)
    assert settings.close_codes == "legacy"
    assert settings.secret() == "s" * 32


# docs/operations.md


def shell(cluster: Cluster, line: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a line as a shell does that has our programs, in the cluster's directory."""
    return subprocess.run(
        ["sh", "-c", line],
        env=cluster.env | {"PATH": PATH, "PYTHONPATH": str(ROOT)},
        cwd=cluster.directory,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # Without a terminal the password is read from standard input.
        start_new_session=True,
    )


def test_the_commands_for_users(cluster: Cluster) -> None:
    lines = commands(snippets(OPERATIONS, "sh")[0])
    add, change, show, remove, disconnect, token, revoke, revoke_all = lines
    cluster.start_relay()
    added = shell(cluster, add, "a long password\n" * 2)
    assert added.returncode == 0, added.stderr
    assert shell(cluster, change, "another password\n" * 2).returncode == 0
    assert "alice" in shell(cluster, show).stdout
    assert shell(cluster, remove).returncode == 0
    assert "alice" not in shell(cluster, show).stdout
    made = shell(cluster, token).stdout.strip()
    edge = cluster.start_edge()
    with Client(f"ws://127.0.0.1:{edge.port}/ws?token={made}") as client:
        client.subscribe("event:*")
        ended = shell(cluster, disconnect)
        assert ended.returncode == 0, ended.stderr
        assert client.wait_closed()[0] == 4003
    with Client(f"ws://127.0.0.1:{edge.port}/ws?token={made}") as client:
        ended = shell(cluster, revoke_all)
        assert (ended.returncode, ended.stdout) == (0, "Revoked.\n"), ended.stderr
        client.subscribe("event:*")
        assert shell(cluster, revoke).returncode == 0
        assert client.wait_closed() == (1008, "Token revoked")


def test_the_commands_for_events_and_the_journal(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    lines = commands(snippets(OPERATIONS, "sh")[2])
    emit, many, tail, task, stats, show, follow, verify, copy, restore = lines
    directory = cluster.directory
    (directory / "events.jsonl").write_text('{"topic":"event:a","data":1}\n')
    (directory / "world").mkdir()
    (directory / "world" / "level").write_text("1")
    cluster.env["EMITTER_RELAY_EGRESS"] = cluster.egress
    watchers = [cluster.start("tail", shlex.split(line), PATH=PATH) for line in (tail, follow)]
    watchers[0].wait_for_output("watching 'event:'")
    for line in (emit, many):
        assert shell(cluster, line).returncode == 0
    # Not every machine has rsync.
    assert "rsync -a" in task
    ran = shell(cluster, task.replace("rsync -a", "cp -a"))
    assert ran.returncode == 0, ran.stderr
    assert len(read_journal(cluster.control, "task")) >= 2
    for watcher in watchers:
        watcher.wait_for_output("event:after_backup")
        watcher.wait_for_output("event:a")
        watcher.signal(signal.SIGINT)
        watcher.wait_ended()
    assert '"event": 2' in shell(cluster, stats).stdout
    assert "event" in shell(cluster, show).stdout
    assert shell(cluster, verify).returncode == 0
    backup = directory / "backup.db"
    assert shell(cluster, copy.replace("/backup/journal.db", str(backup))).returncode == 0
    assert backup.exists()
    relay.terminate()
    for file in (directory / "relay").iterdir():
        file.rename(directory / file.name)
    restored = shell(cluster, restore.replace("/backup/journal.db", str(backup)), "y\n")
    assert restored.returncode == 0, restored.stderr


@pytest.mark.parametrize("line", commands(snippets(OPERATIONS, "sh")[3]))
def test_the_commands_of_other_servers(cluster: Cluster, line: str) -> None:
    cluster.start_relay()
    [port] = free_ports(1)
    program, *arguments = shlex.split(line)
    where = ["--bind", f"127.0.0.1:{port}"] if program == "hypercorn" else ["--port", str(port)]
    edge = Edge(cluster.start_forked(program, python("-m", program, *arguments, *where)), port, 1)
    edge.wait_ready()
    with cluster.connect(edge, "alice") as client:
        client.subscribe("event:*")


def test_the_nginx_of_the_operations_page(cluster: Cluster, tmp_path: Path) -> None:
    nginx = find_nginx()
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_TRUSTED_PROXIES="127.0.0.1")
    [location] = snippets(OPERATIONS, "nginx")
    assert "127.0.0.1:8000" in location
    [port] = free_ports(1)
    configuration = tmp_path / "nginx.conf"
    location = location.replace("127.0.0.1:8000", f"127.0.0.1:{edge.port}")
    configuration.write_text(NGINX.format(directory=tmp_path, port=port, location=location))
    process = cluster.start("nginx", [nginx, "-p", str(tmp_path), "-c", str(configuration)])
    front = Edge(process, port, 1)
    wait_for(lambda: front.status("/readyz") == 200, "nginx answers")
    with cluster.connect(front, "alice") as client:
        client.subscribe("event:*")
        cluster.emitter().emit("event:x", {"n": 1})
        assert client.receive_on("event:x")["data"] == {"n": 1}
