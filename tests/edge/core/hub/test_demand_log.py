"""The reports of an edge, and when they are due."""

import pytest

from edge.core.hub import demand_log
from edge.core.hub.demand_log import REFUSED_S, RENEW_S, RETRY_S, DemandLog, ReportedChanges
from relay.wire.demand import topic_digest

A, B, C = (topic_digest(f"live:{name}") for name in "abc")


@pytest.fixture
def log() -> DemandLog:
    """The relay knows version 1: `live:a`."""
    log = DemandLog()
    log.watch("live:a")
    assert log.report(0.0) == ReportedChanges(0, 1, (A,))
    log.take_reply(1, 0.0)
    return log


def test_an_edge_without_watchers_reports_nothing() -> None:
    assert DemandLog().report(1000.0) is None


def test_one_report_is_unanswered_at_a_time_and_the_next_one_has_all_changes(
    log: DemandLog,
) -> None:
    log.watch("live:b")
    assert log.report(0.1) == ReportedChanges(1, 2, (B,))
    log.watch("live:c")
    log.unwatch("live:a")
    log.unwatch("live:b")
    assert log.report(0.1) is None
    log.take_reply(2, 0.2)
    assert log.report(0.2) == ReportedChanges(2, 3, (C,), (A, B))


def test_an_unanswered_report_is_sent_again(log: DemandLog) -> None:
    log.watch("live:b")
    first = log.report(0.1)
    log.watch("live:c")
    assert log.report(0.1 + RETRY_S - 0.01) is None
    assert log.report(0.1 + RETRY_S) == first


def test_without_a_change_the_lease_is_renewed_while_anything_is_watched(log: DemandLog) -> None:
    assert log.report(RENEW_S - 0.01) is None
    assert log.report(RENEW_S) == ReportedChanges(1, 1)
    log.take_reply(1, RENEW_S)
    log.unwatch("live:a")
    assert log.report(RENEW_S) == ReportedChanges(1, 2, (), (A,))
    log.take_reply(2, RENEW_S)
    assert log.report(100.0) is None


def test_the_lease_is_counted_from_the_reply(log: DemandLog) -> None:
    log.watch("live:b")
    log.report(0.1)
    log.take_reply(2, 0.9)
    assert log.report(0.9 + RENEW_S - 0.01) is None
    assert log.report(0.9 + RENEW_S) == ReportedChanges(2, 2)


@pytest.mark.parametrize("version", [0, 1, 99])
def test_a_relay_that_knows_another_version_is_told_all(log: DemandLog, version: int) -> None:
    log.watch("live:b")
    assert log.report(0.1) is not None
    log.take_reply(version, 0.2)
    again = log.report(0.2)
    assert again is not None
    assert (again.after, again.version, set(again.watch)) == (0, 3, {A, B})


def test_a_restarted_relay_is_told_all(log: DemandLog) -> None:
    log.watch("live:b")
    log.report(0.1)
    log.begin_anew()
    again = log.report(0.1)
    assert again is not None
    assert (again.after, again.version, set(again.watch)) == (0, 3, {A, B})
    log.take_reply(2, 0.2)
    assert log.report(0.2) is not None, "that was the reply to the report before"


def test_all_is_told_in_bounded_reports(log: DemandLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand_log, "MAX_CHANGES", 2)
    log.watch("live:b")
    log.watch("live:c")
    log.begin_anew()
    first = log.report(0.1)
    assert first is not None
    assert (first.after, first.version, len(first.watch)) == (0, 2, 2)
    log.take_reply(2, 0.1)
    second = log.report(0.1)
    assert second is not None
    assert (second.after, second.version, len(second.watch)) == (2, 3, 1)
    assert {*first.watch, *second.watch} == {A, B, C}


def test_more_topics_than_a_relay_takes_are_not_reported(
    log: DemandLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand_log, "MAX_DEMAND_TOPICS", 2)
    log.watch("live:b")
    complete = [log.is_complete]
    assert log.report(0.1) == ReportedChanges(1, 2, (B,))
    log.take_reply(2, 0.1)
    log.watch("live:c")
    complete.append(log.is_complete)
    assert log.report(100.0) is None, "the lease of the earlier reports ends"
    log.unwatch("live:c")
    complete.append(log.is_complete)
    assert complete == [True, False, True]
    assert log.report(100.0) == ReportedChanges(2, 3, (), (C,))


def test_after_a_refusal_all_is_told_in_a_while(
    log: DemandLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand_log, "MAX_DEMAND_TOPICS", 2)
    log.watch("live:b")
    log.report(0.1)
    log.take_refusal(0.2)
    assert not log.is_complete
    log.watch("live:c")
    log.unwatch("live:b")
    assert log.report(0.2 + REFUSED_S - 0.01) is None
    again = log.report(0.2 + REFUSED_S)
    assert again is not None
    assert (again.after, set(again.watch), again.unwatch) == (0, {A, C}, ())
    assert log.is_complete


def test_a_report_that_the_socket_did_not_take_is_due_at_once(log: DemandLog) -> None:
    log.watch("live:b")
    first = log.report(0.1)
    log.was_not_sent()
    assert log.report(0.1) == first
    assert log.report(0.1) is None
