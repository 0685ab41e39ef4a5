"""`Deadlines` on a clock that the test moves, and on a real loop; `Rounds` tick by tick."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.deadlines import Deadlines, Rounds


class Timer:
    """A call to come."""

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        """As a loop's."""
        self.is_cancelled = True


class Clock:
    """A loop of which there is nothing but its time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        """As a loop's."""
        return self.now

    def call_at(self, at: float, callback: Callable[[], None]) -> Timer:
        """As a loop's."""
        self.timers.append(Timer(at, callback))
        assert len(self.pending) <= 1, "one timer is enough"
        return self.timers[-1]

    @property
    def pending(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    def pass_by(self, seconds: float) -> None:
        """Let time pass, and call what is due meanwhile."""
        self.now += seconds
        while due := [timer for timer in self.pending if timer.at <= self.now]:
            self.timers.remove(due[0])
            due[0].callback()


def on(clock: Clock, timeout_s: float, on_due: Callable[[str], None]) -> Deadlines[str]:
    return Deadlines(cast(asyncio.AbstractEventLoop, clock), timeout_s, on_due)


@given(st.lists(st.floats(0, 3), max_size=20))
def test_each_item_is_due_after_the_timeout_and_once(pauses: list[float]) -> None:
    clock, due = Clock(), list[tuple[float, str]]()
    deadlines = on(clock, 5.0, lambda item: due.append((clock.now, item)))
    added: list[tuple[float, str]] = []
    for number, pause in enumerate(pauses):
        clock.pass_by(pause)
        added.append((clock.now, str(number)))
        deadlines.add(str(number))
        assert [item for _, item in due] == [item for at, item in added if at + 5.0 <= clock.now]
    clock.pass_by(4.99)
    clock.pass_by(0.02)
    assert [item for _, item in due] == [item for _, item in added]
    assert all(was - at >= 5.0 for (was, _), (at, _) in zip(due, added, strict=True))
    assert clock.pending == [], "nothing is left to wait for"


def test_an_item_may_be_added_again_when_it_is_due() -> None:
    clock, due = Clock(), list[str]()

    def again(item: str) -> None:
        due.append(item)
        deadlines.add(item)

    deadlines = on(clock, 5.0, again)
    deadlines.add("a")
    deadlines.add("b")
    for _ in range(3):
        clock.pass_by(5.0)
    assert due == ["a", "b"] * 3


def test_what_is_closed_forgets_everything() -> None:
    clock, due = Clock(), list[str]()
    deadlines = on(clock, 5.0, due.append)
    deadlines.add("a")
    deadlines.close()
    deadlines.close()
    clock.pass_by(100)
    assert (due, clock.pending) == ([], [])


def test_on_a_real_loop_items_are_due_in_their_order() -> None:
    async def wait() -> list[int]:
        all_due = asyncio.Event()
        due: list[int] = []

        def on_due(item: int) -> None:
            due.append(item)
            if len(due) == 3:
                all_due.set()

        deadlines = Deadlines[int](asyncio.get_running_loop(), 0.01, on_due)
        for number in range(3):
            deadlines.add(number)
        async with asyncio.timeout(10):
            await all_due.wait()
        return due

    assert asyncio.run(wait()) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 3, 100])
def test_every_item_is_visited_once_in_an_interval(count: int) -> None:
    visits: Counter[int] = Counter()

    def visit(item: int) -> bool:
        visits[item] += 1
        return True

    rounds = Rounds(20.0, visit)
    for number in range(count):
        rounds.add(number)
    for elapsed in range(1, 80 * 10 + 1):
        rounds.tick(0.25)
        # Each interval may become a tick longer.
        least, most = elapsed * 0.25 / 20.25 - 1.01, elapsed * 0.25 / 20.0 + 1.01
        assert all(least <= visits[number] <= most for number in range(count))
    assert all(9 <= visits[number] <= 10 for number in range(count))


def test_the_visits_of_many_are_spread_over_the_interval() -> None:
    visited: list[int] = []

    def visit(item: int) -> bool:
        visited.append(item)
        return True

    rounds = Rounds(20.0, visit)
    for number in range(800):
        rounds.add(number)
    for tick in range(1, 81):
        rounds.tick(0.25)
        assert abs(len(visited) - tick * 10) <= 1
    assert visited[:790] == list(range(790))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("tick"), st.floats(0, 100)),
            st.tuples(st.just("add"), st.just(0.0)),
            st.tuples(st.just("leave"), st.just(0.0)),
        ),
        max_size=60,
    )
)
def test_nobody_is_visited_twice_in_a_tick_nor_after_leaving(
    steps: list[tuple[str, float]],
) -> None:
    present: list[int] = []
    visited: list[int] = []
    told: set[int] = set()

    def visit(item: int) -> bool:
        visited.append(item)
        if item not in present:
            assert item not in told, "it was said to be gone"
            told.add(item)
            return False
        return True

    rounds = Rounds(20.0, visit)
    for number, (step, seconds) in enumerate(steps):
        visited.clear()
        if step == "tick":
            rounds.tick(seconds)
        elif step == "add":
            present.append(number)
            rounds.add(number)
        elif present:
            present.pop(0)
        assert len(visited) == len(set(visited))
    visited.clear()
    rounds.tick(20.0)
    assert set(visited) >= set(present), "nobody is forgotten"
