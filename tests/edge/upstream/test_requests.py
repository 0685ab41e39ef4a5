"""Requests to the relay, over real sockets: repeated, answered, bounded."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge.core.catch_up.connection_catch_up import ReplayFailed
from edge.core.control import control_health
from edge.core.streams.inbound import Repair
from edge.upstream import requests as module
from edge.upstream.requests import RelayRequests
from relay.shared.request_table import TooManyRequests
from relay.wire.control import (
    ErrorReply,
    ReplayRequest,
    Request,
    RetainedReply,
    RetainedRequest,
)
from relay.wire.topics import parse_pattern
from tests.edge.core.streams.test_inbound import connect
from tests.edge.relay_words import EPOCH, frames, heartbeat, replay
from tests.edge.upstream.scripted_relay import TICK_S, ScriptedRelay, connected, until
from tests.edge.world import EdgeCore

LIVE = parse_pattern("live:*")


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[ScriptedRelay, RelayRequests, EdgeCore]]:
    """A relay, requests to it, and the core that takes the replies."""
    core = EdgeCore()
    core.inbound.synchronize(EPOCH, heartbeat(10))
    async with connected() as (relay, connection):
        requests = connection.requests
        requests.socket.add_reader(lambda: _read(requests, core))
        ticking = asyncio.create_task(tick(requests, core))
        try:
            yield relay, requests, core
        finally:
            ticking.cancel()


def _read(requests: RelayRequests, core: EdgeCore) -> None:
    requests.read_replies(core.inbound)


async def tick(requests: RelayRequests, core: EdgeCore) -> None:
    """Do what is due, more often than the subscriber does."""
    while True:
        requests.tick(core.inbound)
        await asyncio.sleep(TICK_S)


def test_a_repair_reaches_its_stream() -> None:
    async def scenario() -> None:
        async with asking() as (relay, requests, core):
            core.inbound.take_heartbeat(heartbeat(12))
            requests.request_repair(Repair("event", 10))
            request = await relay.request()
            assert isinstance(request, ReplayRequest)
            assert (request.stream, request.after) == ("event", 10)
            items = [frames("event:a", 11), frames("event:a", 12)]
            await relay.reply(replay(*items, tip=12).model_copy(update={"id": request.id}))
            await until(lambda: core.streams.offsets["event"] == 12)
            assert len(requests) == 0

    asyncio.run(scenario())


def test_retained_events_are_requested_page_by_page() -> None:
    async def scenario() -> None:
        async with asking() as (relay, requests, core):
            alice = connect(core, "live:*", role="admin")
            requests.request_last_values(LIVE)
            for topic, after, following in (
                ("live:a", None, b"live:a"),
                ("live:b", b"live:a", None),
            ):
                request = await relay.request()
                assert isinstance(request, RetainedRequest)
                assert (request.prefix, request.exact, request.after) == ("live:", None, after)
                page = RetainedReply(id=request.id, items=(frames(topic, 0),), next=following)
                await relay.reply(page)
            await until(lambda: len(core.live) == 2)
            core.manager.flush()
            assert [topic for topic, _ in alice.live] == ["live:a", "live:b"]
            assert len(requests) == 0

    asyncio.run(scenario())


def test_a_fetch_is_repeated_after_an_error_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)

    async def scenario() -> None:
        async with asking() as (relay, requests, _):
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            first = await relay.request()
            await relay.reply(
                ErrorReply(id=first.id, code="journal_unavailable", message="a full disk")
            )
            second = await relay.request()
            assert second == first
            await relay.reply(replay(frames("event:a", 4)).model_copy(update={"id": second.id}))
            assert len((await fetching).items) == 1
            assert len(requests) == 0

    asyncio.run(scenario())


def test_a_restarted_relay_is_sent_what_somebody_waits_for_and_nothing_else() -> None:
    async def scenario() -> None:
        async with asking() as (relay, requests, core):
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            core.inbound.take_heartbeat(heartbeat(12))
            [repair] = core.inbound.repairs_due()
            requests.request_repair(repair)
            requests.request_last_values(LIVE)
            before = [await relay.request() for _ in range(3)]
            requests.lose_all(core.inbound)
            again = [await relay.request() for _ in range(2)]
            fetch, page = (
                next(each for each in before if isinstance(each, kind) and each.after != 10)
                for kind in (ReplayRequest, RetainedRequest)
            )
            assert again[0] == fetch
            assert without_id(again[1]) == without_id(page)
            assert core.inbound.repairs_due() == [repair], "from where the stream is by then"
            fetching.cancel()

    asyncio.run(scenario())


def without_id(request: Request) -> dict[str, object]:
    """The request, whatever its number and the size of its answer."""
    return request.model_dump(exclude={"id", "max_bytes"})


def test_an_answer_to_a_later_request_shows_that_an_earlier_one_was_lost() -> None:
    """And nothing else does: an answer may be long on its way."""

    async def scenario() -> None:
        async with asking() as (relay, requests, core):
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            lost = await relay.request()
            core.inbound.take_heartbeat(heartbeat(12))
            [repair] = core.inbound.repairs_due()
            requests.request_repair(repair)
            later = await relay.request()
            items = [frames("event:a", 11), frames("event:a", 12)]
            await relay.reply(replay(*items, tip=12).model_copy(update={"id": later.id}))
            assert await relay.request() == lost
            await relay.reply(replay(frames("event:a", 4)).model_copy(update={"id": lost.id}))
            assert len((await fetching).items) == 1
            assert core.streams.offsets["event"] == 12

    asyncio.run(scenario())


def test_a_repair_that_was_lost_is_due_again() -> None:
    async def scenario() -> None:
        async with asking() as (relay, requests, core):
            core.inbound.take_heartbeat(heartbeat(12))
            [repair] = core.inbound.repairs_due()
            requests.request_repair(repair)
            await relay.request()
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            later = await relay.request()
            assert not core.inbound.repairs_due()
            await relay.reply(replay(frames("event:a", 4)).model_copy(update={"id": later.id}))
            await fetching
            assert core.inbound.repairs_due() == [repair]

    asyncio.run(scenario())


def test_a_repair_that_brings_nothing_is_repeated_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)

    async def scenario() -> None:
        async with asking() as (relay, requests, core):
            core.inbound.take_heartbeat(heartbeat(12))
            [repair] = core.inbound.repairs_due()
            requests.request_repair(repair)
            first = await relay.request()
            await relay.reply(replay(tip=12).model_copy(update={"id": first.id}))
            assert await relay.request() == first
            assert not core.inbound.repairs_due()

    asyncio.run(scenario())


def test_a_replay_waits_for_no_more_than_one_page_of_retained_values() -> None:
    """However many are wanted: one user must not keep everybody from resuming."""

    async def scenario() -> None:
        async with asking() as (relay, requests, _):
            selectors = [parse_pattern(f"live:{number}*") for number in range(2_000)]
            for selector in selectors:
                requests.request_last_values(selector, "alice")
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            first_two = [await relay.request() for _ in range(2)]
            [fetch] = [each for each in first_two if isinstance(each, ReplayRequest)]
            for selector in selectors[1:]:
                requests.forget_last_values(selector)
            for request in first_two:
                if request is fetch:
                    reply = replay(frames("event:a", 4)).model_copy(update={"id": request.id})
                    await relay.reply(reply)
                else:
                    await relay.reply(RetainedReply(id=request.id, items=(), next=b"live:0a"))
            following = await relay.request()
            assert isinstance(following, RetainedRequest)
            assert (following.prefix, following.after) == ("live:0", b"live:0a")
            requests.forget_last_values(selectors[0])
            await relay.reply(RetainedReply(id=following.id, items=(), next=b"live:0b"))
            await fetching
            await until(lambda: len(requests) == 0)

    asyncio.run(scenario())


def test_a_page_that_was_lost_is_requested_again() -> None:
    async def scenario() -> None:
        async with asking() as (relay, requests, _):
            requests.request_last_values(LIVE, "alice")
            page = await relay.request()
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            later = await relay.request()
            await relay.reply(replay(frames("event:a", 4)).model_copy(update={"id": later.id}))
            assert without_id(await relay.request()) == without_id(page)
            await fetching

    asyncio.run(scenario())


def test_fetches_fail_when_the_relay_answers_but_replays_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control_health, "REPLAY_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        async with asking() as (relay, requests, _):
            relay.answer_hellos()
            reading = asyncio.create_task(relay.request())
            with pytest.raises(ReplayFailed, match="does not replay"):
                await requests.replay("event", 3, 5)
            assert not requests.health.is_replaying
            await reading

    asyncio.run(scenario())


def test_a_connection_that_leads_nowhere_is_replaced_and_the_request_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control_health, "RECONNECT_AFTER_S", 0.05)

    async def scenario() -> None:
        async with asking() as (relay, requests, _):
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            first = await relay.request()
            before = relay.peer
            assert await relay.request() == first
            assert relay.peer != before
            await relay.reply(replay(frames("event:a", 4)).model_copy(update={"id": first.id}))
            assert len((await fetching).items) == 1
            await until(lambda: requests.health.is_answering)

    asyncio.run(scenario())


def test_a_fetch_that_nobody_waits_for_is_forgotten() -> None:
    async def scenario() -> None:
        async with asking() as (relay, requests, _):
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            await relay.request()
            fetching.cancel()
            await asyncio.wait([fetching])
            assert len(requests) == 0

    asyncio.run(scenario())


def test_unanswered_requests_are_bounded_and_the_newest_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_REQUESTS", 10)

    async def scenario() -> None:
        async with asking() as (relay, requests, core):
            fetches = [asyncio.create_task(requests.replay("event", 3, 5)) for _ in range(10)]
            await relay.request()
            requests.request_last_values(LIVE)
            with pytest.raises(TooManyRequests):
                await requests.replay("event", 3, 5)
            core.inbound.take_heartbeat(heartbeat(12))
            [repair] = core.inbound.repairs_due()
            assert not requests.request_repair(repair)
            for fetch in fetches:
                fetch.cancel()
            while not isinstance(request := await relay.request(), RetainedRequest):
                pass
            assert request.prefix == "live:", "it waited for room"

    asyncio.run(scenario())


def test_a_relay_that_is_away_is_greeted_once_when_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An edge that waits for days must not gather a hello for each attempt."""
    monkeypatch.setattr(module, "MAX_REQUESTS", 10)

    async def scenario() -> None:
        async with asking() as (_, requests, _core):
            for _ in range(100):
                requests.say_hello()
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            await asyncio.sleep(0)
            assert len(requests) == 1, "there is room"
            fetching.cancel()

    asyncio.run(scenario())


