"""The union of what edges watch: versions, leases, and what emitters lack."""

import pytest

from relay.core import demand as demand_module
from relay.core.demand import LEASE_S, Demand, DemandDifference, DemandRefused, DemandReport

EDGE, OTHER = b"e" * 16, b"o" * 16


@pytest.fixture
def demand() -> Demand:
    demand = Demand(epoch=7)
    demand.expire(0.0)
    assert demand.report(EDGE, DemandReport(0, 1, [1, 2]), 0.0) == 1
    return demand


def test_changes_follow_each_other(demand: Demand) -> None:
    assert demand.report(EDGE, DemandReport(1, 2, watch=[3], unwatch=[1]), 0.0) == 2
    assert [each in demand for each in (1, 2, 3)] == [False, True, True]


def test_a_report_that_comes_again_changes_nothing(demand: Demand) -> None:
    demand.report(EDGE, DemandReport(1, 2, unwatch=[1]), 0.0)
    before = demand.version
    assert demand.report(EDGE, DemandReport(0, 1, [1, 2]), 0.0) == 2, "an older one, late"
    assert demand.report(EDGE, DemandReport(1, 2, unwatch=[1]), 0.0) == 2
    assert (demand.version, len(demand)) == (before, 1)


def test_a_first_report_that_comes_again_changes_nothing(demand: Demand) -> None:
    """Its reply was lost. Otherwise every emitter would be told of all its topics once more."""
    assert demand.report(EDGE, DemandReport(0, 1, [1, 2]), 0.0) == 1
    assert demand.difference(2) == DemandDifference(2, 2, [], [])


def test_a_report_after_a_hole_is_not_taken(demand: Demand) -> None:
    assert demand.report(EDGE, DemandReport(2, 3, [3]), 0.0) == 1
    assert demand.report(OTHER, DemandReport(5, 6, [3]), 0.0) == 0, "nothing is known of it"
    assert 3 not in demand


def test_a_report_that_begins_anew_replaces_all(demand: Demand) -> None:
    assert demand.report(EDGE, DemandReport(0, 9, [2, 3]), 0.0) == 9
    assert [each in demand for each in (1, 2, 3)] == [False, True, True]


def test_a_topic_is_watched_as_long_as_one_edge_watches_it(demand: Demand) -> None:
    demand.report(OTHER, DemandReport(0, 1, [2, 3]), 0.0)
    demand.report(EDGE, DemandReport(1, 2, unwatch=[1, 2]), 0.0)
    assert [each in demand for each in (1, 2, 3)] == [False, True, True]
    demand.report(OTHER, DemandReport(1, 2, unwatch=[2]), 0.0)
    assert 2 not in demand


def test_the_reports_of_a_silent_edge_end(demand: Demand) -> None:
    demand.report(OTHER, DemandReport(0, 1, [2]), 0.0)
    for second in range(1, int(LEASE_S) + 2):
        demand.report(OTHER, DemandReport(1, 1), float(second))
        demand.expire(float(second))
    assert [each in demand for each in (1, 2)] == [False, True]
    assert demand.report(EDGE, DemandReport(1, 1), 9.0) == 0, "it begins anew"


def test_a_relay_that_stood_still_gives_every_edge_another_lease(demand: Demand) -> None:
    for second in range(60, 60 + int(LEASE_S) + 1):
        demand.expire(float(second))
        assert 1 in demand
    demand.expire(60 + LEASE_S + 1)
    assert 1 not in demand


@pytest.mark.parametrize(("pause_s", "is_renewed"), [(3.5, False), (3.6, True)])
def test_a_relay_stood_still_if_it_was_a_second_later_than_half_a_lease(
    demand: Demand, pause_s: float, is_renewed: bool
) -> None:
    demand.expire(pause_s)
    demand.expire(LEASE_S + 0.1)
    assert (1 in demand) is is_renewed


def test_the_difference_holds_the_last_change_of_each_topic(demand: Demand) -> None:
    assert demand.version == 2
    demand.report(EDGE, DemandReport(1, 2, watch=[3], unwatch=[1]), 0.0)
    demand.report(EDGE, DemandReport(2, 3, watch=[1], unwatch=[3]), 0.0)
    found = demand.difference(2)
    assert found == DemandDifference(2, 6, watch=[1], unwatch=[3])
    assert demand.difference(6) == DemandDifference(6, 6, [], [])
    assert demand.difference(7) is None, "of another relay"


def test_old_changes_are_forgotten() -> None:
    demand = Demand(7, max_kept_changes=3)
    demand.report(EDGE, DemandReport(0, 1, range(5)), 0.0)
    assert demand.difference(1) is None
    assert demand.difference(2) == DemandDifference(2, 5, [2, 3, 4], [])


def test_all_topics_come_in_pages(demand: Demand) -> None:
    demand.report(OTHER, DemandReport(0, 1, [2**64 - 1, 5, 3]), 0.0)
    assert demand.page(None, 3) == ([1, 2, 3], 3)
    assert demand.page(3, 3) == ([5, 2**64 - 1], None)


@pytest.mark.parametrize(
    ("bound", "value"), [("MAX_DEMAND_TOPICS", 4), ("MAX_TOPICS", 5), ("MAX_EDGES", 2)]
)
def test_an_edge_that_reaches_a_bound_is_taken(
    demand: Demand, bound: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand_module, bound, value)
    assert demand.report(OTHER, DemandReport(0, 1, [2, 3, 4, 5]), 0.0) == 1
    assert len(demand) == 5


@pytest.mark.parametrize(
    ("bound", "value"), [("MAX_DEMAND_TOPICS", 3), ("MAX_TOPICS", 4), ("MAX_EDGES", 1)]
)
def test_an_edge_beyond_a_bound_is_refused_and_the_others_are_not_harmed(
    demand: Demand, bound: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand_module, bound, value)
    with pytest.raises(DemandRefused):
        demand.report(OTHER, DemandReport(0, 1, [2, 3, 4, 5]), 0.0)
    assert [each in demand for each in range(1, 6)] == [True, True, False, False, False]
    assert demand.report(EDGE, DemandReport(1, 2, unwatch=[1]), 0.0) == 2
