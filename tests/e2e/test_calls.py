"""Messages of clients: to managers that answer methods, to the application, to the relay."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from emitters import Answers, Call, CallFailed
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.host_app import HostApp, serve
from tests.support.processes import python
from tests.support.waiting import wait_for

RULES = """
[kinds.note]
mode = "stream"
subscribe = ["*"]
publish = ["user"]

[methods.greet]
call = ["user"]

[methods.fail]
call = ["*"]

[methods.slow]
call = ["*"]
"""
MANAGER = """
import os, sys, time
from emitters import Answers, Call
answers = Answers()

@answers("greet")
def greet(call: Call, name: str) -> dict:
    return {"text": f"Hello {name}", "from": call.username, "pid": os.getpid()}

@answers("slow")
async def slow(call: Call) -> None:
    import asyncio
    print("slow begins", flush=True)
    await asyncio.sleep(3600)

assert answers.wait_registered(60)
print("answering", flush=True)
sys.stdin.read() if not sys.stdin.closed and os.isatty(0) else time.sleep(3600)
"""


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    shared_cluster.configure(RULES)
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    """It follows a relay without the file, which has no stream `note`."""
    return cluster.start_edge()


@pytest.fixture
def answers(cluster: Cluster) -> Iterator[Answers]:
    """The methods of a manager in this process."""
    with Answers(name="here", control=cluster.control) as answers:
        yield answers


@pytest.fixture
def client(cluster: Cluster, edge: Edge) -> Client:
    return cluster.connect(edge, "alice")


def call(client: Client, method: str, params: Any = None, **more: Any) -> dict[str, Any]:
    """The reply to a request for `method`."""
    return client.ask({"action": "request", "method": method, "params": params, "id": 1, **more})


def test_a_method_of_a_manager_is_answered(answers: Answers, client: Client) -> None:
    @answers("greet")
    def greet(call: Call, name: str, *, loud: bool = False) -> dict[str, Any]:
        return {"text": name.upper() if loud else name, "call": call._asdict(), "raw": b"\xff"}

    assert answers.wait_registered(20)
    reply = call(client, "greet", {"name": "bob", "loud": True}, timeout=20)
    assert reply["status"] == "success"
    assert reply["method"] == "greet"
    result = reply["result"]
    assert (result["text"], result["raw"]) == ("BOB", "_w==")
    assert (result["call"]["username"], result["call"]["role"]) == ("alice", "user")
    assert call(client, "greet", ["bob"])["result"]["text"] == "bob"
    assert call(client, "greet", "bob")["result"]["text"] == "bob"


def test_what_goes_wrong_is_told(
    answers: Answers, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    @answers("fail")
    def fail(call: Call, how: str) -> Any:
        if how == "known":
            raise CallFailed("there is no such server")
        if how == "result":
            return object()
        raise RuntimeError("a secret")

    assert answers.wait_registered(20)
    reply = call(client, "fail", {"how": "known"})
    assert (reply["code"], reply["message"]) == ("failed", "there is no such server")
    assert call(client, "fail", {"how": "unknown"})["message"] == "internal error"
    assert call(client, "fail", {"how": "result"})["message"] == "internal error"
    wrong = call(client, "fail", {"what": 1})
    assert wrong["code"] == "failed"
    assert "missing a required argument: 'how'" in wrong["message"]
    assert "a secret" in caplog.text


def test_a_method_that_nobody_answers_or_may_call(client: Client) -> None:
    assert call(client, "slow")["code"] == "unknown_method"
    assert call(client, "not-listed")["code"] == "forbidden"


def test_a_call_ends_with_its_timeout(answers: Answers, client: Client) -> None:
    release = threading.Event()

    @answers("slow")
    def slow(call: Call) -> None:
        release.wait(60)

    assert answers.wait_registered(20)
    try:
        reply = call(client, "slow", timeout=0.2)
        assert (reply["code"], reply["message"]) == ("timeout", "No answer to 'slow' within 0.2 s")
    finally:
        release.set()


def test_a_client_has_few_requests_under_way(answers: Answers, client: Client) -> None:
    release = threading.Event()

    @answers("slow")
    def slow(call: Call) -> str:
        release.wait(60)
        return "done"

    assert answers.wait_registered(20)
    try:
        for number in range(33):
            client.send({"action": "request", "method": "slow", "id": number})
        refused = client.receive_until(lambda m: m.get("status") == "error", "a refusal")
        assert (refused["code"], refused["id"]) == ("too_many_requests", 32)
        # Other requests go on.
        client.subscribe("event:*")
    finally:
        release.set()
    for _ in range(32):
        client.receive_until(lambda m: m.get("result") == "done", "the results")


def test_processes_share_the_calls_and_a_killed_one_gets_no_more(
    cluster: Cluster, client: Client
) -> None:
    managers = [cluster.start_forked(f"manager-{n}", python("-c", MANAGER)) for n in range(2)]
    for manager in managers:
        manager.wait_for_output("answering")
    pids = {call(client, "greet", {"name": "x"})["result"]["pid"] for _ in range(4)}
    assert pids == {manager.pid for manager in managers}
    managers[0].kill()
    left = managers[1].pid
    wait_for(
        lambda: (
            call(client, "greet", {"name": "x"}, timeout=1).get("result", {}).get("pid") == left
        ),
        "the other one answers",
    )
    for _ in range(4):
        assert call(client, "greet", {"name": "x"})["result"]["pid"] == left
    managers[1].close()
    wait_for(
        lambda: call(client, "greet", {"name": "x"}, timeout=1)["code"] == "unknown_method",
        "nobody answers any more",
    )


def test_a_restarted_relay_learns_the_methods_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.configure(RULES)
    try:
        relay = cluster.start_relay()
        edge = cluster.start_edge()
        with Answers(name="here", control=cluster.control) as answers:

            @answers("greet")
            def greet(call: Call) -> str:
                return "hello"

            assert answers.wait_registered(20)
            client = cluster.connect(edge, "alice")
            assert call(client, "greet")["result"] == "hello"
            os.kill(relay.pid, signal.SIGKILL)
            cluster.start_relay()
            edge.wait_ready()

            def is_answered() -> bool:
                with cluster.connect(edge, "alice") as again:
                    return call(again, "greet", timeout=2).get("result") == "hello"

            wait_for(is_answered, "the method is answered again")
    finally:
        cluster.close()


def test_clients_publish_what_their_role_may(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.configure(RULES)
    try:
        cluster.start_relay()
        edge = cluster.start_edge(EDGE_WORKERS="2")
        alice, bob = cluster.connect(edge, "alice"), cluster.connect(edge, "bob", "guest")
        bob.subscribe("note:*")
        reply = alice.ask({"action": "publish", "topic": "note:1", "data": ["x"], "id": 1})
        assert (reply["status"], reply["topic"]) == ("success", "note:1")
        assert bob.receive_on("note:1")["data"] == ["x"]
        refused = bob.ask({"action": "publish", "topic": "note:1", "data": 1, "id": 2})
        assert refused["code"] == "forbidden"
        wrong = alice.ask({"action": "publish", "topic": "note:1", "data": 2**60, "id": 3})
        assert wrong["code"] == "bad_request"
        assert wrong["message"].startswith("data: ")
        alice.ask({"action": "publish", "topic": "note:2", "data": 3, "username": "bob", "id": 4})
        assert bob.receive_on("note:2")["stream"] == "addressed"
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def chat(cluster: Cluster) -> HostApp:
    return serve(cluster, "tests.apps.chat:app")


@pytest.fixture
def member(chat: HostApp) -> Iterator[Callable[[str], Client]]:
    with ExitStack() as stack:
        yield lambda user: stack.enter_context(chat.connect(f"user={user}"))


class TestInAnApplication:
    def test_it_takes_what_clients_publish(self, member: Callable[[str], Client]) -> None:
        ann, bea = member("ann"), member("bea")
        bea.subscribe("room:1")
        reply = ann.ask({"action": "publish", "topic": "room:1", "data": "hi", "id": 1})
        assert reply["status"] == "success"
        assert set(reply["result"]) == {"id"}
        assert bea.receive_on("room:1")["data"] == {"from": "ann", "text": "hi"}

    def test_it_refuses_with_its_own_words(
        self, chat: HostApp, member: Callable[[str], Client]
    ) -> None:
        ann = member("ann")
        reply = ann.ask({"action": "publish", "topic": "room:1", "data": 5, "id": 1})
        assert (reply["code"], reply["message"]) == ("failed", "text only")
        reply = ann.ask({"action": "publish", "topic": "room:1", "data": "boom", "id": 2})
        assert (reply["code"], reply["message"]) == ("failed", "internal error")
        assert "a secret of the application" in chat.process.output()

    def test_it_answers_methods(self, member: Callable[[str], Client]) -> None:
        ann = member("ann")
        assert call(ann, "shout", {"text": "hi", "times": 2})["result"] == ["ann: HI", "ann: HI"]
        assert "missing a required argument" in call(ann, "shout")["message"]
        assert call(ann, "stall", timeout=0.1)["code"] == "timeout"

    def test_its_permissions_count_for_managers_and_the_relay(
        self, answers: Answers, member: Callable[[str], Client]
    ) -> None:
        @answers("greet")
        def greet(call: Call) -> str:
            return call.username

        assert answers.wait_registered(20)
        ann, carol = member("ann"), member("carol")
        assert call(ann, "greet")["code"] == "forbidden"
        assert call(carol, "greet")["result"] == "carol"
        publish = {"action": "publish", "topic": "event:x", "data": 1, "id": 3}
        assert ann.ask(publish)["code"] == "forbidden"
        assert carol.ask(publish)["status"] == "success"


def test_wrong_registrations_are_refused_at_once() -> None:
    answers = Answers(control="tcp://127.0.0.1:1")
    with pytest.raises(ValueError, match="'Greet' is not a method"):
        answers("Greet")
    with pytest.raises(TypeError):
        answers("greet")(5)  # type: ignore[type-var]
    answers("greet")(print)
    with pytest.raises(ValueError, match="'greet' has a function already"):
        answers("greet")(print)
    answers.close(0)
