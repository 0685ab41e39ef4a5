"""The snippets of docs/migration.md do what the page says, as the one program that they are."""

import re

from tests.e2e.test_legacy_front_end import node_command
from tests.support.clients import Message
from tests.support.cluster import Cluster
from tests.support.processes import ROOT, python
from tests.support.waiting import wait_for

PAGE = (ROOT / "docs" / "migration.md").read_text()
WAIT_UNTIL_WATCHED = """
import pathlib, time
deadline = time.monotonic() + 20
while not pathlib.Path(WATCHED).exists() and time.monotonic() < deadline:
    time.sleep(0.02)
"""


def snippets(language: str) -> list[str]:
    """Return the code blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def is_event(message: Message) -> bool:
    return message.get("type") == "event" and str(message["topic"]).startswith("event:")


def test_the_snippets_of_the_migration_page_run(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    [script] = snippets("js")
    client_path = (ROOT / "edge" / "static" / "relay-client.js").as_uri()
    values = {"url": f"ws://127.0.0.1:{edge.port}/ws", "token": cluster.token("alice")}
    page = cluster.directory / "page.mjs"
    page.write_text(
        "".join(f'const {name} = "{text}";\n' for name, text in values.items())
        + script.replace("/static/relay-client.js", client_path)
        + 'relay.onState(({ name }) => console.log("state", name));\n'
    )
    browser = cluster.start("page", [*node_command(), str(page)])
    browser.wait_for_output("state live")
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    *blocks, end = snippets("python")
    watched = cluster.directory / "watched"
    # The monitor samples as long as the program runs, so its end waits for the page.
    program = "\n".join([*blocks, WAIT_UNTIL_WATCHED.replace("WATCHED", repr(str(watched))), end])
    manager = cluster.start_forked("manager", python("-c", program))
    browser.wait_for_output(f"pid {manager.pid}")
    watched.touch()
    manager.wait_ended()
    assert manager.returncode == 0, manager.output()
    assert "Traceback" not in manager.output()

    client.receive_until(lambda each: "result" in each.get("data", {}) and is_event(each), "all")
    if not any(each.get("topic") == "notice:42" for each in client.received):
        client.receive_on("notice:42")  # The order between streams is the edge's own.
    [notice] = [each for each in client.received if each.get("topic") == "notice:42"]
    assert (notice["type"], notice["data"]) == ("notice", {"text": "The backup is ready"})
    arguments = {"server_name": "survival", "keep": 3}
    outcome = {"status": "success", "message": "survival is backed up"}
    assert [(each["topic"], each["data"]) for each in client.received if is_event(each)] == [
        ("event:after_backup", {"server_name": "survival"}),
        ("event:before_backup", arguments),
        ("event:after_backup", {**arguments, "result": outcome}),
    ]
    lines = browser.output().splitlines()
    assert lines.count("backup of survival") == 2
    done = "success { server_name: 'survival', version: '1.21' }"
    wait_for(lambda: done in browser.output(), "the page sees the end of the task")
