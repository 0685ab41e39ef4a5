"""`TimeSlicedQueue` on a loop whose turns the test makes, with a clock that the test moves."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.scheduling import time_slices
from edge.scheduling.time_slices import SLICE_S, Party, TimeSlicedQueue
from relay.shared.time_share import TimeShare


class Timer:
    """As a `TimerHandle`."""

    is_cancelled = False

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at = at
        self.callback = callback

    def cancel(self) -> None:
        """As a handle's."""
        self.is_cancelled = True


class TurnByTurn:
    """A loop with a clock. One turn calls the callbacks that were due when it began."""

    def __init__(self) -> None:
        self._due: deque[Callable[[], object]] = deque()
        self.timers: list[Timer] = []
        self.now = 100.0

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self.now

    # All time that passes is the processor's.
    thread_time = monotonic

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: object) -> Timer:
        """As a loop's."""
        self.timers.append(Timer(self.now + delay_s, partial(callback, *args)))
        return self.timers[-1]

    def pass_time(self) -> None:
        """Let the time come at which the next timer is due, and call it."""
        self.timers.sort(key=lambda timer: timer.at)
        timer = self.timers.pop(0)
        self.now = max(self.now, timer.at)
        timer.callback()

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


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Log nothing."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


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
    with pytest.MonkeyPatch.context() as patch, silence():
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
    assert queue.wait_s() == 0
    for number in range(500):
        queue.run(work(loop, done, number, 0.002))
    waited_s = 0.0
    while len(queue):
        assert queue.wait_s() >= waited_s, "later work came when the first did, or later"
        waited_s = queue.wait_s()
        loop.turn()
    assert waited_s == pytest.approx(500 * 0.002, rel=0.05)
    assert queue.wait_s() == 0, "nothing waits"


def test_parties_take_turns_and_each_keeps_its_order(loop: TurnByTurn) -> None:
    queue, done = on(loop), list[str]()
    queue.run(work(loop, done, "first", SLICE_S))
    for number in range(100):
        queue.run(work(loop, done, f"mallory {number}", SLICE_S), Party("mallory", has_share=False))
    for number in range(3):
        queue.run(work(loop, done, f"alice {number}", SLICE_S), Party("alice", has_share=False))
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
        queue.run(work(loop, done, number, SLICE_S), Party("mallory", has_share=False))
    while len(queue):
        assert queue.wait_s() <= 2 * SLICE_S
        loop.turn()


def test_the_wait_of_a_party_is_that_of_its_own_oldest_work(loop: TurnByTurn) -> None:
    """Thousands of handshakes of one address: it is told to come back, and others are not."""
    queue, done = on(loop), list[int]()
    storm, other = (Party(name, has_share=False) for name in ("storm", "other"))
    queue.run(work(loop, done, 0, SLICE_S))
    for number in range(500):
        queue.run(work(loop, done, number, SLICE_S), storm)
    began_at = loop.now
    while len(queue) > 1:
        loop.turn()
        assert queue.wait_s(storm) == pytest.approx(loop.now - began_at, abs=3 * SLICE_S)
        assert queue.wait_s(other) <= 2 * SLICE_S


MALLORY, ALICE = (Party(name, has_share=True) for name in ("mallory", "alice"))
SHARE, BURST_S = 0.1, 1.0


def shared(loop: TurnByTurn) -> TimeSlicedQueue:
    return TimeSlicedQueue(cast(asyncio.AbstractEventLoop, loop), TimeShare(SHARE, BURST_S))


def test_a_party_that_has_taken_more_than_its_share_rests_and_loses_nothing(
    loop: TurnByTurn,
) -> None:
    queue, done = shared(loop), list[str]()
    began_at = loop.now
    for number in range(200):
        queue.run(work(loop, done, f"mallory {number}", BURST_S / 10), MALLORY)
        queue.run(work(loop, done, f"alice {number}", 0), ALICE)
        loop.rest()
    alices = [f"alice {number}" for number in range(200)]
    assert [name for name in done if name in alices] == alices, "others do not wait for it"
    assert len(done) < 215
    assert queue.rests == 1
    while len(queue):
        loop.pass_time()
        loop.rest()
    assert [name for name in done if name not in alices] == [f"mallory {n}" for n in range(200)]
    spent_s, took_s = 200 * BURST_S / 10, loop.now - began_at
    assert spent_s <= SHARE * took_s + BURST_S + BURST_S / 10


def test_the_work_of_a_resting_party_makes_no_wait(loop: TurnByTurn) -> None:
    """New clients would be refused because of it."""
    queue, done = shared(loop), list[str]()
    queue.run(work(loop, done, "much", 10 * BURST_S), MALLORY)
    queue.run(work(loop, done, "more", 0), MALLORY)
    loop.now += 1
    assert (len(queue), queue.wait_s()) == (1, 0.0)
    loop.rest()
    assert queue.run(work(loop, done, "a handshake", 0))
    assert done == ["much", "a handshake"]


def test_a_party_without_a_share_never_rests(loop: TurnByTurn) -> None:
    queue, done = shared(loop), list[int]()
    for number in range(100):
        queue.run(work(loop, done, number, BURST_S), Party("an address", has_share=False))
        loop.rest()
    assert (len(done), queue.rests) == (100, 0)


def test_work_may_go_on_while_nobody_waits_and_the_slice_lasts(loop: TurnByTurn) -> None:
    queue = on(loop)
    found: list[bool] = []

    def long() -> None:
        found.append(queue.has_time)
        loop.now += SLICE_S
        found.append(queue.has_time)

    def crowded() -> None:
        queue.run(lambda: None)
        found.append(queue.has_time)

    queue.run(long)
    queue.run(crowded)
    queue.run(lambda: None)
    loop.rest()
    assert found == [True, False, False]


def test_nothing_is_due_after_close(loop: TurnByTurn) -> None:
    queue, done = shared(loop), list[str]()
    queue.run(work(loop, done, "much", 10 * BURST_S), MALLORY)
    queue.run(work(loop, done, "more", 0), MALLORY)
    queue.run(work(loop, done, "a handshake", 0))
    queue.close()
    loop.rest()
    assert [timer.is_cancelled for timer in loop.timers] == [True]
    assert done == ["much"]


def test_accounts_without_a_debt_are_forgotten(
    loop: TurnByTurn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_slices, "MANY_ACCOUNTS", 100)
    queue, done = shared(loop), list[int]()
    for number in range(500):
        queue.run(work(loop, done, number, 1e-6), Party(number, has_share=True))
        loop.rest()
        loop.now += 1
    assert len(cast(Any, queue)._paid_at) <= 101
