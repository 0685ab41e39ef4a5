"""The position of a client, and the tasks that it knows."""

from dataclasses import replace

import pytest

from edge.client.core import position
from edge.client.core.messages import Event, NewEpoch
from edge.client.core.position import KnownTasks, SeenPosition, can_match, is_epoch


@pytest.mark.parametrize(
    ("pattern", "stream", "expected"),
    [
        ("event:a", "event", True),
        ("event:*", "event", True),
        ("e*", "event", True),
        ("*", "task", True),
        ("app_log", "app_log", True),
        ("app_logs", "app_log", False),
        ("event", "events", False),
        ("resource-monitor:*", "event", False),
        ("event:a*", "task", False),
    ],
)
def test_patterns_that_can_match_a_stream(pattern: str, stream: str, expected: bool) -> None:
    assert can_match(pattern, stream) is expected


def test_an_offset_means_nothing_without_an_epoch() -> None:
    seen = SeenPosition()
    seen.advance("event", 5)
    assert seen.offsets == {}
    assert seen.adopt({"epoch": 1, "position": {"event": 5}}) is None
    seen.advance("event", 3)
    assert seen.offsets == {"event": 5}
    assert (seen.is_beyond("event", 5), seen.is_beyond("event", 6)) == (False, True)
    assert seen.is_beyond("event", None)


def test_another_epoch_forgets_the_offsets() -> None:
    seen = SeenPosition()
    seen.adopt({"epoch": 1, "position": {"event": 5, "task": 2}})
    assert seen.adopt({"epoch": 2, "position": {"event": 1}}) == NewEpoch(2, 1)
    assert seen.offsets == {"event": 1}
    assert seen.adopt({"position": {"event": 9}}) is None
    assert seen.offsets == {"event": 1}


def test_during_a_catch_up_known_streams_keep_their_offsets() -> None:
    seen = SeenPosition()
    seen.adopt({"epoch": 1, "position": {"event": 5}})
    seen.adopt({"epoch": 1, "position": {"event": 9, "task": 3}}, keeps_known=True)
    assert seen.offsets == {"event": 5, "task": 3}


def test_a_subscription_resumes_in_the_streams_that_it_can_match() -> None:
    seen = SeenPosition()
    seen.adopt({"epoch": "e", "position": {"event": 5, "task": 3}})
    assert seen.since("event:*") == {"event": 5}
    assert seen.since("*") == {"event": 5, "task": 3}
    assert seen.since("resource-monitor:a") is None


def test_values_that_are_no_epoch() -> None:
    assert [is_epoch(value) for value in (1, "e", None, True, 1.5)] == [True, True] + [False] * 3


def test_the_newest_update_of_a_task_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def update(number: int, offset: int) -> Event:
        return Event(f"task:{number}", {}, "task_update", "task", offset=offset)

    monkeypatch.setattr(position, "KNOWN_TASKS", 2)
    known = KnownTasks()
    assert not known.has(update(1, 0))
    known.add(replace(update(4, 0), offset=None))
    assert known.has(replace(update(4, 0), offset=None))
    assert not known.has(update(4, 1))
    known.add(update(1, 5))
    assert (known.has(update(1, 4)), known.has(update(1, 5)), known.has(update(1, 6))) == (
        True,
        True,
        False,
    )
    known.add(update(2, 6))
    known.add(update(1, 7))
    known.add(update(3, 8))
    assert [known.has(update(number, 1)) for number in (1, 2, 3)] == [True, False, True]
    assert known.unfinished == [
        replace(update(1, 7), retained=True),
        replace(update(3, 8), retained=True),
    ]
    ended = replace(update(3, 9), data={"status": "success"})
    known.add(ended)
    assert [event.topic for event in known.unfinished] == ["task:1"]
    known.clear()
    assert not known.has(update(1, 1))
