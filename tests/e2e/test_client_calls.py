"""The Python client publishes and requests: with a real relay, edge, and methods of a manager."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from edge.client import (
    Forbidden,
    NotSent,
    OutcomeUnknown,
    RelayClient,
    RequestFailed,
    RequestRefused,
    connect,
)
from emitters import Answers, Call, CallFailed
from tests.support.cluster import Cluster, Edge
from tests.support.waiting import wait_for

TIMEOUT_S = 60.0
RULES = """
[kinds.note]
mode = "stream"
subscribe = ["*"]
publish = ["user"]

[methods.greet]
call = ["user"]

[methods.fail]
call = ["user"]

[methods.slow]
call = ["user"]

[methods.nobody]
call = ["user"]
"""


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    cluster.configure(RULES)
    return cluster.start_edge()


class Manager:
    """The methods of a manager in this process; `slow` ends when a test says so."""

    def __init__(self, control: str) -> None:
        self.answers = Answers(name="here", control=control)
        self.slow_calls = 0
        self.release = threading.Event()
        self.answers("greet")(self._greet)
        self.answers("fail")(self._fail)
        self.answers("slow")(self._slow)
        assert self.answers.wait_registered(20)

    def _greet(self, call: Call, name: str) -> str:
        return f"Hello {name} from {call.username}"

    def _fail(self, call: Call) -> None:
        raise CallFailed("there is no such server")

    def _slow(self, call: Call) -> str:
        self.slow_calls += 1
        self.release.wait(TIMEOUT_S)
        return "done"


@pytest.fixture
def manager(cluster: Cluster, edge: Edge) -> Iterator[Manager]:
    manager = Manager(cluster.control)
    yield manager
    manager.release.set()
    manager.answers.close()


def client(cluster: Cluster, edge: Edge, username: str = "alice", **options: Any) -> RelayClient:
    role = options.pop("role", "user")
    url = f"ws://127.0.0.1:{edge.port}/ws"
    return connect(url, token=lambda: cluster.token(username, role), **options)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await test

    asyncio.run(limited())


async def code_of(call: Coroutine[Any, Any, Any], kind: type[RequestFailed]) -> tuple[str, str]:
    """The code and the text of the error that `call` raises, which is exactly a `kind`."""
    with pytest.raises(kind) as raised:
        await call
    assert type(raised.value) is kind
    return raised.value.code, str(raised.value)


def test_results_and_refusals(cluster: Cluster, edge: Edge, manager: Manager) -> None:
    async def test() -> None:
        async with client(cluster, edge) as relay, client(cluster, edge, "bob") as other:
            async with other.subscribe("note:*") as notes:
                published = await relay.publish("note:1", {"text": "hi"}, type="memo")
                note = await anext(notes)
                assert (note.type, note.data) == ("memo", {"text": "hi"})
                assert published.event_id
            addressed = other.addressed()
            await relay.publish("note:2", 5, username="bob")
            assert (await anext(addressed)).data == 5
            assert await relay.request("greet", {"name": "x"}) == "Hello x from alice"
            refused = await code_of(relay.request("fail"), RequestRefused)
            assert refused == ("failed", "there is no such server")
            code, _ = await code_of(relay.request("nobody"), RequestRefused)
            assert code == "unknown_method"
            assert (await code_of(relay.request("other"), Forbidden))[0] == "forbidden"
            assert (await code_of(relay.publish("event:1", 1), Forbidden))[0] == "forbidden"
            code, text = await code_of(relay.publish("note:1", 2**60), RequestRefused)
            assert (code, text[:6]) == ("bad_request", "data: ")
            code, _ = await code_of(relay.publish("note:1", "x" * 65_536), RequestRefused)
            assert code == "too_large"
            with pytest.raises(TypeError, match="params: "):
                await relay.request("greet", object())
            with pytest.raises(ValueError, match="timeout_s: "):
                await relay.request("greet", timeout_s=0)
            assert relay.state.name == "live", "none of this has ended the connection"

    run(test())


def test_more_calls_than_the_edge_takes_at_once(
    cluster: Cluster, edge: Edge, manager: Manager
) -> None:
    async def test() -> None:
        async with client(cluster, edge) as relay:
            calls = [relay.request("greet", [str(number)]) for number in range(100)]
            results = await asyncio.gather(*calls)
            assert results == [f"Hello {number} from alice" for number in range(100)]

    run(test())


def test_no_answer_in_time(cluster: Cluster, edge: Edge, manager: Manager) -> None:
    async def test() -> None:
        async with client(cluster, edge) as relay:
            code, _ = await code_of(relay.request("slow", timeout_s=0.2), OutcomeUnknown)
            assert code == "timeout"

    run(test())


def test_a_call_under_way_when_the_edge_is_killed_is_never_sent_again(
    cluster: Cluster, edge: Edge, manager: Manager
) -> None:
    own = cluster.start_edge()

    async def test() -> None:
        async with client(cluster, own) as relay:
            call = asyncio.create_task(relay.request("slow"))
            await asyncio.to_thread(wait_for, lambda: manager.slow_calls == 1, "it is under way")
            own.process.kill()
            code, text = await code_of(_result(call), OutcomeUnknown)
            assert code == "connection_lost"
            assert "nobody knows" in text
            # What is called without a connection waits for one.
            waiting = asyncio.create_task(relay.request("greet", ["x"]))
            await asyncio.to_thread(lambda: cluster.start_edge(port=own.port))
            manager.release.set()
            assert await waiting == "Hello x from alice"
            assert manager.slow_calls == 1

    run(test())


def test_without_a_connection_nothing_is_sent(cluster: Cluster, edge: Edge) -> None:
    own = cluster.start_edge()

    async def test() -> None:
        async with client(cluster, own) as relay:
            own.process.kill()
            await asyncio.to_thread(wait_for, lambda: relay.state.name == "waiting", "it is lost")
            code, _ = await code_of(relay.publish("note:1", 1, timeout_s=0.2), NotSent)
            assert code == "not_connected"
        assert (await code_of(relay.publish("note:1", 1), NotSent))[0] == "not_connected"

    run(test())


def test_a_reply_comes_although_events_wait(cluster: Cluster, edge: Edge, manager: Manager) -> None:
    """The reply comes behind events, and the task that waits for it is the one to take them."""
    emitter = cluster.emitter()

    async def test() -> None:
        async with (
            client(cluster, edge, max_queued=1) as relay,
            relay.subscribe("event:*") as events,
        ):
            for number in range(50):
                emitter.emit("event:a", {"n": number})
            for number in range(50):
                assert (await anext(events)).data == {"n": number}
                assert await relay.request("greet", ["x"]) == "Hello x from alice"

    run(test())


async def _result(task: asyncio.Task[Any]) -> Any:
    return await task
