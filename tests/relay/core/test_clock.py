"""Jumps of the machine's clock reach the relay's time when they have lasted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.clock import MAX_DRIFT_MS, MAX_PAUSE_MS, TRUST_AFTER_MS, ClockNews, SteadyClock

WALL = 1_790_000_000_000
DAY = 86_400_000


@pytest.mark.parametrize("jump", [40 * DAY, -40 * DAY, MAX_DRIFT_MS + 1, -MAX_DRIFT_MS - 1])
def test_a_jump_counts_when_it_has_lasted(jump: int) -> None:
    clock = SteadyClock(WALL, 0, None)
    assert clock.look(WALL + 10, 10) is None
    assert clock.look(WALL + 20 + jump, 20) is ClockNews.JUMPED
    assert (clock.now(20), clock.jump) == (WALL + 20, jump)
    last = 20 + TRUST_AFTER_MS
    for monotonic in (*range(1000, last, 60_000), last - 1):
        assert clock.look(WALL + monotonic + jump, monotonic) is None
        assert clock.now(monotonic) == WALL + monotonic
    assert clock.look(WALL + last + jump, last) is ClockNews.TRUSTED
    assert (clock.now(last), clock.jump) == (WALL + last + jump, 0)


def test_a_clock_that_is_set_right_again_was_never_followed() -> None:
    clock = SteadyClock(WALL, 0, None)
    assert clock.look(WALL + 40 * DAY, 1000) is ClockNews.JUMPED
    assert clock.look(WALL + 7000, 7000) is None
    assert (clock.now(7000), clock.jump) == (WALL + 7000, 0)


def test_another_jump_has_to_last_as_well() -> None:
    clock = SteadyClock(WALL, 0, None)
    clock.look(WALL + DAY, 0)
    assert clock.look(WALL + 2 * DAY + TRUST_AFTER_MS, TRUST_AFTER_MS) is ClockNews.JUMPED
    assert clock.now(TRUST_AFTER_MS) == WALL + TRUST_AFTER_MS


@pytest.mark.parametrize("sign", [1, -1])
def test_a_jump_that_is_slewed_is_the_same_one_up_to_the_drift(sign: int) -> None:
    clock = SteadyClock(WALL, 0, None)
    clock.look(WALL + DAY, 0)
    drifted = WALL + DAY + sign * MAX_DRIFT_MS
    assert clock.look(drifted + 1000, 1000) is None
    assert clock.look(drifted + sign + 2000, 2000) is ClockNews.JUMPED


@pytest.mark.parametrize("drift", [MAX_DRIFT_MS, -MAX_DRIFT_MS])
def test_the_largest_drift_is_followed_at_once(drift: int) -> None:
    clock = SteadyClock(WALL, 5000, None)
    assert clock.now(5000) == WALL
    assert clock.look(WALL + 10 + drift, 5010) is None
    assert clock.now(5010) == WALL + 10 + drift


@given(st.lists(st.integers(-MAX_DRIFT_MS // 2, MAX_DRIFT_MS // 2), max_size=20))
def test_a_clock_that_is_slewed_is_followed(steps: list[int]) -> None:
    clock = SteadyClock(WALL, 0, None)
    wall = WALL
    for number, step in enumerate(steps, 1):
        wall += 1000 + step
        assert clock.look(wall, 1000 * number) is None
        assert clock.now(1000 * number) == wall


def test_after_a_long_pause_age_is_judged_later() -> None:
    assert SteadyClock(WALL, 5, None).may_judge_age(5)
    assert SteadyClock(WALL, 5, WALL - MAX_PAUSE_MS).may_judge_age(5)
    assert SteadyClock(WALL, 5, WALL + 40 * DAY).may_judge_age(5), "a clock that was set back"
    doubtful = SteadyClock(WALL, 5, WALL - MAX_PAUSE_MS - 1)
    assert not doubtful.may_judge_age(5 + TRUST_AFTER_MS - 1)
    assert doubtful.may_judge_age(5 + TRUST_AFTER_MS)
