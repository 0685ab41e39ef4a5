"""`TimeSlicedQueue` on a loop whose turns the test makes, with a clock that the test moves."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.scheduling import time_slices
from edge.scheduling.time_slices import SLICE_S, TimeSlicedQueue


class TurnByTurn:
    """A loop with a clock. One turn calls the callbacks that were due when it began."""

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
        raise AssertionError("the loop never rests")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> TurnByTurn:
    loop = TurnByTurn()
    monkeypatch.setattr(time_slices, "time", loop)
    return loop


def on(loop: TurnByTurn) -> TimeSlicedQueue:
    return TimeSlicedQueue(cast(asyncio.AbstractEventLoop, loop))


def work(loop: TurnByTurn, done: list[Any], name: object, takes_s: float) -> Callable[[], None]:
    def piece() -> None:
        loop.now += takes_s
        done.append(name)

    return piece


def test_work_within_the_slice_is_done_at_once(loop: TurnByTurn) -> None:
    queue, done = on(loop), list[int]()
    for number in range(4):
        queue.run(work(loop, done, number, SLICE_S / 5))
        assert done == list(range(number + 1))
    assert len(queue) == 0


def test_a_turn_is_not_longer_than_a_slice_and_its_last_piece(loop: TurnByTurn) -> None:
    queue, done = on(loop), list[int]()
    for number in range(100):
        queue.run(work(loop, done, number, SLICE_S / 3.5))
    at_once = len(done)
    assert (at_once, len(queue)) == (4, 96)
    while len(done) < 100:
        before = len(done)
        began_at = loop.now
        loop.turn()
        assert len(done) > before, "it goes on in every turn"
        assert loop.now - began_at <= SLICE_S * (1 + 1 / 3.5)
        loop.now += 1  # What else there was to do.
    assert done == list(range(100))


def test_work_that_comes_when_the_slice_is_spent_waits_for_the_next_turn(loop: TurnByTurn) -> None:
    queue, done = on(loop), list[str]()
    queue.run(work(loop, done, "long", 10 * SLICE_S))
    queue.run(work(loop, done, "next", 0))
    assert done == ["long"]
    loop.turn()
    assert done == ["long", "next"]
    loop.rest()
    queue.run(work(loop, done, "later", 0))
    assert done == ["long", "next", "later"]


def test_an_empty_queue_schedules_nothing(loop: TurnByTurn) -> None:
    queue, done = on(loop), list[int]()
    queue.run(work(loop, done, 1, 0))
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
def test_all_work_is_done_once_and_in_order_of_arrival(
    steps: list[tuple[str, float]],
) -> None:
    """Also work that work adds, and whatever fails in between."""
    loop = TurnByTurn()
    came: list[int] = []
    done: list[int] = []
    logging.disable(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_slices, "time", loop)
        queue = on(loop)

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

            queue.run(piece)

        for kind, takes_s in steps:
            if kind == "turn":
                loop.turn()
            else:
                run(kind, takes_s)
            assert len(came) == len(done) + len(queue)
        loop.rest()
    logging.disable(logging.NOTSET)
    assert done == came
    assert len(queue) == 0


def test_a_piece_that_fails_is_logged_and_does_not_stop_the_others(
    loop: TurnByTurn, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a fault of ours")

    queue, done = on(loop), list[int]()
    queue.run(work(loop, done, 1, SLICE_S))
    queue.run(fail)
    queue.run(work(loop, done, 2, 0))
    loop.rest()
    assert done == [1, 2]
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == [
        "a fault of ours"
    ]


def test_the_wait_is_that_of_the_oldest_work(loop: TurnByTurn) -> None:
    queue, done = on(loop), list[int]()
    assert queue.wait_s == 0
    for number in range(500):
        queue.run(work(loop, done, number, 0.002))
    waited_s = 0.0
    while len(queue):
        assert queue.wait_s >= waited_s, "later work came when the first did, or later"
        waited_s = queue.wait_s
        loop.turn()
    assert waited_s == pytest.approx(500 * 0.002, rel=0.05)
    assert queue.wait_s == 0, "nothing waits"


def test_parties_take_turns_and_each_keeps_its_order(loop: TurnByTurn) -> None:
    queue, done = on(loop), list[str]()
    queue.run(work(loop, done, "first", SLICE_S))
    for number in range(100):
        queue.run(work(loop, done, f"mallory {number}", SLICE_S), "mallory")
    for number in range(3):
        queue.run(work(loop, done, f"alice {number}", SLICE_S), "alice")
    queue.run(work(loop, done, "a handshake", SLICE_S))
    loop.rest()
    others = [name for name in done if not name.startswith("mallory")]
    assert others == ["first", "alice 0", "a handshake", "alice 1", "alice 2"]
    assert done.index("alice 2") <= 8, "each waits for one piece of every other one at a time"
    mallory = [int(name.split()[1]) for name in done if name.startswith("mallory")]
    assert mallory == list(range(100))
    assert len(queue) == 0


def test_a_party_that_has_sent_much_makes_the_wait_of_others_no_longer(loop: TurnByTurn) -> None:
    """Or new clients would be refused because of it."""
    queue, done = on(loop), list[int]()
    queue.run(work(loop, done, 0, SLICE_S))
    for number in range(500):
        queue.run(work(loop, done, number, SLICE_S), "mallory")
    while len(queue):
        assert queue.wait_s <= 2 * SLICE_S
        loop.turn()
