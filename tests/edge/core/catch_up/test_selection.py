"""Which records are sent, by topic and offset."""

from typing import Any

import pytest

from edge.core.catch_up import selection as module
from edge.core.catch_up.coverage import Coverage, CoverageList
from edge.core.catch_up.selection import PendingSubscription, PersonalSelection, Selection
from edge.core.protocol.requests import Subscribe
from edge.core.streams.streams import Streams
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.journal import record

A, B, ALL = (parse_pattern(text) for text in ("event:a", "event:b", "event:*"))


@pytest.fixture
def streams() -> Streams:
    streams = Streams(served_prefixes=("event:", "task:"))
    streams.synchronize(1, {"event": 20, "task": 5, "audit": 5}, {})
    return streams


def since(pattern: Pattern, offset: int, **more: Any) -> PendingSubscription:
    request = Subscribe(pattern, since={"event": offset}, epoch=1)
    return PendingSubscription(request, (pattern,), {"event": offset}, **more)


def wanted(selection: Selection, topic: str = "event:a") -> list[int]:
    return [offset for offset in range(1, 21) if selection.wants(record(offset, topic))]


def test_a_topic_is_replayed_from_the_lowest_offset_that_selects_it(streams: Streams) -> None:
    selection = Selection([since(ALL, 15), since(A, 12)], CoverageList([]), streams)
    assert wanted(selection) == list(range(13, 21))
    assert wanted(selection, "event:b") == list(range(16, 21))
    assert wanted(selection, "audit:a") == [], "this edge does not serve it"
    assert selection.offsets() == ({"event": 12}, {"event": 15})


def test_covered_events_are_not_sent_again(streams: Streams) -> None:
    live = Coverage(B, (B,), {"event": 10})
    selection = Selection([since(ALL, 5)], CoverageList([live]), streams)
    assert wanted(selection, "event:b") == list(range(6, 11))
    assert wanted(selection) == list(range(6, 21))
    selection.replace_coverage(B, {"event": 14}, None)
    assert wanted(selection, "event:b") == [*range(6, 11), *range(15, 21)]


def test_the_newest_events_are_sent_though_they_are_covered(streams: Streams) -> None:
    pending = PendingSubscription(Subscribe(A, last=3), (A,))
    live = Coverage(ALL, (ALL,), {"event": 0})
    selection = Selection([pending], CoverageList([live]), streams)
    assert selection.searches() == [(pending, "event")]
    assert wanted(selection) == []
    selection.set_newest(pending, "event", after=12, until=15)
    assert wanted(selection) == [13, 14, 15], "later events come live"


def test_a_pattern_selects_what_any_of_its_selectors_does(streams: Streams) -> None:
    everything = parse_pattern("*")
    request = Subscribe(everything, since={"event": 15}, epoch=1)
    pending = PendingSubscription(request, (A, B), {"event": 15})
    selection = Selection([pending], CoverageList([]), streams)
    counts = [len(wanted(selection, topic)) for topic in ("event:a", "event:b", "event:c")]
    assert counts == [5, 5, 0]
    selected = [pending.selects(topic) for topic in ("event:a", "event:b", "event:c")]
    assert selected == [True, True, False]


def test_a_withdrawn_subscription_selects_nothing(streams: Streams) -> None:
    selection = Selection([since(A, 5), since(B, 5)], CoverageList([]), streams)
    assert wanted(selection)
    selection.withdraw(A)
    assert (wanted(selection), selection.is_active) == ([], True)
    selection.withdraw(B)
    assert not selection.is_active


def test_a_role_that_is_lost_ends_a_subscription_for_good(streams: Streams) -> None:
    pending = since(A, 5)
    selection = Selection([pending], CoverageList([]), streams)
    assert wanted(selection)
    selection.restrict(lambda _: ())
    selection.restrict(lambda pattern: (pattern,))
    assert (wanted(selection), pending.selectors, pending.recovered) == ([], (), False)


def test_a_role_that_allows_less_narrows_what_is_replayed(streams: Streams) -> None:
    everything = parse_pattern("*")
    request = Subscribe(everything, since={"event": 5}, epoch=1)
    pending = PendingSubscription(request, (everything,), {"event": 5})
    selection = Selection([pending], CoverageList([]), streams)
    assert wanted(selection, "event:b")
    selection.restrict(lambda _: (A,))
    assert wanted(selection, "event:b") == []
    assert wanted(selection) == list(range(6, 21))


def test_a_role_that_allows_the_same_changes_nothing(streams: Streams) -> None:
    pending = since(A, 5)
    selection = Selection([pending], CoverageList([]), streams)
    selection.restrict(lambda pattern: (pattern,))
    assert pending.recovered
    assert wanted(selection) == list(range(6, 21))


def test_a_bounded_number_of_topics_is_remembered(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WINDOWS", 3)
    selection = Selection([since(ALL, 5)], CoverageList([]), streams)
    for number in range(20):
        assert selection.wants(record(6, f"event:{number}"))
        assert len(selection._windows) <= 3
    assert wanted(selection) == list(range(6, 21))


def test_tasks_are_selected_whatever_the_subscriptions(streams: Streams) -> None:
    selection = PersonalSelection({"task": 3}, streams)
    selection.withdraw(parse_pattern("task:1"))
    selection.restrict(lambda _: ())
    assert selection.is_active
    assert selection.wants(record(4, "task:1"))
    assert selection.offsets() == ({"task": 3}, {"task": 3})
    assert selection.searches() == []
