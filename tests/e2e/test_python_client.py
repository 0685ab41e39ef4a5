"""The Python client with a real relay and edge: nothing lost, nothing twice, nothing silent."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from edge.client import (
    ConnectionState,
    EdgeUnreachable,
    Event,
    EventsLost,
    EventStream,
    Forbidden,
    Gap,
    NewEpoch,
    TokenRefused,
    connect,
)
from emitters import Emitter
from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.http_api import request
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for

T = TypeVar("T")
TIMEOUT_S = 60.0


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine with a deadline."""

    async def limited() -> T:
        async with asyncio.timeout(TIMEOUT_S):
            return await test

    return asyncio.run(limited())


def url(edge: Edge) -> str:
    return f"ws://127.0.0.1:{edge.port}/ws"


async def take(stream: EventStream, count: int) -> list[Event]:
    return [await anext(stream) for _ in range(count)]


def numbers(events: list[Event]) -> list[int]:
    return [event.data["n"] for event in events]


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run what waits, without stopping the client's loop."""
    return await asyncio.to_thread(function, *arguments)


def emit(emitter: Emitter, numbers: range, topic: str = "event:a", **options: Any) -> None:
    for number in numbers:
        emitter.emit(topic, {"n": number}, **options)


def test_events_arrive_in_order_and_newest_first_come_with_last(
    cluster: Cluster, edge: Edge
) -> None:
    emitter = cluster.emitter()
    emit(emitter, range(1, 11))

    async def test() -> None:
        async with connect(url(edge), token=cluster.token("alice")) as relay:
            assert (relay.state.name, relay.state.username) == ("live", "alice")
            assert numbers(await take(relay.subscribe("event:a", last=99), 10)) == list(
                range(1, 11)
            )
            async with relay.subscribe("event:*", last=3) as events:
                emit(emitter, range(11, 14))
                heard = await take(events, 6)
                assert numbers(heard) == list(range(8, 14))
                assert heard[0].topic == "event:a"
                assert relay.position[1]["event"] == 13
        assert relay.state.name == "closed"

    run(test())


