"""Each user has a budget for the past, whatever the others do."""

import pytest

from edge.core import catch_up_budget
from edge.core.catch_up_budget import CatchUpBudget, CatchUpLimits

LIMITS = CatchUpLimits(events_per_s=10, event_burst=100, bytes_per_s=1000, byte_burst=5000)


def test_a_user_waits_once_the_burst_is_spent_and_as_long_as_the_debt_is() -> None:
    budget = CatchUpBudget(LIMITS)
    budget.spend("alice", 100, 0, now=1000)
    assert budget.wait_s("alice", 1000) == 0
    budget.spend("alice", 20, 0, now=1000)
    assert budget.wait_s("alice", 1000) == pytest.approx(2)
    assert budget.wait_s("alice", 1001.5) == pytest.approx(0.5)
    assert budget.wait_s("alice", 1002.5) == 0
    budget.spend("alice", 6, 0, now=1002.5)
    assert budget.wait_s("alice", 1002.5) == pytest.approx(0.1)


def test_bytes_count_beside_events() -> None:
    budget = CatchUpBudget(LIMITS)
    budget.spend("alice", 1, 8000, now=1000)
    assert budget.wait_s("alice", 1000) == pytest.approx(3)
    budget.spend("alice", 159, 0, now=1000)
    assert budget.wait_s("alice", 1000) == pytest.approx(6)


def test_each_user_has_a_budget() -> None:
    budget = CatchUpBudget(LIMITS)
    budget.spend("alice", 1000, 0, now=1000)
    assert budget.wait_s("bob", 1000) == 0
    budget.spend("bob", 1, 0, now=1000)
    assert budget.wait_s("bob", 1000) == 0
    assert budget.wait_s("alice", 1000) > 0


def test_a_bounded_number_of_users_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up_budget, "MAX_USERS", 2)
    budget = CatchUpBudget(LIMITS)
    for username in ("alice", "bob", "alice", "carol"):
        budget.spend(username, 1000, 0, now=1000)
    assert budget.wait_s("bob", 1000) == 0, "forgotten: its last step is the oldest"
    assert budget.wait_s("alice", 1000) > 0
    assert budget.wait_s("carol", 1000) > 0
