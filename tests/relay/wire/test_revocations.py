"""Revocations as they travel from edge to edge."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.errors import InvalidEnvelope
from relay.wire.revocations import ALL, TOKEN, USER, Revocation, read_revocation, revocation_data
from tests.relay.wire.strategies import json_values

RELAYED_AT = 1_790_000_000_000

names = st.text(min_size=1, max_size=255)
times = st.integers(0, RELAYED_AT)
revocations = st.one_of(
    st.builds(Revocation, times, st.none(), st.none(), st.none()),
    st.builds(Revocation, times, names, st.none(), st.none()),
    st.builds(Revocation, times, st.none() | names, names, st.none() | st.integers(0, 2**53 - 1)),
)


@given(revocations)
def test_what_is_written_is_read(revocation: Revocation) -> None:
    before, username, token_id, until = revocation
    data = revocation_data(username=username, token_id=token_id, before=before, until=until)
    assert read_revocation(revocation.scope, data, RELAYED_AT) == revocation
    pack_envelope(Envelope("x", data, None, "", 1, "x"), "revocation")


@pytest.mark.parametrize(
    ("scope", "data", "read"),
    [
        (USER, {"username": "ann"}, Revocation(RELAYED_AT, "ann")),
        (ALL, {}, Revocation(RELAYED_AT)),
        (ALL, {"before": RELAYED_AT + 5}, Revocation(RELAYED_AT)),
        (TOKEN, {"token_id": "x"}, Revocation(RELAYED_AT, None, "x")),
    ],
)
def test_the_time_relayed_counts_without_another_and_is_the_latest(
    scope: str, data: dict[str, Any], read: Revocation
) -> None:
    assert read_revocation(scope, data, RELAYED_AT) == read


def test_an_end_that_no_message_can_carry_is_left_out() -> None:
    assert revocation_data(token_id="x", until=2**53 * 1000) == {"token_id": "x"}


@pytest.mark.parametrize(
    ("scope", "data", "field"),
    [
        (USER, {}, "data.username"),
        (USER, {"username": ""}, "data.username"),
        (USER, {"username": "x" * 256}, "data.username"),
        (USER, {"username": 5}, "data.username"),
        (USER, {"username": "ann", "before": True}, "data.before"),
        (USER, {"username": "ann", "before": -1}, "data.before"),
        (USER, {"username": "ann", "before": 1.5}, "data.before"),
        (USER, {"username": "ann", "before": 2**60}, "data.before"),
        (TOKEN, {"username": "ann"}, "data.token_id"),
        (TOKEN, {"token_id": "x" * 256}, "data.token_id"),
        (TOKEN, {"token_id": "x", "until": "soon"}, "data.until"),
        (ALL, [], "data"),
        ("everything", {}, "topic"),
    ],
)
def test_what_is_wrong_is_named(scope: str, data: Any, field: str) -> None:
    with pytest.raises(InvalidEnvelope) as refused:
        read_revocation(scope, data, RELAYED_AT)
    assert refused.value.field == field


@given(st.sampled_from([USER, TOKEN, ALL, "x"]), json_values)
def test_any_value_is_read_or_refused(scope: str, data: Any) -> None:
    try:
        read = read_revocation(scope, data, RELAYED_AT)
    except InvalidEnvelope:
        return
    assert read.scope == scope
    assert 0 <= read.before <= RELAYED_AT
