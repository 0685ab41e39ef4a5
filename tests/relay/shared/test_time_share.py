"""The share of time, beside a sum over all work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.shared.time_share import TimeShare

SHARE = TimeShare(share=0.25, burst_s=1.0)


def test_work_within_the_burst_waits_for_nothing() -> None:
    paid_at = 0.0
    for _ in range(10):
        paid_at = SHARE.charge(paid_at, 0.1, 100.0)
    assert SHARE.rests_until(paid_at) == pytest.approx(100.0)


def test_work_beyond_it_is_paid_by_rest() -> None:
    paid_at = SHARE.charge(0.0, 1.5, 100.0)
    assert SHARE.rests_until(paid_at) == pytest.approx(102.0), "half a second at a quarter"


def test_rest_is_not_saved_up_beyond_the_burst() -> None:
    long_ago = SHARE.charge(0.0, 0.1, 1.0)
    assert SHARE.rests_until(SHARE.charge(long_ago, 1.5, 100.0)) == pytest.approx(102.0)


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=50))
def test_in_the_long_run_it_is_the_share_whatever_the_pieces(costs: list[float]) -> None:
    now, paid_at = 10.0, 0.0
    for cost_s in costs:
        now = max(now, SHARE.rests_until(paid_at)) + cost_s
        paid_at = SHARE.charge(paid_at, cost_s, now)
    end = max(now, SHARE.rests_until(paid_at))
    assert sum(costs) <= SHARE.share * (end - 10.0) + SHARE.burst_s + 1e-6
