"""`Slices` on a loop whose turns the test makes, with a clock that the test moves."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.scheduling import time_slices as slices
from edge.scheduling.time_slices import SLICE_S, Slices


class TurnByTurn:
    """A loop that does in one turn what was due when it began, and a clock."""

    def __init__(self) -> None:
        self._due: deque[Callable[[], object]] = deque()
        self.now = 100.0

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self.now

    def call_soon(self, callback: Callable[..., object], *arguments: object) -> None:
        """As a loop's."""
        self._due.append(partial(callback, *arguments))

    def turn(self) -> bool:
        """Make one turn; return whether there was anything to do."""
        due = len(self._due)
        for _ in range(due):
            self._due.popleft()()
        return bool(due)

    def rest(self) -> int:
        """Make turns until nothing is due; return how many that were."""
        for count in range(10_000):
            if not self.turn():
                return count
        raise AssertionError("it goes on for ever")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> TurnByTurn:
    loop = TurnByTurn()
    monkeypatch.setattr(slices, "time", loop)
    return loop


def on(loop: TurnByTurn) -> Slices:
    return Slices(cast(asyncio.AbstractEventLoop, loop))


def work(loop: TurnByTurn, done: list[Any], name: object, takes_s: float) -> Callable[[], None]:
    def piece() -> None:
        loop.now += takes_s
        done.append(name)

    return piece


def test_what_there_is_time_for_is_done_at_once(loop: TurnByTurn) -> None:
    work_slices, done = on(loop), list[int]()
    for number in range(4):
        work_slices.run(work(loop, done, number, SLICE_S / 5))
        assert done == list(range(number + 1))
    assert len(work_slices) == 0


def test_a_turn_is_not_longer_than_a_slice_and_its_last_piece(loop: TurnByTurn) -> None:
    work_slices, done = on(loop), list[int]()
    for number in range(100):
        work_slices.run(work(loop, done, number, SLICE_S / 3.5))
    at_once = len(done)
    assert (at_once, len(work_slices)) == (4, 96)
    while len(done) < 100:
        before = len(done)
        began_at = loop.now
        loop.turn()
        assert len(done) > before, "it goes on in every turn"
        assert loop.now - began_at <= SLICE_S * (1 + 1 / 3.5)
        loop.now += 1  # What else there was to do.
    assert done == list(range(100))


def test_what_comes_in_a_turn_whose_slice_is_spent_waits_for_the_next(loop: TurnByTurn) -> None:
    work_slices, done = on(loop), list[str]()
    work_slices.run(work(loop, done, "long", 10 * SLICE_S))
    work_slices.run(work(loop, done, "next", 0))
    assert done == ["long"]
    loop.turn()
    assert done == ["long", "next"]
    loop.rest()
    work_slices.run(work(loop, done, "later", 0))
    assert done == ["long", "next", "later"]


def test_it_asks_for_no_turns_when_there_is_nothing_to_do(loop: TurnByTurn) -> None:
    work_slices, done = on(loop), list[int]()
    work_slices.run(work(loop, done, 1, 0))
    assert loop.rest() <= 2


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("run"), st.sampled_from([0.0, SLICE_S / 4, SLICE_S * 2])),
            st.tuples(st.just("nest"), st.sampled_from([0.0, SLICE_S * 2])),
            st.tuples(st.just("fail"), st.just(SLICE_S / 4)),
            st.tuples(st.just("turn"), st.just(0.0)),
        ),
        max_size=40,
    )
)
def test_everything_is_done_once_and_in_the_order_in_which_it_came(
    steps: list[tuple[str, float]],
) -> None:
    """Also what work itself brings, and whatever fails in between."""
    loop = TurnByTurn()
    came: list[int] = []
    done: list[int] = []
    logging.disable(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "time", loop)
        work_slices = on(loop)

        def run(kind: str, takes_s: float) -> None:
            number = len(came)
            came.append(number)

            def piece() -> None:
                loop.now += takes_s
                done.append(number)
                if kind == "nest":
                    run("run", takes_s)
                if kind == "fail":
                    raise RuntimeError("a fault of ours")

            work_slices.run(piece)

        for kind, takes_s in steps:
            if kind == "turn":
                loop.turn()
            else:
                run(kind, takes_s)
            assert len(came) == len(done) + len(work_slices)
        loop.rest()
    logging.disable(logging.NOTSET)
    assert done == came
    assert len(work_slices) == 0


def test_a_piece_that_fails_is_logged_and_does_not_stop_the_others(
    loop: TurnByTurn, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a fault of ours")

    work_slices, done = on(loop), list[int]()
    work_slices.run(work(loop, done, 1, SLICE_S))
    work_slices.run(fail)
    work_slices.run(work(loop, done, 2, 0))
    loop.rest()
    assert done == [1, 2]
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == [
        "a fault of ours"
    ]


def test_the_wait_is_how_long_what_is_next_has_waited(loop: TurnByTurn) -> None:
    work_slices, done = on(loop), list[int]()
    assert work_slices.wait_s == 0
    for number in range(500):
        work_slices.run(work(loop, done, number, 0.002))
    waited_s = 0.0
    while len(work_slices):
        assert work_slices.wait_s >= waited_s, "what is behind came when the first did, or later"
        waited_s = work_slices.wait_s
        loop.turn()
    assert waited_s == pytest.approx(500 * 0.002, rel=0.05)
    assert work_slices.wait_s == 0, "nothing waits"
