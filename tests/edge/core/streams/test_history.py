"""The remembered records of a stream, against a plain list."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.streams.history import (
    PAGE_OFFSETS,
    READ_PAGES,
    History,
    Missing,
    PageMemory,
    read_index,
)
from tests.edge.journal import Journal, record

PLENTY = 2**40
COST = record(1000).cost


def offsets_after(history: History, position: int) -> list[int] | None:
    found = history.after(position)
    return None if found is None else [each.offset for each in found]


def filled(head: int, start: int = 0, max_bytes: int = PLENTY) -> History:
    """A history that began behind `start` and has come to `head`."""
    history = History(PageMemory(max_bytes), start)
    for offset in range(start + 1, head + 1):
        history.append(record(offset))
    return history


def test_what_was_appended_is_remembered_a_page_at_a_time() -> None:
    history = filled(600)
    assert offsets_after(history, 0) == list(range(1, 257))
    assert offsets_after(history, 100) == list(range(101, 257))
    assert offsets_after(history, 256) == list(range(257, 513))
    assert offsets_after(history, 590) == list(range(591, 601))
    assert offsets_after(history, 600) is None


def test_what_came_before_the_edge_is_missing_up_to_what_is_remembered() -> None:
    history = filled(600, start=300)
    assert offsets_after(history, 299) is None
    assert history.missing(270) == Missing(270, 30)
    assert history.missing(10) == Missing(10, 290)
    history.install([record(offset) for offset in range(271, 301)])
    assert offsets_after(history, 270) == list(range(271, 513))
    assert history.missing(256) == Missing(256, 14)


def test_several_pages_are_missing_at_a_time() -> None:
    history = filled(5000, start=4000)
    end = PAGE_OFFSETS * READ_PAGES
    assert history.missing(10) == Missing(10, end - 10)
    assert history.missing(end) == Missing(end, end)
    history.install([record(offset) for offset in range(1, end + 1)])
    assert offsets_after(history, PAGE_OFFSETS) == list(
        range(PAGE_OFFSETS + 1, 2 * PAGE_OFFSETS + 1)
    )
    history.install([record(2 * end)])
    assert history.missing(end) == Missing(end, end - 1)


def test_a_reply_that_is_too_short_leaves_the_rest_missing() -> None:
    history = filled(600, start=300)
    history.install([record(offset) for offset in range(261, 271)])
    assert offsets_after(history, 260) == list(range(261, 271))
    assert offsets_after(history, 270) is None
    assert history.missing(270) == Missing(270, 242), "one page keeps one run"
    assert history.missing(259) == Missing(259, 1)
    assert history.missing(258) == Missing(258, 2)


def test_behind_a_single_record_the_rest_of_its_page_is_missing() -> None:
    history = filled(300, start=300)
    history.install([record(261)])
    assert history.missing(261) == Missing(261, 39)


@pytest.mark.parametrize(
    ("start", "replayed", "remembered"),
    [
        (280, range(257, 281), range(257, 513)),
        (280, range(270, 281), range(270, 513)),
        (280, range(257, 291), range(257, 513)),
        (300, range(257, 301), range(257, 513)),
        (280, range(257, 280), range(281, 513)),
    ],
    ids=["touches", "a part of it", "overlaps", "nothing newer yet", "leaves a hole"],
)
def test_a_replayed_front_and_the_newest_page_are_one_page_if_they_touch(
    start: int, replayed: range, remembered: range
) -> None:
    memory = PageMemory(PLENTY)
    history = History(memory, start)
    for offset in range(start + 1, 301):
        history.append(record(offset))
    history.install(list(map(record, replayed)))
    kept = {*replayed, *range(start + 1, 301)}
    assert memory.used_bytes == sum(record(offset).cost for offset in kept)
    is_joined = remembered[0] == replayed[0]
    assert offsets_after(history, replayed[0] - 1) == list(
        range(replayed[0], 301) if is_joined else replayed
    )
    for offset in range(301, 520):
        history.append(record(offset))
    assert offsets_after(history, remembered[0] - 1) == list(remembered)
    assert offsets_after(history, remembered[0] - 2) is None
    assert memory.used_bytes == sum(record(each).cost for each in (*remembered, *range(513, 520)))


@pytest.mark.parametrize(
    ("replayed", "remembered"),
    [
        (range(90, 101), range(90, 151)),
        (range(90, 100), range(90, 100)),
        (range(90, 111), range(90, 151)),
        (range(110, 121), range(101, 151)),
        (range(140, 161), range(101, 161)),
        (range(151, 161), range(101, 161)),
        (range(152, 161), range(152, 161)),
        (range(151, 152), range(101, 152)),
        (range(90, 161), range(90, 161)),
    ],
    ids=lambda run: f"{run[0]}-{run[-1]}",
)
def test_an_older_page_keeps_one_run_with_what_touches_it(
    replayed: range, remembered: range
) -> None:
    memory = PageMemory(PLENTY)
    history = History(memory, 600)
    history.install(list(map(record, range(101, 151))))
    history.install(list(map(record, replayed)))
    assert offsets_after(history, remembered[0] - 1) == list(remembered)
    assert offsets_after(history, remembered[0] - 2) is None
    assert offsets_after(history, remembered[-1]) is None
    assert memory.used_bytes == sum(record(each).cost for each in remembered)


def test_what_is_retired_and_not_remembered_is_gone() -> None:
    history = filled(600, start=300)
    history.journal_first = 290
    assert history.is_gone(288)
    assert not history.is_gone(289)
    assert history.first_after(100) == 290
    history.journal_first = 700
    assert not history.is_gone(300), "it is remembered"
    assert history.first_after(100) == 301
    assert history.first_after(512) == 513


def test_after_a_gap_history_begins_anew() -> None:
    history = filled(600)
    history.skip_to(605)
    history.append(record(605))
    assert history.head == 605
    assert offsets_after(history, 604) == [605]
    assert offsets_after(history, 256) == list(range(257, 513)), "older pages are kept"
    assert offsets_after(history, 512) == list(range(513, 601)), "and the one that was begun"
    assert history.first_after(600) == history.journal_first == 1
    history.journal_first = 606
    assert history.first_after(600) == 605
    assert history.first_after(605) == 606


def test_the_memory_is_shared_and_what_was_not_used_for_longest_goes_first() -> None:
    memory = PageMemory(PLENTY)
    histories = [History(memory, 0), History(memory, 0)]
    for offset in range(1, 2 * PAGE_OFFSETS + 1):
        for history in histories:
            history.append(record(offset))
    assert histories[0].after(0) is not None, "that page was used last"
    memory.max_bytes = memory.used_bytes
    histories[0].append(record(2 * PAGE_OFFSETS + 1))
    found = [history.after(position) for history in histories for position in (0, PAGE_OFFSETS)]
    assert [each is not None for each in found] == [True, True, False, True]


def test_the_newest_page_gives_way_when_nothing_else_can() -> None:
    memory = PageMemory(10 * COST)
    history = History(memory, 0)
    for offset in range(1, 100):
        history.append(record(offset))
        assert memory.used_bytes <= memory.max_bytes
    assert offsets_after(history, 98) == [99]


def test_a_history_that_is_removed_takes_no_memory() -> None:
    memory = PageMemory(PLENTY)
    history = History(memory, 0)
    for offset in range(1, 600):
        history.append(record(offset))
    memory.remove(history)
    assert memory.used_bytes == 0
    memory.max_bytes, other = 300 * COST, History(memory, 0)
    for offset in range(1, 600):
        other.append(record(offset))
    assert offsets_after(other, 598) == [599]


@pytest.mark.parametrize("max_bytes", [0, COST // 2, COST])
def test_the_newest_record_is_remembered_however_little_fits(max_bytes: int) -> None:
    history = filled(20, max_bytes=max_bytes)
    assert offsets_after(history, 19) == [20]
    assert offsets_after(history, 18) is None


def test_no_more_is_forgotten_than_the_memory_lacks() -> None:
    memory = PageMemory(PLENTY)
    one, two = History(memory, 0), History(memory, 0)
    for offset in range(1, 2 * PAGE_OFFSETS + 4):
        for history in (one, two):
            history.append(record(offset))
    page = sum(record(offset).cost for offset in range(1, PAGE_OFFSETS + 1))
    memory.max_bytes = memory.used_bytes - page
    memory.make_room()
    assert offsets_after(one, 0) is None, "the page that was used before all others"
    assert all(history.after(PAGE_OFFSETS) is not None for history in (one, two))
    assert offsets_after(two, 0) == list(range(1, PAGE_OFFSETS + 1))


def test_no_more_of_the_newest_pages_is_forgotten_than_the_memory_lacks() -> None:
    memory = PageMemory(PLENTY)
    histories = [History(memory, 0) for _ in range(2)]
    for offset in range(1, 4):
        for history in histories:
            history.append(record(offset))
    memory.max_bytes = memory.used_bytes - record(1).cost - record(2).cost
    memory.make_room()
    assert [offsets_after(history, 0) for history in histories] == [None, [1, 2, 3]]


actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 300)),
        st.tuples(st.just("read"), st.integers(0, 2000)),
        st.tuples(st.just("fetch"), st.integers(0, 2000)),
        st.tuples(st.just("retire"), st.integers(1, 1500)),
        st.tuples(st.just("gap"), st.integers(1, 300)),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 600), st.integers(1, 800), actions)
def test_it_is_a_window_of_the_stream_and_never_anything_else(
    start: int, max_records: int, steps: list[tuple[str, int]]
) -> None:
    journal, memory = Journal(), PageMemory(max_records * (COST + 2))
    for _ in range(start):
        journal.append()
    history = History(memory, start)
    for action, number in steps:
        position = min(number, history.head)
        if action == "append":
            for _ in range(number):
                history.append(journal.append())
        elif action == "retire":
            journal.retire(number)
            history.raise_journal_first(journal.low)
        elif action == "gap":
            for _ in range(number):
                journal.append()
            journal.retire(journal.tip + 1)
            history.raise_journal_first(journal.low)
            history.skip_to(journal.tip + 1)
        elif action == "fetch" and position < history.head and history.after(position) is None:
            missing = history.missing(position)
            assert missing.after == position
            assert 1 <= missing.limit <= history.head - position
            assert read_index(missing.after + missing.limit - 1) == read_index(position)
            history.install(journal.replay(*missing))
        found = history.after(position)
        if found is not None:
            wanted = range(position + 1, position + 1 + len(found))
            assert [each.offset for each in found] == list(wanted)
            assert [each.payload for each in found] == [
                journal.records[offset - 1].payload for offset in wanted
            ]
            assert wanted[-1] <= history.head
        elif history.is_gone(position):
            assert position + 1 < journal.low
            assert history.first_after(position) > position + 1
        assert memory.used_bytes <= max(memory.max_bytes, (COST + 2))
        assert memory.used_bytes == sum(
            each.cost
            for page in {id(page): page for page in history._all_pages()}.values()
            for each in page.records
        )
    assert history.head == journal.tip


@pytest.mark.parametrize("start", [0, 255, 256, 257])
def test_fetching_again_and_again_gets_everything(start: int) -> None:
    """As a client does that resumes at an edge which has just begun."""
    journal = Journal()
    for _ in range(700):
        journal.append()
    history, seen = History(PageMemory(PLENTY), 700), list(range(1, start + 1))
    while len(seen) < 700:
        found = history.after(len(seen))
        if found is None:
            history.install(journal.replay(*history.missing(len(seen))))
        else:
            seen += [each.offset for each in found]
    assert seen == list(range(1, 701))