def test_a_killed_edge_costs_nothing(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()

    async def test() -> None:
        async with (
            connect(url(edge), token=lambda: cluster.token("alice")) as relay,
            relay.subscribe("event:*") as events,
            relay.subscribe("event:b") as others,
        ):
            emit(emitter, range(1, 101))
            heard = await take(events, 100)
            async with away(edge, cluster):
                emit(emitter, range(101, 201))
                emit(emitter, range(201, 203), "event:b")
            emit(emitter, range(203, 301))
            heard += await take(events, 200)
            assert numbers(heard) == list(range(1, 301))
            assert numbers(await take(others, 2)) == [201, 202]

    run(test())


def test_a_restarted_relay_costs_nothing(cluster: Cluster) -> None:
    relay_process = cluster.start_relay()
    edge = cluster.start_edge()
    emitter = cluster.emitter()

    async def test() -> None:
        async with (
            connect(url(edge), token=lambda: cluster.token("alice")) as relay,
            relay.subscribe("event:*") as events,
        ):
            emit(emitter, range(1, 101))
            heard = await take(events, 50)
            relay_process.kill()
            emit(emitter, range(101, 201))
            await in_thread(cluster.start_relay)
            heard += await take(events, 150)
            assert numbers(heard) == list(range(1, 201))

    run(test())


@contextlib.asynccontextmanager
async def away(edge: Edge, cluster: Cluster) -> AsyncIterator[None]:
    """Kill the edge, and start it again after the body."""
    edge.process.kill()
    yield
    await in_thread(lambda: cluster.start_edge(port=edge.port))


def fill(cluster: Cluster, emitter: Emitter) -> None:
    """Emit until retention has removed early events."""
    with RelayPeer(cluster.control) as peer:
        for number in range(1000):
            emitter.emit("event:filler", {"n": number, "text": "x" * 8192})
        wait_for(lambda: peer.page("event", 0).low > 100, "retention removes events")


async def after_gaps(stream: EventStream) -> Event:
    """Return the next event: retention may have gone on during the catch-up, with further gaps."""
    while True:
        with contextlib.suppress(EventsLost):
            return await anext(stream)


def test_a_gap_takes_the_place_of_lost_events(cluster: Cluster) -> None:
    cluster.start_relay(RELAY_RETENTION_BYTES="65536", RELAY_HEARTBEAT_S="0.1")
    edge = cluster.start_edge()
    emitter = cluster.emitter()

    async def test() -> None:
        losses: list[object] = []
        async with (
            connect(url(edge), token=lambda: cluster.token("alice")) as relay,
            connect(url(edge), token=lambda: cluster.token("bob"), on_loss=losses.append) as other,
            relay.subscribe("event:a") as events,
            other.subscribe("event:a") as others,
        ):
            emit(emitter, range(1, 4))
            assert numbers(await take(events, 3)) == numbers(await take(others, 3)) == [1, 2, 3]
            async with away(edge, cluster):
                await in_thread(fill, cluster, emitter)
            emit(emitter, range(4, 5))
            with pytest.raises(EventsLost, match="retention") as lost:
                await anext(events)
            gap = lost.value.loss
            assert isinstance(gap, Gap)
            assert (gap.stream, gap.first, gap.reason) == ("event", 4, "retention")
            assert (await after_gaps(events)).data == {"n": 4}, "the iteration goes on"
            assert numbers(await take(others, 1)) == [4]
            assert {type(loss) for loss in losses} == {Gap}

    run(test())


def test_a_lost_journal_is_told(cluster: Cluster) -> None:
    relay_process = cluster.start_relay()
    edge = cluster.start_edge()
    emitter = cluster.emitter()

    async def test() -> None:
        async with (
            connect(url(edge), token=lambda: cluster.token("alice")) as relay,
            relay.subscribe("event:*") as events,
        ):
            emit(emitter, range(1, 4))
            await take(events, 3)
            # What is not acknowledged yet goes to the next journal, too.
            assert await emitter.acknowledged(20)
            relay_process.kill()
            other = str(cluster.directory / "another journal")
            await in_thread(lambda: cluster.start_relay(RELAY_DATA_DIR=other))
            with pytest.raises(EventsLost, match="new epoch") as lost:
                await anext(events)
            assert isinstance(lost.value.loss, NewEpoch)
            emit(emitter, range(4, 6))
            assert numbers(await take(events, 2)) == [4, 5]

    run(test())


def test_a_forbidden_topic_raises_and_disturbs_nobody(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()

    async def test() -> None:
        async with connect(url(edge), token=cluster.token("alice")) as relay:
            events = relay.subscribe("event:*")
            with pytest.raises(Forbidden, match="Not allowed") as refused:
                async with relay.subscribe("secret:*"):
                    pass
            assert refused.value.topic == "secret:*"
            with pytest.raises(Forbidden):
                async for _ in relay.subscribe("task:1"):
                    pass
            emit(emitter, range(1, 2))
            assert numbers(await take(events, 1)) == [1]

    run(test())


def test_a_refused_token_raises(cluster: Cluster, edge: Edge) -> None:
    async def test() -> None:
        with pytest.raises(TokenRefused, match="Invalid token"):
            async with connect(url(edge), token="nonsense"):
                pass
        with pytest.raises(TokenRefused, match="Missing token"):
            async with connect(url(edge), token=lambda: ""):
                pass

    run(test())


def test_an_edge_that_is_not_there_raises_with_the_reason() -> None:
    async def test() -> None:
        [port] = free_ports(1)
        with pytest.raises(EdgeUnreachable, match="Connect call failed"):
            async with connect(f"ws://127.0.0.1:{port}/ws", token="x", open_timeout_s=0.5):
                pass

    run(test())


def test_a_wrong_path_raises_with_the_status(cluster: Cluster, edge: Edge) -> None:
    async def test() -> None:
        with pytest.raises(EdgeUnreachable, match="HTTP status 40"):
            async with connect(f"ws://127.0.0.1:{edge.port}/x", token="x", open_timeout_s=2):
                pass

    run(test())


def test_a_token_is_renewed_before_it_expires(cluster: Cluster, edge: Edge) -> None:
    """The first token is short: without a renewal the edge would close with 4001."""
    emitter = cluster.emitter()
    tokens = 0
    states: list[ConnectionState] = []

    async def token() -> str:
        nonlocal tokens
        tokens += 1
        return cluster.token("alice", ttl_s=7 if tokens == 1 else 600)

    async def test() -> None:
        async with (
            connect(url(edge), token=token, on_state=states.append) as relay,
            relay.subscribe("event:*") as events,
        ):
            expires_at = time.time() + 7
            number = 0
            while time.time() < expires_at + 1:
                number += 1
                emit(emitter, range(number, number + 1))
                assert numbers(await take(events, 1)) == [number]
        assert tokens == 2
        assert [state.name for state in states] == ["connecting", "live", "closed"]

    run(test())


def test_an_expired_token_that_nobody_renews_ends_the_iteration(
    cluster: Cluster, edge: Edge
) -> None:
    async def test() -> None:
        async with (
            connect(url(edge), token=cluster.token("alice", ttl_s=2)) as relay,
            relay.subscribe("event:*") as events,
        ):
            with pytest.raises(TokenRefused, match="Invalid token"):
                await anext(events)
            assert relay.state.name == "unauthenticated"

    run(test())


def test_tasks_and_addressed_events_need_no_subscription(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()

    def running(number: int) -> dict[str, object]:
        return {"status": "in_progress", "n": number, "message": "…", "result": None}

    emitter.emit("task:1", running(0), username="alice")
    status = f"{edge.url}/api/tasks/status/1"
    wait_for(lambda: request(status, cluster.token("alice")).status == 200, "the edge has the task")

    async def test() -> None:
        async with connect(url(edge), token=lambda: cluster.token("alice")) as relay:
            tasks, addressed = relay.tasks(), relay.addressed()
            [retained] = await take(tasks, 1)
            assert (retained.data["n"], retained.retained) == (0, True)
            emitter.emit("task:1", running(1), username="alice")
            emitter.emit("task:1", running(2), username="bob")
            emit(emitter, range(3, 4), "notice:42", username="alice")
            emit(emitter, range(4, 5), "notice:42", username="bob")
            assert numbers(await take(tasks, 1)) == [1]
            [notice] = await take(addressed, 1)
            assert (notice.topic, notice.stream) == ("notice:42", "addressed")
            assert notice.data == {"n": 3}
            async with away(edge, cluster):
                emitter.emit("task:1", running(5), username="alice")
                emit(emitter, range(6, 7), "notice:42", username="alice")
            assert numbers(await take(tasks, 1)) == [5]
            assert numbers(await take(addressed, 1)) == [6]

    run(test())


def test_a_slow_consumer_loses_nothing(cluster: Cluster) -> None:
    """The client stops reading, the edge closes it with 4008, and it resumes."""
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_MAX_QUEUED_BYTES="65536")
    emitter = cluster.emitter()
    states: list[ConnectionState] = []
    count = 4000

    def token() -> str:
        return cluster.token("alice")

    def is_closed() -> bool:
        return edge.metrics()["edge_closed"].get("4008", 0) > 0

    async def test() -> None:
        async with (
            connect(url(edge), token=token, on_state=states.append, max_queued=5) as relay,
            relay.subscribe("event:*") as events,
        ):
            for number in range(count):
                emitter.emit("event:a", {"n": number, "text": "x" * 4000})
            await in_thread(wait_for, is_closed, "the edge closes the slow client")
            heard = await take(events, count)
            assert numbers(heard) == list(range(count))
            assert 4008 in [state.code for state in states]

    run(test())


def test_an_iteration_that_nobody_has_any_more_holds_nobody_up(
    cluster: Cluster, edge: Edge
) -> None:
    emitter = cluster.emitter()

    async def test() -> None:
        async with (
            connect(url(edge), token=cluster.token("alice"), max_queued=2) as relay,
            relay.subscribe("event:a") as events,
        ):
            emit(emitter, range(1, 2), "event:b")
            async for _ in relay.subscribe("event:*", last=1):
                break
            emit(emitter, range(10))
            assert numbers(await take(events, 10)) == list(range(10))

    run(test())