def test_a_reply_that_is_not_understood_is_left_out() -> None:
    async def scenario() -> None:
        async with asking() as (relay, requests, core):
            core.inbound.take_heartbeat(heartbeat(11))
            requests.request_repair(Repair("event", 10))
            request = await relay.request()
            await relay.reply_raw(b"\xc1")
            items = [frames("event:a", 11)]
            await relay.reply(replay(*items, tip=11).model_copy(update={"id": request.id}))
            await until(lambda: core.streams.offsets["event"] == 11)

    asyncio.run(scenario())


def test_an_edge_rests_while_the_relay_is_away() -> None:
    async def scenario() -> None:
        core = EdgeCore()
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            nobody = f"tcp://127.0.0.1:{held.getsockname()[1]}"
            async with connected(relay_control=nobody) as (_, connection):
                requests = connection.requests
                calls = 0

                def read() -> None:
                    nonlocal calls
                    calls += 1
                    requests.read_replies(core.inbound)

                requests.socket.add_reader(read)
                requests.request_last_values(LIVE)
                fetching = asyncio.create_task(requests.replay("event", 3, 5))
                for _ in range(50):
                    await asyncio.sleep(TICK_S)
                assert calls < 200, "not once in each turn of the loop"
                fetching.cancel()

    asyncio.run(scenario())


def test_large_replies_are_read_a_few_at_a_time() -> None:
    """Each has up to 1 MiB of events; clients and live events have their turn in between."""
    count = 20
    items = tuple(frames("event:a", offset, {"x": "x" * 262_000}) for offset in range(4, 8))
    at_once: list[int] = []

    async def scenario() -> None:
        core = EdgeCore()
        async with connected() as (relay, connection):
            requests = connection.requests

            def read() -> None:
                before = len(requests)
                requests.read_replies(core.inbound)
                at_once.append(before - len(requests))

            fetches = [asyncio.create_task(requests.replay("event", 3, 4)) for _ in range(count)]
            asked = [await relay.request() for _ in range(count)]
            for request in asked:
                await relay.reply(replay(*items).model_copy(update={"id": request.id}))
            requests.socket.add_reader(read)
            await asyncio.gather(*fetches)

    asyncio.run(scenario())
    assert sum(at_once) == count
    assert max(at_once) <= module.MAX_REPLY_BYTES // 1_000_000 + 1
