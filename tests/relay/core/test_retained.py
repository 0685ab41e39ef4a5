"""The relay remembers the newest event of each topic, in bounded groups."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.retained import (
    MAX_FINISHED_TASKS,
    MAX_GROUP_BYTES,
    MAX_LIVE_TOPICS,
    MAX_PAGE_EVENTS,
    MAX_TASKS,
    RetainedValues,
    task_key,
    topic_of,
)
from relay.wire.envelope import Envelope, is_finished_task
from relay.wire.header import StampedFrames


def keep(retained: RetainedValues, topic: str, mark: str, status: Any = None) -> StampedFrames:
    """Keep an event on `topic` that can be recognized by `mark`."""
    frames = (topic.encode(), b"stamp", mark.encode())
    envelope = Envelope("any", {"status": status}, "alice", "manager", 0, mark)
    if topic.startswith("task:"):
        retained.keep_task(task_key(topic, "alice"), frames, is_finished=is_finished_task(envelope))
    else:
        retained.keep_live(topic, frames)
    return frames


def frames_of(retained: RetainedValues, prefix: str = "") -> list[StampedFrames]:
    return [frames for _, frames in retained.matching(prefix)]


def topics_of(retained: RetainedValues, prefix: str = "") -> list[str]:
    return [topic.decode() for topic, _, _ in frames_of(retained, prefix)]


def test_only_the_newest_value_of_a_topic_is_remembered() -> None:
    retained = RetainedValues()
    keep(retained, "resource-monitor:a", "old")
    newest = keep(retained, "resource-monitor:a", "new")
    assert frames_of(retained) == [newest]


def test_items_are_limited_to_a_prefix_oldest_update_first() -> None:
    retained = RetainedValues()
    for topic in ("live:b", "live:a", "other:x", "live:b"):
        keep(retained, topic, topic)
    assert topics_of(retained, "live:") == ["live:a", "live:b"]
    assert topics_of(retained, "live:a") == ["live:a"]
    assert topics_of(retained, "nothing:") == []


def test_the_live_topic_updated_longest_ago_goes_first() -> None:
    retained = RetainedValues()
    for n in range(MAX_LIVE_TOPICS):
        keep(retained, f"live:{n}", "x")
    keep(retained, "live:0", "again")
    keep(retained, "live:new", "x")
    kept = topics_of(retained)
    assert len(kept) == MAX_LIVE_TOPICS
    assert "live:1" not in kept
    assert kept[-2:] == ["live:0", "live:new"]


def test_unfinished_tasks_are_bounded() -> None:
    retained = RetainedValues()
    for n in range(MAX_TASKS + 1):
        keep(retained, f"task:{n}", "x", "in_progress")
    kept = topics_of(retained, "task:")
    assert len(kept) == MAX_TASKS
    assert kept[0] == "task:1"


def test_a_finished_task_goes_before_an_unfinished_one() -> None:
    retained = RetainedValues()
    keep(retained, "task:old-but-running", "x", "in_progress")
    for n in range(MAX_FINISHED_TASKS + 1):
        keep(retained, f"task:{n}", "x", "success")
    kept = topics_of(retained, "task:")
    assert "task:old-but-running" in kept
    assert "task:0" not in kept
    assert len(kept) == MAX_FINISHED_TASKS + 1


@pytest.mark.parametrize("status", ["success", "error"])
def test_a_task_is_remembered_once_whatever_becomes_of_it(status: str) -> None:
    retained = RetainedValues()
    keep(retained, "task:1", "running", "in_progress")
    finished = keep(retained, "task:1", "finished", status)
    assert frames_of(retained) == [finished]
    again = keep(retained, "task:1", "again", "in_progress")
    assert frames_of(retained) == [again]


@pytest.mark.parametrize("status", [None, 5, "", "custom", True])
def test_any_other_status_is_unfinished(status: Any) -> None:
    retained = RetainedValues()
    keep(retained, "task:running", "x", status)
    for n in range(MAX_FINISHED_TASKS + 1):
        keep(retained, f"task:{n}", "x", "error")
    assert "task:running" in topics_of(retained)


@pytest.mark.parametrize("status", [["success"], {"success": 1}])
def test_a_status_that_cannot_be_hashed_is_unfinished(status: Any) -> None:
    retained = RetainedValues()
    frames = keep(retained, "task:1", "x", status)
    assert frames_of(retained, "task:") == [frames]


def test_the_tasks_that_were_forgotten_are_told() -> None:
    retained = RetainedValues()
    for n in range(MAX_FINISHED_TASKS):
        assert retained.keep_task(*task(f"task:{n}"), is_finished=True) == []
    assert retained.keep_task(*task("task:running"), is_finished=False) == []
    assert retained.keep_task(*task("task:new"), is_finished=True) == ["task:0"]
    assert retained.keep_task(*task("task:1"), is_finished=True) == []
    assert retained.keep_task(*task("task:newer"), is_finished=True) == ["task:2"]


def test_a_users_task_is_another_one_than_another_users_on_the_topic() -> None:
    retained = RetainedValues()
    hers, his = (b"task:1", b"stamp", b"alice's"), (b"task:1", b"stamp", b"bob's")
    retained.keep_task(task_key("task:1", "alice"), hers, is_finished=False)
    retained.keep_task(task_key("task:1", "bob"), his, is_finished=True)
    assert retained.get(task_key("task:1", "alice")) == hers
    assert retained.of_topic("task:1") == (hers, his)
    assert retained.of_topic("task:") == ()
    first, after = retained.page("task:", b"", 1)
    assert after is not None
    assert (first, retained.page("task:", after, 1)) == ((hers,), ((his,), None))


def test_two_spellings_of_a_name_are_one_user() -> None:
    assert task_key("task:1", "Zoe\u0308") == task_key("task:1", "Zo\u00eb")
    assert topic_of(task_key("task:1", "a\nb")) == "task:1"


def task(topic: str) -> tuple[str, StampedFrames]:
    return topic, (topic.encode(), b"stamp", b"envelope")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["task:1", "task:2", "live:1", "live:2"]),
            st.sampled_from([None, "in_progress", "success", "error"]),
        ),
        max_size=30,
    )
)
def test_every_topic_is_remembered_once_with_its_last_event(
    events: list[tuple[str, str | None]],
) -> None:
    retained = RetainedValues()
    last = {
        topic: keep(retained, topic, str(number), status)
        for number, (topic, status) in enumerate(events)
    }
    assert sorted(frames_of(retained)) == sorted(last.values())


def test_pages_bring_everything_once_in_the_order_of_topics() -> None:
    retained = RetainedValues()
    for n in range(25):
        keep(retained, f"live:{n:02}", "x" * 100)
    pages = []
    after: bytes | None = b""
    while after is not None:
        items, after = retained.page("live:", after, max_bytes=400)
        pages.append([topic.decode() for topic, _, _ in items])
    assert [topic for page in pages for topic in page] == [f"live:{n:02}" for n in range(25)]
    assert all(len(page) == 3 for page in pages[:-1])


class Looked(str):
    """A topic that counts how often a page looks at a topic."""

    __slots__ = ()
    times = 0

    def startswith(self, *arguments: Any) -> bool:
        Looked.times += 1
        return super().startswith(*arguments)


def test_a_page_looks_at_its_own_values_alone() -> None:
    """Many small pages of many values would keep the relay busy."""
    retained = RetainedValues()
    for n in range(1_000):
        retained.keep_live(Looked(f"live:{n:04}"), (b"t", b"s", b"x" * 8))
        retained.keep_task(Looked(f"task:{n:04}\na"), (b"t", b"s", b"x"), is_finished=n % 2 == 0)
    for after in (b"", b"live:0500", b"task:0900\na"):
        Looked.times = 0
        items, _ = retained.page("", after, max_bytes=30)
        assert (len(items), Looked.times) == (len(items), len(items) + 1)
    Looked.times = 0
    assert len(retained.of_topic("task:0007")) == 1
    assert Looked.times == 2


@pytest.mark.parametrize("count", [3, 200])
def test_many_that_are_forgotten_at_once_are_in_no_page(count: int) -> None:
    retained = RetainedValues()
    small = MAX_GROUP_BYTES // 4 // count
    for n in range(count):
        keep(retained, f"live:small:{n:03}", "x" * small)
    for n in range(3):
        keep(retained, f"live:large:{n}", "x" * (MAX_GROUP_BYTES // 4 - 64))
    keep(retained, "task:1", "x")
    keep(retained, "live:last", "x" * (MAX_GROUP_BYTES // 4))
    items, after = retained.page("", b"", 2**30)
    assert after is None
    topics = [topic.decode() for topic, _, _ in items]
    assert topics == ["live:large:0", "live:large:1", "live:large:2", "live:last", "task:1"]


@pytest.mark.parametrize(("short_by", "count"), [(0, 2), (1, 1)])
def test_a_page_is_filled_up_to_its_last_byte(short_by: int, count: int) -> None:
    retained = RetainedValues()
    for topic in ("live:a", "live:b"):
        size = sum(map(len, keep(retained, topic, "x" * 100)))
    items, more = retained.page("", b"", max_bytes=2 * size - short_by)
    assert (len(items), more is not None) == (count, count < 2)


def test_an_event_above_the_page_size_is_a_page_of_its_own() -> None:
    retained = RetainedValues()
    for topic in ("live:a", "live:b"):
        keep(retained, topic, "x" * 100)
    items, more = retained.page("", b"", max_bytes=1)
    assert ([topic for topic, _, _ in items], more) == ([b"live:a"], b"live:a")


def test_a_group_is_bounded_in_bytes() -> None:
    retained = RetainedValues()
    size = MAX_GROUP_BYTES // 4
    for n in range(5):
        keep(retained, f"live:{n}", "x" * size)
    kept = topics_of(retained)
    assert kept == ["live:2", "live:3", "live:4"]


def test_events_of_1_mib_are_bounded_by_their_bytes() -> None:
    retained = RetainedValues()
    for n in range(50):
        keep(retained, f"live:{n:02}", "x" * 2**20)
        keep(retained, f"task:{n:02}", "x" * 2**20, "in_progress")
        keep(retained, f"task:done-{n:02}", "x" * 2**20, "success")
    for prefix in ("live:", "task:done-", "task:"):
        kept = frames_of(retained, prefix)
        groups = 2 if prefix == "task:" else 1
        assert sum(len(part) for frames in kept for part in frames) <= groups * MAX_GROUP_BYTES
        assert len(kept) == groups * 31


def test_a_page_is_bounded_in_count() -> None:
    retained = RetainedValues()
    for n in range(MAX_PAGE_EVENTS + 1):
        keep(retained, f"live:{n}", "")
    items, more = retained.page("", b"", max_bytes=2**30)
    assert (len(items), more is not None) == (MAX_PAGE_EVENTS, True)
    assert retained.page("", more or b"", max_bytes=2**30)[1] is None
