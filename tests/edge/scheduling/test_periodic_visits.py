"""`PeriodicVisits` tick by tick."""

import pytest

from edge.scheduling.periodic_visits import MAX_VISITS, PeriodicVisits


@pytest.mark.parametrize("count", [1, 3, 100])
def test_every_item_is_visited_once_in_an_interval(count: int) -> None:
    visits: list[tuple[float, int]] = []
    now = 0.0

    def visit(item: int) -> bool:
        visits.append((now, item))
        return True

    visits_due = PeriodicVisits(20.0, visit)
    for number in range(count):
        visits_due.add(number, now)
    for tick in range(1, 80 * 4 + 1):
        now = tick * 0.25
        visits_due.tick(now)
    assert visits == [(when, number) for when in (20, 40, 60, 80) for number in range(count)]


def test_items_that_come_or_go_do_not_move_the_others() -> None:
    present = {"first"}
    visited: list[str] = []

    def visit(item: str) -> bool:
        visited.append(item)
        return item in present

    visits_due = PeriodicVisits(20.0, visit)
    visits_due.add("first", 0.0)
    for number in range(5000):
        visits_due.add(f"crowd {number}", 1.0)
    visits_due.tick(19.75)
    assert visited == []
    visits_due.tick(20.0)
    assert visited == ["first"]
    visits_due.tick(21.0)
    assert len(visited) == 5001, "items that are gone do not count against the limit"
    visits_due.tick(39.75)
    visits_due.tick(40.0)
    assert visited[5001:] == ["first"]


def test_a_tick_makes_a_limited_number_of_visits() -> None:
    visited: list[int] = []

    def visit(item: int) -> bool:
        visited.append(item)
        return True

    visits_due = PeriodicVisits(20.0, visit)
    for number in range(2 * MAX_VISITS):
        visits_due.add(number, 0.0)
    visits_due.tick(20.0)
    assert visited == list(range(MAX_VISITS))
    visits_due.tick(20.25)
    assert visited == list(range(2 * MAX_VISITS))


def test_a_visit_that_fails_is_made_again() -> None:
    visited: list[int] = []

    def visit(item: int) -> bool:
        visited.append(item)
        raise RuntimeError("a fault of ours")

    visits_due = PeriodicVisits(20.0, visit)
    visits_due.add(1, 0.0)
    for now in (20.0, 40.0):
        with pytest.raises(RuntimeError):
            visits_due.tick(now)
    assert visited == [1, 1]
