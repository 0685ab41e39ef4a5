"""A page with the habits of the Bedrock Server Manager's front ends works at our edge, unchanged.

`legacy_front_end.mjs` is that page. It gets exactly the replies that it knows, on all four roads of
authentication, and comes back after every restart.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emitters import Emitter
from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.passwords import cheap_users
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_for

PAGE = Path(__file__).with_name("legacy_front_end.mjs")
ROADS = ("first message", "cookie", "header", "query")
PASSWORD = "correct horse"
TOPICS = (
    "event:after_server_statuses_updated",
    "event:after_server_start",
    "event:after_server_stop",
    "resource-monitor:survival",
)
START = TOPICS[1]


def node_command() -> list[str]:
    """Return the command of a Node with a `WebSocket`, which older ones have on request only."""
    search = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    node = shutil.which("node", path=search)
    if node is None:
        pytest.fail("node is missing: run the tests with `make test`, which provides it")
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    major = int(told.stdout.removeprefix("v").partition(".")[0])
    return [node] if major >= 22 else [node, "--experimental-websocket"]


class Page:
    """A running page, and what it tells."""

    def __init__(self, cluster: Cluster, edge: Edge, road: str) -> None:
        self.road = road
        settings = {
            "url": edge.url,
            "road": road,
            "username": "alice",
            "password": PASSWORD,
            "topics": TOPICS,
        }
        command = [*node_command(), str(PAGE), json.dumps(settings)]
        cookie = f"access_token_cookie={cluster.token('bob')}"
        self.process: ManagedProcess = cluster.start(f"page-{road}", command, OTHER_COOKIE=cookie)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Everything that has happened to it, in order."""
        text = self.process.output().rpartition("\n")[0]
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    @property
    def received(self) -> list[dict[str, Any]]:
        """The messages so far."""
        return [line["received"] for line in self.lines if "received" in line]

    @property
    def connections(self) -> int:
        """The number of connections that were opened so far."""
        return sum("opened" in line for line in self.lines)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something to happen to it."""
        try:
            wait_for(condition, f"the page by {self.road}: {what}", 40)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.output()[-3000:]}") from None

    def wait_subscribed(self, connections: int = 1) -> None:
        """Wait until it has all replies on its connection of that number."""
        wanted = {f"Subscribed to topic '{topic}'" for topic in TOPICS}

        def replied() -> bool:
            opened = [number for number, line in enumerate(self.lines) if "opened" in line]
            if len(opened) < connections:
                return False
            came = [line.get("received", {}) for line in self.lines[opened[-1] :]]
            return wanted <= {str(each.get("message")) for each in came}

        self.wait(replied, f"connection {connections} is subscribed")

    def wait_event(self, n: int) -> None:
        """Wait for the event with this number."""
        self.wait(lambda: any(is_start(each, n) for each in self.received), f"event {n} arrives")

    @property
    def ends(self) -> list[tuple[int, bool, str]]:
        """Code, order and reason of each end of a connection."""
        return [
            (line["ended"], line["isClean"], line["reason"])
            for line in self.lines
            if "ended" in line
        ]

    def wait_ended(self, code: int) -> tuple[int, bool, str]:
        """Wait until a connection has ended with `code`; return that end."""
        self.wait(lambda: code in [each[0] for each in self.ends], f"an end with {code}")
        return next(each for each in self.ends if each[0] == code)

    def of_task(self, name: str) -> list[dict[str, Any]]:
        """Return the messages of a task."""
        return [each for each in self.received if each.get("topic") == f"task:{name}"]

    def wait_task(self, name: str, data: dict[str, Any]) -> None:
        """Wait until the newest message of a task has `data`."""
        self.wait(
            lambda: self.of_task(name) and self.of_task(name)[-1]["data"] == data,
            f"{name} with {data}",
        )

    def wait_told(self, text: str) -> None:
        """Wait for a reply with this message."""
        self.wait(lambda: text in [each.get("message") for each in self.received], text)


def is_start(message: dict[str, Any], n: int) -> bool:
    return message.get("topic") == START and message["data"] == {"server_name": "survival", "n": n}


def start(emitter: Emitter, n: int) -> None:
    emitter.emit(START, {"server_name": "survival", "n": n})


@pytest.fixture
def users(cluster: Cluster) -> Cluster:
    cheap_users(cluster).add("alice", PASSWORD)
    return cluster


def start_edge(cluster: Cluster, port: int, codes: str = "legacy") -> Edge:
    return cluster.start_edge(port=port, EDGE_CLOSE_CODES=codes)


@pytest.mark.parametrize("road", ROADS)
def test_replies_are_the_known_ones_and_events_and_tasks_arrive(users: Cluster, road: str) -> None:
    cluster = users
    cluster.start_relay()
    edge = start_edge(cluster, free_ports(1)[0])
    emitter = cluster.emitter()
    state = {"status": "in_progress", "message": "Task is running.", "result": None}
    emitter.emit("task:before", {**state, "username": "alice"}, username="alice")
    emitter.emit("task:others", {**state, "username": "bob"}, username="bob")
    page = Page(cluster, edge, road)
    page.wait_subscribed()
    start(emitter, 1)
    page.wait_event(1)
    if road in ("first message", "cookie"):
        welcome = {"status": "success", "message": "Authenticated successfully"}
        assert page.received[0] == welcome, "nothing comes before it"
    replies = [each for each in page.received if "status" in each]
    for reply in replies:
        assert list(reply) == ["status", "message"], "in this order, and nothing else"
        assert reply["status"] == "success"

    page.wait(lambda: len(page.of_task("before")) >= 2, "a task is shown, and again when asked for")
    assert {each["data"]["status"] for each in page.of_task("before")} == {"in_progress"}
    for name, status in (("before", "success"), ("later", "in_progress"), ("later", "error")):
        data = {**state, "status": status, "username": "alice"}
        emitter.emit(f"task:{name}", data, username="alice")
        page.wait_task(name, data)
    for name in ("before", "later"):
        page.wait_told(f"Unsubscribed from topic 'task:{name}'")
        assert {each["type"] for each in page.of_task(name)} == {"task_update"}
    # After the unsubscribe, as ever: no subscription was ever needed.
    data = {**state, "status": "success", "message": "again", "username": "alice"}
    emitter.emit("task:before", data, username="alice")
    page.wait_task("before", data)
    assert page.of_task("others") == [], "the cookie of another user gives nothing of theirs"
    assert {each["topic"] for each in page.received if "topic" in each} <= {
        START,
        "task:before",
        "task:later",
    }


def test_pages_on_all_roads_survive_every_restart(users: Cluster) -> None:
    cluster = users
    relay = cluster.start_relay()
    port = free_ports(1)[0]
    edge = start_edge(cluster, port)
    emitter = cluster.emitter()
    pages = [Page(cluster, edge, road) for road in ROADS]

    def all_hear(n: int, connections: int) -> None:
        for page in pages:
            page.wait_subscribed(connections)
        start(emitter, n)
        for page in pages:
            page.wait_event(n)

    all_hear(1, 1)
    relay.kill()
    for page in pages:
        _, is_clean, reason = page.wait_ended(1013)
        assert is_clean
        assert reason.startswith("the relay's heartbeat is missing, retry in ")
    relay = cluster.start_relay()
    assert emitter.wait_connected(20)
    edge.wait_ready()
    all_hear(2, 2)
    before = [page.connections for page in pages]
    edge.process.signal(signal.SIGTERM)
    edge.process.wait_ended()
    for page in pages:
        page.wait_ended(1012)
    edge = start_edge(cluster, port)
    for page, count in zip(pages, before, strict=True):
        page.wait_subscribed(count + 1)
    all_hear(3, 1)
    before = [page.connections for page in pages]
    edge.process.kill()
    edge = start_edge(cluster, port)
    for page, count in zip(pages, before, strict=True):
        page.wait_subscribed(count + 1)
    all_hear(4, 1)
    for page in pages:
        assert not [line for line in page.lines if "stopped" in line]
        came = [each["data"]["n"] for each in page.received if each.get("topic") == START]
        assert came == [1, 2, 3, 4], "each once, in order"


def test_with_the_standard_codes_such_a_page_does_not_come_back(users: Cluster) -> None:
    """The fault that `EDGE_CLOSE_CODES=legacy` is for."""
    cluster = users
    relay = cluster.start_relay()
    edge = start_edge(cluster, free_ports(1)[0], "standard")
    page = Page(cluster, edge, "query")
    page.wait_subscribed()
    relay.kill()
    page.wait(lambda: {"stopped": 4013} in page.lines, "it has given up")
