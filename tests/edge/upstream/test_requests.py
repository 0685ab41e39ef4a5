"""Requests to the relay, over real sockets: repeated, answered, bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge.core.streams.inbound import Repair
from edge.upstream import requests as module
from edge.upstream.requests import RelayRequests
from relay.shared.request_table import TooManyRequests
from relay.wire.control import ErrorReply, ReplayRequest, RetainedReply, RetainedRequest
from relay.wire.topics import parse_pattern
from tests.edge.core.streams.test_inbound import connect
from tests.edge.relay_words import EPOCH, frames, heartbeat, replay
from tests.edge.upstream.scripted_relay import ScriptedRelay, connected, until
from tests.edge.world import EdgeCore

LIVE = parse_pattern("live:*")


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[ScriptedRelay, RelayRequests, EdgeCore]]:
    """A relay, requests to it, and the core that takes the replies."""
    core = EdgeCore()
    core.inbound.synchronize(EPOCH, heartbeat(10))
    async with connected() as (relay, connection):
        requests = connection.requests
        requests.socket.add_reader(lambda: requests.read_replies(core.inbound))
        yield relay, requests, core


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
            requests.check_unanswered()
            second = await relay.request()
            assert second == first
            await relay.reply(replay(frames("event:a", 4)).model_copy(update={"id": second.id}))
            assert len((await fetching).items) == 1
            assert len(requests) == 0

    asyncio.run(scenario())


def test_a_restarted_relay_is_sent_what_somebody_waits_for_and_nothing_else() -> None:
    async def scenario() -> None:
        async with asking() as (relay, requests, _):
            fetching = asyncio.create_task(requests.replay("event", 3, 5))
            requests.request_repair(Repair("event", 10))
            requests.request_last_values(LIVE)
            before = [await relay.request() for _ in range(3)]
            requests.relay_restarted()
            again = [await relay.request() for _ in range(2)]
            repair = next(
                each for each in before if isinstance(each, ReplayRequest) and each.after == 10
            )
            assert again == [request for request in before if request != repair]
            fetching.cancel()

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
        async with asking() as (_, requests, _core):
            for number in range(25):
                requests.request_last_values(parse_pattern(f"live:{number}"))
            assert len(requests) == 10
            with pytest.raises(TooManyRequests):
                await requests.replay("event", 3, 5)

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
            assert len(requests) == 1

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
