"""How often something may happen."""

import pytest

from edge.core import rate_limit
from edge.core.rate_limit import MAX_DEBT_S, TokenBucket, UserBuckets


def test_a_full_bucket_permits_the_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(per_s=10.0, burst=2, now=100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(100.05)
    assert bucket.take(100.11)


def test_a_long_silence_fills_the_bucket_and_no_more() -> None:
    bucket = TokenBucket(per_s=10.0, burst=2, now=0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]


def test_a_clock_that_is_set_back_takes_nothing_away() -> None:
    bucket = TokenBucket(per_s=10.0, burst=2, now=100.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]


def test_a_bucket_without_burst_permits_nothing() -> None:
    assert not TokenBucket(per_s=10.0, burst=0, now=0.0).take(1000.0)


def test_many_tokens_are_taken_together_or_not() -> None:
    bucket = TokenBucket(per_s=10.0, burst=5, now=0.0)
    assert bucket.take(0.0, 3)
    assert not bucket.take(0.0, 3)
    assert bucket.wait_s(3) == pytest.approx(0.1)
    assert bucket.wait_s(2) == 0.0
    assert bucket.take(0.1, 3)


class TestUsers:
    def test_each_user_has_a_bucket(self) -> None:
        buckets = UserBuckets(per_s=10.0, burst=2)
        assert [buckets.wait_s("alice", 1, 0.0) for _ in range(2)] == [0.0, 0.0]
        assert buckets.wait_s("alice", 1, 0.0) == pytest.approx(0.1)
        assert buckets.wait_s("bob", 2, 0.0) == 0.0
        assert buckets.wait_s("alice", 1, 0.1) == 0.0

    def test_the_one_that_was_idle_longest_is_forgotten(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rate_limit, "MAX_USERS", 2)
        buckets = UserBuckets(per_s=0.001, burst=1)
        for user in ("alice", "bob", "alice", "carl"):
            buckets.wait_s(user, 1, 0.0)
        assert buckets.wait_s("alice", 1, 0.0) > 0
        assert buckets.wait_s("bob", 1, 0.0) == 0.0


def test_a_bucket_can_be_overdrawn_up_to_a_debt() -> None:
    bucket = TokenBucket(per_s=10.0, burst=20, now=100.0)
    assert bucket.debt_s(100.0) == 0
    bucket.spend(100.0, 50)
    assert bucket.debt_s(100.0) == pytest.approx(3.0)
    assert not bucket.take(100.0, 0)
    assert bucket.debt_s(102.0) == pytest.approx(1.0)
    assert bucket.debt_s(103.5) == 0
    bucket.spend(103.5, 10**9)
    assert bucket.debt_s(103.5) == pytest.approx(MAX_DEBT_S)
