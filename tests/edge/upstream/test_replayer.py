"""Records that catch-ups need from the relay's journal, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from edge.core.catch_up.connection_catch_up import JournalRange, ReplayFailed
from edge.core.streams.streams import Stream
from edge.upstream.replayer import JournalReplay
from edge.upstream.requests import RelayRequests
from relay.wire.control import ReplayReply, ReplayRequest
from tests.edge.relay_words import EPOCH, frames, replay
from tests.edge.upstream.scripted_relay import ScriptedRelay, connected, until
from tests.edge.world import EdgeCore

MISSING = JournalRange("event", 2, 3)


class Shelf:
    """A replayer whose relay answers as the test says."""

    def __init__(self, core: EdgeCore, requests: RelayRequests) -> None:
        self.streams = core.streams
        self.stats = core.stats
        self.requests = requests
        self.was_asked = asyncio.Event()
        self.replayer = JournalReplay(core.streams, requests, core.stats)

    @property
    def stream(self) -> Stream:
        """The stream that is fetched from."""
        stream = self.streams.get("event")
        assert stream is not None
        return stream

    async def fetch(self) -> list[int]:
        """Return the offsets of the records that are fetched."""
        return [record.offset for record in await self.replayer.fetch(MISSING)]


@asynccontextmanager
async def shelf_of(
    reply: ReplayReply, meanwhile: Callable[[Shelf], None] = lambda _: None
) -> AsyncIterator[Shelf]:
    """A shelf whose relay answers one fetch with `reply`, after `meanwhile` has happened."""
    core = EdgeCore()
    core.streams.synchronize(EPOCH, {"event": 10}, {"event": 1})
    async with connected() as (relay, connection):
        shelf = Shelf(core, connection.requests)

        def read() -> None:
            connection.requests.read_replies(core.inbound)

        connection.requests.socket.add_reader(read)
        answering = asyncio.create_task(_answer(relay, reply, shelf, meanwhile))
        yield shelf
        await answering


async def _answer(
    relay: ScriptedRelay, reply: ReplayReply, shelf: Shelf, meanwhile: Callable[[Shelf], None]
) -> None:
    request = await relay.request()
    assert isinstance(request, ReplayRequest)
    assert JournalRange(request.stream, request.after, request.limit) == MISSING
    meanwhile(shelf)
    shelf.was_asked.set()
    await relay.reply(reply.model_copy(update={"id": request.id}))


def test_fetched_records_are_remembered() -> None:
    async def scenario() -> None:
        items = [frames("event:a", offset) for offset in (3, 4, 5)]
        async with shelf_of(replay(*items)) as shelf:
            assert await shelf.fetch() == [3, 4, 5]
            assert [record.offset for record in shelf.stream.history.after(2) or ()] == [3, 4, 5]
            assert shelf.stats.replayed == {"event": 3}

    asyncio.run(scenario())


def test_records_that_retention_has_passed_meanwhile_are_known_to_be_gone() -> None:
    async def scenario() -> None:
        async with shelf_of(replay(low=8)) as shelf:
            assert await shelf.fetch() == []
            assert shelf.stream.history.is_gone(2)

    asyncio.run(scenario())


def test_a_relay_that_lacks_records_it_should_have_is_not_asked_for_ever() -> None:
    async def scenario() -> None:
        async with shelf_of(replay(tip=1)) as shelf:
            with pytest.raises(ReplayFailed):
                await shelf.fetch()

    asyncio.run(scenario())


def test_an_item_that_cannot_be_read_keeps_its_place() -> None:
    async def scenario() -> None:
        items = [frames("event:a", offset) for offset in (3, 4, 5)]
        items[1] = (b"\xff", *items[1][1:])
        async with shelf_of(replay(*items)) as shelf:
            assert await shelf.fetch() == [3, 4, 5]
            assert shelf.stats.unreadable == {"invalid_topic": 1}

    asyncio.run(scenario())


def test_a_replay_ends_where_a_stamp_cannot_be_read() -> None:
    """Without its offset an item has no place."""

    async def scenario() -> None:
        items = [frames("event:a", offset) for offset in (3, 4, 5)]
        items[1] = (items[1][0], b"", items[1][2])
        async with shelf_of(replay(*items)) as shelf:
            assert await shelf.fetch() == [3]
            assert shelf.stats.unreadable == {"invalid_frame": 1}

    asyncio.run(scenario())


def test_a_reply_that_comes_in_another_epoch_than_its_request_brings_nothing() -> None:
    def begin_epoch(shelf: Shelf) -> None:
        shelf.streams.synchronize(EPOCH + 1, {"event": 1}, {"event": 1})

    async def scenario() -> None:
        async with shelf_of(replay(epoch=EPOCH + 1, tip=1), begin_epoch) as shelf:
            assert await shelf.fetch() == []

    asyncio.run(scenario())


def test_a_reply_of_an_epoch_that_is_not_known_yet_waits_for_the_streams() -> None:
    async def scenario() -> None:
        async with shelf_of(replay(frames("event:a", 3), epoch=EPOCH + 1)) as shelf:
            fetching = asyncio.create_task(shelf.fetch())
            await shelf.was_asked.wait()
            await until(lambda: len(shelf.requests) == 0)
            assert not fetching.done()
            shelf.streams.synchronize(EPOCH + 1, {"event": 5}, {"event": 1})
            shelf.replayer.wake_waiting()
            assert await fetching == []

    asyncio.run(scenario())
