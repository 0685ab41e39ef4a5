"""`FlushThrottle` on a clock that the test moves."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.scheduling import throttle
from edge.scheduling.throttle import ENOUGH_FRAMES, LONGEST_REST_S, SHORT_S, FlushThrottle


class Stage:
    """A clock, a loop with one timer, and fan-outs that take as long as the test says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.takes_s = 0.0
        self.frames = 1
        self.gathered = 0
        self.sent: list[tuple[float, int]] = []
        """When a fan-out began, and how much was gathered for it."""
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.throttle = FlushThrottle(cast(asyncio.AbstractEventLoop, self), self.flush)

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> "Stage":
        """As a loop's; it is its own timer."""
        assert self.due == [], "one timer is enough"
        self.due.append((self.now + delay_s, callback))
        return self

    def cancel(self) -> None:
        """As a timer's."""
        self.due.clear()

    def flush(self) -> int:
        """Send what was gathered."""
        self.sent.append((self.now, self.gathered))
        self.gathered = 0
        self.now += self.takes_s
        return self.frames

    def event(self) -> None:
        """Something arrives."""
        self.gathered += 1
        self.throttle.ask()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.due and self.due[0][0] <= until:
            at, callback = self.due.pop()
            self.now = max(self.now, at)
            callback()
        self.now = max(self.now, until)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(throttle, "time", stage)
    return stage


def test_what_takes_no_time_is_never_delayed(stage: Stage) -> None:
    stage.takes_s = SHORT_S
    for _ in range(50):
        stage.event()
    assert [count for _, count in stage.sent] == [1] * 50


def test_after_a_long_fan_out_what_arrives_goes_out_together(stage: Stage) -> None:
    stage.takes_s = 0.005
    stage.event()
    for _ in range(7):
        stage.event()
    assert len(stage.sent) == 1
    stage.wait(0.0049)
    assert len(stage.sent) == 1
    stage.wait(0.0002)
    assert [count for _, count in stage.sent] == [1, 7]


def test_nobody_waits_longer_than_the_longest_rest(stage: Stage) -> None:
    stage.takes_s = 1.0
    stage.event()
    stage.event()
    stage.wait(LONGEST_REST_S * 1.01)
    assert [count for _, count in stage.sent] == [1, 1]


def test_who_sends_much_at_a_time_does_not_rest(stage: Stage) -> None:
    stage.takes_s, stage.frames = 1.0, ENOUGH_FRAMES
    for _ in range(5):
        stage.event()
    assert [count for _, count in stage.sent] == [1] * 5


def test_what_is_closed_sends_nothing_more(stage: Stage) -> None:
    stage.takes_s = 1.0
    stage.event()
    stage.event()
    stage.throttle.close()
    stage.wait(10)
    assert len(stage.sent) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.001, 0.02]),
            st.sampled_from([0.0, SHORT_S * 2, 0.5]),
            st.sampled_from([1, ENOUGH_FRAMES]),
        ),
        max_size=30,
    )
)
def test_everything_that_arrives_is_sent_and_soon(
    arrivals: list[tuple[float, float, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stage = Stage()
        patch.setattr(throttle, "time", stage)
        for pause, takes_s, frames in arrivals:
            stage.wait(pause)
            stage.takes_s, stage.frames = takes_s, frames
            stage.event()
            assert not stage.gathered or stage.due, "it is not forgotten"
        stage.wait(LONGEST_REST_S * 1.01)
    assert sum(count for _, count in stage.sent) == len(arrivals)
    assert stage.due == []
