"""Where the newest matching events begin."""

from collections.abc import Callable

import pytest

from edge.core.catch_up.last_events import BLOCK_OFFSETS, MAX_SEARCHED_OFFSETS, LastEventsSearch
from edge.core.streams.record import Record
from edge.core.streams.streams import Stream, Streams
from tests.edge.journal import record


def stream_of(length: int, low: int = 1) -> Stream:
    """A stream whose records `low` to `length` exist; the history remembers the newest page."""
    streams = Streams()
    streams.synchronize(1, {"event": 0}, {"event": 1})
    stream = streams.get("event")
    assert stream is not None
    for offset in range(1, length + 1):
        stream.history.append(record(offset))
    stream.history.raise_journal_first(low)
    return stream


def search(
    stream: Stream, count: int, matches: Callable[[Record], bool], low: int = 1
) -> LastEventsSearch:
    """Search to the end in records from `low` on; look at no record twice."""
    found = LastEventsSearch(stream, count, matches)
    looked_at: list[int] = []
    while not found.is_complete:
        position = found.position
        if position + 1 < low:
            found.skip_lost()
            continue
        records = [record(offset) for offset in range(position + 1, found.until + 1)]
        number = found.look_at(records[:BLOCK_OFFSETS])
        assert number, "each reading brings the search on"
        looked_at += [each.offset for each in records[:number]]
    assert len(looked_at) == len(set(looked_at)) <= MAX_SEARCHED_OFFSETS
    return found


@pytest.mark.parametrize("count", [1, 3, 255, 256, 257, 700])
@pytest.mark.parametrize("length", [1, 255, 256, 257, 700])
def test_the_newest_records_are_those_after_since(length: int, count: int) -> None:
    found = search(stream_of(length), count, lambda _: True)
    assert found.since == max(0, length - count)
    assert found.until == length


def test_only_matches_count() -> None:
    found = search(stream_of(600), 3, lambda each: each.offset % 100 == 0)
    assert [n for n in range(found.since + 1, 601) if n % 100 == 0] == [400, 500, 600]


def test_as_many_as_there_are_begin_with_the_first_of_them() -> None:
    assert search(stream_of(600), 2, lambda each: each.offset in (100, 200)).since == 99


@pytest.mark.parametrize(("length", "looked_at"), [(4_000, 4_000 % BLOCK_OFFSETS), (257, 1)])
def test_the_newest_record_is_found_without_a_look_at_older_blocks(
    length: int, looked_at: int
) -> None:
    seen: list[int] = []

    def matches(each: Record) -> bool:
        seen.append(each.offset)
        return True

    assert search(stream_of(length), 1, matches).since == length - 1
    assert len(seen) == looked_at


def test_what_lies_before_a_gap_is_not_among_the_newest() -> None:
    """Although the edge remembers it: the client would be told of the gap."""
    stream = stream_of(300)
    stream.history.skip_to(311)
    for offset in range(311, 351):
        stream.history.append(record(offset))
    stream.history.raise_journal_first(400)
    found = LastEventsSearch(stream, 60, lambda _: True)
    while not found.is_complete:
        records = stream.history.after(found.position)
        if records is None:
            found.skip_lost()
        else:
            found.look_at(records)
    assert found.since == 310


def test_nothing_before_the_reach_is_searched() -> None:
    length = MAX_SEARCHED_OFFSETS + 1000
    found = search(stream_of(length), 1, lambda each: each.offset < 1000)
    assert found.since == length - MAX_SEARCHED_OFFSETS


def test_an_empty_stream_is_searched_at_once() -> None:
    found = LastEventsSearch(stream_of(0), 5, lambda _: True)
    assert (found.is_complete, found.since) == (True, 0)


@pytest.mark.parametrize("low", [2, 256, 257, 258, 300, 512, 513])
def test_lost_records_end_the_search_where_the_rest_begins(low: int) -> None:
    stream = stream_of(0)
    stream.history.head = 600
    stream.history.raise_journal_first(low)
    found = search(stream, 1000, lambda _: True, low)
    assert found.since == low - 1
