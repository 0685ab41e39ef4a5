"""Which subscriptions go on to the emitters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.interest import Interest, Verdict
from tests.relay.wire.strategies import topics

INTEREST = Interest(("event", "task"))


@pytest.mark.parametrize(
    ("prefix", "verdict"),
    [
        (b"resource-monitor:survival", Verdict.FORWARD),
        (b"resource-monitor:", Verdict.FORWARD),
        (b"!exact:resource-monitor:survival", Verdict.FORWARD),
        (b"!within:resource-monitor:", Verdict.FORWARD),
        (b"!within:", Verdict.FORWARD),
        (b"", Verdict.FORWARD),
        (b"e", Verdict.FORWARD),
        (b"events:x", Verdict.FORWARD),
        (b"event:", Verdict.KEEP),
        (b"event:after_backup", Verdict.KEEP),
        (b"task:", Verdict.KEEP),
        (b"!exact:event:after_backup", Verdict.KEEP),
        (b"!within:event:", Verdict.KEEP),
        (b"!heartbeat", Verdict.KEEP),
        (b"!", Verdict.KEEP),
        (b"!sync:5f3a", Verdict.ANSWER),
    ],
)
def test_the_verdict_on_a_subscription(prefix: bytes, verdict: Verdict) -> None:
    assert INTEREST.judge(prefix) is verdict


def test_journaled_kinds_are_always_subscribed() -> None:
    assert INTEREST.always == (b"event:", b"task:")


@given(st.binary(max_size=40))
def test_any_bytes_get_a_verdict(prefix: bytes) -> None:
    assert INTEREST.judge(prefix) in Verdict


@given(topics)
def test_a_hint_shares_the_fate_of_its_subscription(topic: str) -> None:
    alone = INTEREST.judge(topic.encode())
    assert INTEREST.judge(b"!exact:" + topic.encode()) is alone
    assert INTEREST.judge(b"!within:" + topic.encode()) is alone
    assert (alone is Verdict.KEEP) == topic.startswith(("event:", "task:"))
