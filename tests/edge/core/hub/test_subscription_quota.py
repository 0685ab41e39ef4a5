"""The bounds of subscriptions, by user and by worker."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.hub.subscription_quota import (
    QuotaExcess,
    QuotaLimits,
    SubscriptionQuota,
    pattern_bytes,
)
from relay.wire.topics import Pattern, parse_pattern

SMALL = QuotaLimits(per_user=2, bytes_per_user=100, total=3, total_bytes=200)


def pattern(text: str) -> Pattern:
    return parse_pattern(text)


def test_one_user_cannot_use_up_the_room_of_all() -> None:
    defaults = QuotaLimits()
    assert defaults.per_user * 10 <= defaults.total
    assert defaults.bytes_per_user * 10 <= defaults.total_bytes


@pytest.mark.parametrize(
    ("held", "asked", "excess"),
    [
        ([], "event:a", None),
        ([("alice", "event:a")], "event:b", None),
        ([("alice", "event:a"), ("alice", "event:b")], "event:c", QuotaExcess.USER),
        ([("bob", "event:a"), ("bob", "event:b")], "event:a", None),
        ([("alice", "event:" + "a" * 90)], "event:a", QuotaExcess.USER_BYTES),
        ([("alice", "event:" + "a" * 87)], "event:a", None),
        ([("alice", "event:" + "a" * 88)], "event:a", QuotaExcess.USER_BYTES),
        ([("alice", "event:" + "ä" * 42)], "event:äää", QuotaExcess.USER_BYTES),
        ([("alice", "event:" + "a" * 90)], "e*", None),
        ([("bob", "event:a"), ("bob", "event:b"), ("eve", "e*")], "x:*", QuotaExcess.WORKER),
        ([("bob", "b:" + "x" * 98), ("eve", "e:" + "x" * 91)], "event:a", None),
        ([("bob", "b:" + "x" * 98), ("eve", "e:" + "x" * 92)], "event:a", QuotaExcess.WORKER),
    ],
)
def test_the_bound_that_a_further_subscription_passes(
    held: list[tuple[str, str]], asked: str, excess: QuotaExcess | None
) -> None:
    quota = SubscriptionQuota(SMALL)
    for user, text in held:
        quota.add(user, pattern(text))
    assert quota.excess("alice", pattern(asked)) is excess


USERS = st.sampled_from(["alice", "bob"])
PATTERNS = st.sampled_from([pattern(text) for text in ("event:a", "event:ä", "e*", "live:x*")])


@given(st.lists(st.tuples(USERS, PATTERNS, st.booleans())))
def test_the_counts_are_those_of_the_subscriptions(
    steps: list[tuple[str, Pattern, bool]],
) -> None:
    quota = SubscriptionQuota(SMALL)
    held: Counter[tuple[str, Pattern]] = Counter()
    for user, each, is_added in steps:
        if is_added and quota.excess(user, each) is None:
            quota.add(user, each)
            held[user, each] += 1
        elif not is_added and held[user, each]:
            quota.remove(user, (each,))
            held[user, each] -= 1
        assert quota.count == held.total() <= SMALL.total
        assert quota.size_bytes == sum(pattern_bytes(each) for _, each in held.elements())
    for user in ("alice", "bob"):
        quota.remove(user, [each for name, each in held.elements() if name == user])
    assert (quota.count, quota.size_bytes) == (0, 0)
    assert quota.excess("alice", pattern("event:a")) is None


def test_users_without_subscriptions_take_no_memory() -> None:
    quota = SubscriptionQuota()
    for number in range(100):
        quota.add(f"user-{number}", pattern("event:a"))
        quota.remove(f"user-{number}", [pattern("event:a")])
    assert not quota._by_user
