"""What resuming clients need of the relay's journal."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from edge.core.catch_up.connection_catch_up import JournalRange
from edge.core.stats import EdgeStats
from edge.core.streams.record import Record
from edge.core.streams.streams import Stream, Streams
from edge.upstream.replayer import RelayLibrary, ReplayFailed
from relay.wire.control import ReplayReply
from tests.edge.relay_words import EPOCH, frames, replay

MISSING = JournalRange("event", 2, 3)


class Shelf:
    """A library whose relay answers with `reply`."""

    def __init__(self) -> None:
        self.stats = EdgeStats()
        self.streams = Streams()
        self.streams.synchronize(EPOCH, {"event": 10}, {"event": 1})
        self.library = RelayLibrary(self.streams, self.stats)
        self.library.attach(self)
        self.reply = replay()
        self.meanwhile: Callable[[], None] = lambda: None

    @property
    def stream(self) -> Stream:
        """The one that is asked for."""
        stream = self.streams.get("event")
        assert stream is not None
        return stream

    async def replay(self, stream: str, after: int, limit: int) -> ReplayReply:
        """Answer as the relay does."""
        assert JournalRange(stream, after, limit) == MISSING
        self.meanwhile()
        return self.reply

    def fetch(self, reply: ReplayReply) -> list[int]:
        """Return the offsets of what `reply` brings."""
        self.reply = reply
        return [record.offset for record in asyncio.run(self.fetching())]

    async def fetching(self) -> Sequence[Record]:
        """Fetch what is missing."""
        async with asyncio.timeout(5):
            return await self.library.fetch(MISSING)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_what_is_fetched_is_remembered(shelf: Shelf) -> None:
    items = [frames("event:a", offset) for offset in (3, 4, 5)]
    assert shelf.fetch(replay(*items)) == [3, 4, 5]
    assert [record.offset for record in shelf.stream.history.after(2) or ()] == [3, 4, 5]
    assert shelf.stats.replayed == {"event": 3}


def test_what_is_fetched_too_late_is_known_to_be_gone(shelf: Shelf) -> None:
    assert shelf.fetch(replay(low=8)) == []
    assert shelf.stream.history.is_gone(2)


def test_a_relay_that_lacks_what_it_should_have_is_not_asked_for_ever(shelf: Shelf) -> None:
    with pytest.raises(ReplayFailed):
        shelf.fetch(replay(tip=1))


def test_an_item_that_cannot_be_read_keeps_its_place(shelf: Shelf) -> None:
    items = [frames("event:a", offset) for offset in (3, 4, 5)]
    items[1] = (b"\xff", *items[1][1:])
    assert shelf.fetch(replay(*items)) == [3, 4, 5]
    assert shelf.stats.unreadable == {"invalid_topic": 1}


def test_a_reply_that_comes_in_another_epoch_than_it_was_asked_for_in(shelf: Shelf) -> None:
    shelf.meanwhile = lambda: shelf.streams.synchronize(EPOCH + 1, {"event": 1}, {"event": 1})
    assert shelf.fetch(replay(epoch=EPOCH + 1, tip=1)) == []


def test_a_reply_of_another_epoch_is_nothing_to_go_by(shelf: Shelf) -> None:
    async def scenario() -> None:
        shelf.reply = replay(frames("event:a", 3), epoch=EPOCH + 1)
        fetching = asyncio.create_task(shelf.fetching())
        await asyncio.sleep(0)
        assert not fetching.done()
        shelf.streams.synchronize(EPOCH + 1, {"event": 5}, {"event": 1})
        shelf.library.streams_have_gone_on()
        assert list(await fetching) == []

    asyncio.run(scenario())
