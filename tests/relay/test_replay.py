"""The pieces of a page: contiguous, of one epoch, and no larger than was asked for."""

import pytest

from relay.core.retention import Limits
from relay.journal.batch import JournalBatch, Run
from relay.journal.journal import Journal
from relay.replay import MAX_PAGE_EVENTS, PIECE_EVENTS, Replay
from relay.wire.control import ReplayRequest
from relay.wire.header import unpack_stamp
from tests.relay.journal.journals import NOW_MS, batch, event, published


def offsets(replay: Replay) -> list[int]:
    return [unpack_stamp(stamp).offset for _, stamp, _ in replay.reply().items]


def request(after: int = 0, limit: int = 4096, max_bytes: int | None = None) -> ReplayRequest:
    return ReplayRequest(id=1, stream="event", after=after, limit=limit, max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("after", "limit", "last", "pieces"),
    [
        (0, 4096, MAX_PAGE_EVENTS, MAX_PAGE_EVENTS // PIECE_EVENTS),
        (5, PIECE_EVENTS, 5 + PIECE_EVENTS, 1),
        (5, PIECE_EVENTS + 1, 6 + PIECE_EVENTS, 2),
        (MAX_PAGE_EVENTS, 4096, MAX_PAGE_EVENTS + 7, 1),
        (MAX_PAGE_EVENTS + 7, 4096, MAX_PAGE_EVENTS + 7, 1),
    ],
)
def test_a_page_has_as_many_pieces_as_it_needs(
    journal: Journal, after: int, limit: int, last: int, pieces: int
) -> None:
    journal.append(batch(1, MAX_PAGE_EVENTS + 7))
    with published(journal) as found:
        replay = Replay(found, request(after, limit))
        for _ in range(pieces):
            assert not replay.is_complete
            replay.go_on()
        assert replay.is_complete
        assert offsets(replay) == list(range(after + 1, last + 1))
        assert (replay.reply().low, replay.reply().tip) == (1, MAX_PAGE_EVENTS + 7)


def test_a_page_ends_with_its_bytes(journal: Journal) -> None:
    """Also in the midst of a later piece, and not before its first event."""
    events = [event(number, padding=1000) for number in range(1, 2 * PIECE_EVENTS + 1)]
    journal.append(JournalBatch({"event": Run(1, NOW_MS, events)}))
    size = sum(map(len, events[0])) + 25
    with published(journal) as found:
        for most in (1, 3 * size, (PIECE_EVENTS + 20) * size):
            replay = Replay(found, request(max_bytes=most))
            while not replay.is_complete:
                replay.go_on()
            count = len(replay.reply().items)
            assert offsets(replay) == list(range(1, count + 1))
            total = sum(sum(map(len, item)) for item in replay.reply().items)
            assert total <= most or count == 1
            assert count == 1 or total + 2 * size > most


def test_a_page_begins_anew_in_a_new_epoch(journal: Journal) -> None:
    journal.append(batch(1, 2 * PIECE_EVENTS))
    with published(journal) as found:
        replay = Replay(found, request())
        replay.go_on()
        found.begin_epoch("a test")
        while not replay.is_complete:
            replay.go_on()
        stamps = [unpack_stamp(stamp) for _, stamp, _ in replay.reply().items]
        assert {stamp.epoch for stamp in stamps} == {found.epoch} == {replay.reply().epoch}
        assert [stamp.offset for stamp in stamps] == list(range(1, 2 * PIECE_EVENTS + 1))


def test_a_page_ends_before_what_retention_has_removed_meanwhile(
    journal: Journal,
) -> None:
    for first in range(1, 4 * PIECE_EVENTS, PIECE_EVENTS):
        journal.append(batch(first, PIECE_EVENTS))
    with published(journal) as found:
        replay = Replay(found, request())
        replay.go_on()
        journal.retire(Limits(0, 0), NOW_MS + 10**9)
        found.update(journal.state)
        replay.go_on()
        assert replay.is_complete
        assert offsets(replay) == list(range(1, PIECE_EVENTS + 1))
