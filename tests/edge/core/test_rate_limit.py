"""How often something may happen."""

from edge.core.rate_limit import TokenBucket


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
