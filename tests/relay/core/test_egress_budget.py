"""The bytes that wait for a subscriber, from what the kernel tells of its connection."""

import pytest

from relay.core.egress_budget import LOOKS_PER_BUDGET, EgressBudget, KernelState, wire_bytes

BUDGET = 1000
FREE, BLOCKED = KernelState(False, 0), KernelState(True, 0)


@pytest.fixture
def budget() -> EgressBudget:
    budget = EgressBudget(BUDGET)
    budget.begin(5)
    return budget


def test_more_than_the_budget_cannot_wait_while_less_was_published(budget: EgressBudget) -> None:
    budget.publish(BUDGET)
    assert budget.look({5: BLOCKED}) == []
    budget.publish(1)
    assert budget.look({5: BLOCKED}) == [5]


def test_bytes_that_were_published_before_the_kernel_took_more_do_not_wait(
    budget: EgressBudget,
) -> None:
    budget.publish(BUDGET)
    assert budget.look({5: FREE}) == []
    budget.publish(BUDGET)
    assert budget.look({5: BLOCKED}) == []
    budget.publish(1)
    assert budget.look({5: BLOCKED}) == [5]


def test_acknowledged_bytes_do_not_wait(budget: EgressBudget) -> None:
    budget.publish(300)
    budget.look({5: KernelState(False, 250)})
    budget.publish(5 * BUDGET)
    assert budget.look({5: KernelState(True, 250 + 4 * BUDGET)}) == []
    assert budget.look({5: KernelState(True, 250 + 4 * BUDGET - 1)}) == [5]


def test_a_new_connection_begins_with_nothing_and_each_is_judged_alone(
    budget: EgressBudget,
) -> None:
    budget.publish(BUDGET)
    budget.begin(6)
    budget.publish(1)
    assert budget.look({5: BLOCKED, 6: BLOCKED}) == [5]
    budget.end(5)
    assert len(budget) == 1
    budget.publish(BUDGET)
    assert budget.look({6: BLOCKED}) == [6]


def test_a_connection_that_reads_hides_none_that_does_not(budget: EgressBudget) -> None:
    budget.begin(6)
    budget.publish(BUDGET + 1)
    assert budget.look({5: FREE, 6: BLOCKED}) == [6]


def test_a_look_is_due_many_times_within_the_budget() -> None:
    budget = EgressBudget(BUDGET * LOOKS_PER_BUDGET)
    assert budget.publish(1)
    budget.look({})
    assert not budget.publish(BUDGET - 1)
    assert budget.publish(1)


@pytest.mark.parametrize(("body", "heads"), [(0, 6), (255, 6), (256, 13)])
def test_the_heads_of_frames_count(body: int, heads: int) -> None:
    event = (b"event:a", bytes(25), bytes(body))
    assert wire_bytes([event, event]) == 2 * (7 + 25 + body + heads)
