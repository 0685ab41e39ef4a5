"""Pages of past events: complete, in order, permitted, and bounded."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.catch_up import history_page
from edge.core.catch_up.history_page import HistoryPage, HistoryQuery, PageGap
from edge.core.identity.access import Identity
from edge.core.streams.record import LostRecord
from relay.wire.topics import parse_pattern
from tests.edge.journal import Journal, record
from tests.edge.world import EPOCH, World

LIMIT = 10


def page_of(
    world: World,
    after: int | None = None,
    *,
    stream: str = "event",
    topic: str = "event:*",
    user: str = "alice",
    limit: int = LIMIT,
) -> HistoryPage:
    """A page, filled as the route does."""
    streams = world.edge.streams
    found = streams.get(stream)
    assert found is not None
    selectors = (parse_pattern(topic),) if stream == "event" else ()
    query = HistoryQuery(Identity(user, "user", 2**53), selectors, after, limit)
    page = HistoryPage(streams, found, query)
    missing = None
    for _ in range(10_000):
        if page.is_complete:
            return page
        missing = page.step(() if missing is None else world.fetch(missing))
    raise AssertionError("the page does not end")


def messages(page: HistoryPage) -> list[dict[str, Any]]:
    return [json.loads(each) for each in page.events]


def offsets(page: HistoryPage) -> list[int]:
    return [each["offset"] for each in messages(page)]


@given(st.integers(0, 300), st.integers(1, 120), st.booleans())
def test_the_pages_together_are_the_stream(length: int, limit: int, remembered: bool) -> None:
    world = World()
    for _ in range(length):
        world.emit("event:a")
    if not remembered:
        world.new_edge()
    found: list[int] = []
    after: int | None = None
    while True:
        page = page_of(world, after, limit=limit)
        found += offsets(page)
        after = page.position.offsets["event"]
        assert len(page.events) <= limit
        if not page.has_more:
            break
    assert found == list(range(1, length + 1))
    assert (page.position.epoch, page.gaps) == (EPOCH, [])


def test_only_selected_topics_are_shown() -> None:
    world = World()
    for topic in ("event:a", "event:b", "event:bb", "event:a"):
        world.emit(topic)
    assert offsets(page_of(world, topic="event:b*")) == [2, 3]
    assert offsets(page_of(world, topic="event:a")) == [1, 4]
    assert page_of(world, topic="event:a").position.offsets == {"event": 4}


def test_what_is_for_one_user_is_shown_to_that_user() -> None:
    world = World()
    for user in ("alice", "bob", "alice"):
        world.emit("task:1", user)
    world.emit("event:a", "bob")
    assert offsets(page_of(world, stream="task")) == [1, 3]
    assert offsets(page_of(world, stream="task", user="bob")) == [2]
    assert offsets(page_of(world)) == []
    assert page_of(world).position.offsets == {"event": 1}


def test_commands_to_edges_are_in_nobodys_past() -> None:
    world = World()
    world.journals["addressed"] = Journal()
    world.new_edge()
    for topic in ("addressed:note:1", "addressed:edge:disconnect", "addressed:note:1"):
        world.emit(topic, "alice")
    page = page_of(world, stream="addressed")
    assert offsets(page) == [1, 3]
    assert page.position.offsets == {"addressed": 3}


def test_what_retention_has_removed_is_a_gap_and_nothing_for_a_newcomer() -> None:
    world = World(before=20)
    world.retire(6)
    page = page_of(world, 2)
    assert page.gaps == [PageGap(3, 5, "retention")]
    assert offsets(page) == list(range(6, 16))
    assert page_of(world).gaps == []
    assert offsets(page_of(world))[0] == 6


def test_what_the_relay_cannot_read_is_a_gap() -> None:
    world = World()
    world.emit("event:a")
    stream = world.edge.streams.get("event")
    assert stream is not None
    for found in (LostRecord("event", 2), LostRecord("event", 3), record(4)):
        stream.history.append(found)
    page = page_of(world)
    assert (offsets(page), page.gaps) == ([1, 4], [PageGap(2, 3, "damaged")])


def test_a_page_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for _ in range(6):
        world.emit("event:a")
    size = len(page_of(world, limit=1).events[0])
    monkeypatch.setattr(history_page, "MAX_PAGE_BYTES", 2 * size)
    page = page_of(world)
    assert (offsets(page), page.has_more) == ([1, 2], True)
    monkeypatch.setattr(history_page, "MAX_PAGE_BYTES", 1)
    assert offsets(page_of(world, 2)) == [3], "a page has one event at least"


def test_a_page_is_bounded_in_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_page, "MAX_PAGE_RECORDS", 100)
    world = World(before=600)
    page = page_of(world, topic="event:nothing")
    assert page.events == []
    assert page.has_more
    assert 100 <= page.position.offsets["event"] < 600


def test_a_page_of_another_epoch_is_outdated() -> None:
    world = World(before=3)
    page = page_of(world)
    assert not page.is_outdated
    world.epoch += 1
    world.synchronize()
    assert page.is_outdated


def test_a_position_beyond_the_head_has_nothing_behind_it() -> None:
    page = page_of(World(before=3), 10)
    assert (page.events, page.has_more, page.position.offsets) == ([], False, {"event": 10})
