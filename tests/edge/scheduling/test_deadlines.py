"""`Deadlines` on a clock that the test moves, and on a real loop."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from edge.scheduling.deadlines import Deadlines


class Timer:
    """A scheduled call."""

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        """As a loop's."""
        self.is_cancelled = True


class Clock:
    """The clock of a loop, and its timers."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        """As a loop's."""
        self.soon.append(partial(callback, *arguments))

    def turn(self) -> None:
        """Make the calls that were to be made soon."""
        soon, self.soon = self.soon, []
        for call in soon:
            call()

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
        """Let time pass, and call the timers that are due meanwhile."""
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


def test_after_close_nothing_is_due() -> None:
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


def test_with_too_many_items_the_oldest_is_due_at_once() -> None:
    clock, due = Clock(), list[str]()
    deadlines = Deadlines(cast(asyncio.AbstractEventLoop, clock), 5.0, due.append, 3)
    for number in range(5):
        deadlines.add(str(number))
        assert len(deadlines) <= 3
    clock.turn()
    assert due == ["0", "1"]
    clock.pass_by(5.0)
    assert due == ["0", "1", "2", "3", "4"]
    assert clock.pending == []


def test_items_that_come_again_may_be_too_many_for_the_list() -> None:
    """As connections that live longer than the timeout."""
    clock, due = Clock(), list[str]()

    def again(item: str) -> None:
        due.append(item)
        deadlines.add(item)

    deadlines = Deadlines(cast(asyncio.AbstractEventLoop, clock), 5.0, again, 2)
    for number in range(5):
        deadlines.add(str(number))
    for _ in range(2):
        clock.turn()
    assert due == ["0", "1", "2", "3", "4", "0"]
    assert len(deadlines) == 2
