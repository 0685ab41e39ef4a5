"""The values of members and beats: the vectors, and any value at all."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.presence.values import (
    BUCKETS,
    MAX_CONNECTIONS,
    MAX_WORKER_CHARS,
    Members,
    Seat,
    StateName,
    beat_value,
    bucket_value,
    read_beat,
    read_bucket,
    read_name,
)
from relay.wire.errors import InvalidEnvelope
from tests.relay.wire.vectors import vectors

VECTORS = vectors("presence")


@pytest.mark.parametrize("case", VECTORS["values"]["buckets"])
def test_vector_is_a_bucket(case: dict[str, Any]) -> None:
    members = {(topic, name): Seat(since, count) for topic, name, since, count in case["members"]}
    assert read_bucket(case["data"]) == (case["version"], members)
    assert bucket_value(case["version"], members) == case["data"]


@pytest.mark.parametrize("case", VECTORS["values"]["beats"])
def test_vector_is_a_beat(case: dict[str, Any]) -> None:
    wanted = case["versions"]
    versions = None if wanted is None else {int(number): each for number, each in wanted.items()}
    assert read_beat(case["data"]) == versions
    assert beat_value(versions) == case["data"]


@pytest.mark.parametrize("value", VECTORS["values"]["invalid_buckets"])
def test_vector_is_no_bucket(value: Any) -> None:
    with pytest.raises(InvalidEnvelope, match=r"^data\."):
        read_bucket(value)


@pytest.mark.parametrize("value", VECTORS["values"]["invalid_beats"])
def test_vector_is_no_beat(value: Any) -> None:
    with pytest.raises(InvalidEnvelope):
        read_beat(value)


@pytest.mark.parametrize("number", [0, 7, BUCKETS - 1])
def test_a_name_is_of_a_beat_or_of_a_bucket(number: int) -> None:
    assert read_name("a1") == StateName("a1", None)
    assert read_name(f"a1:{number}") == StateName("a1", number)
    assert str(StateName("a1", number)) == f"a1:{number}"
    assert str(StateName("a1", None)) == "a1"


@pytest.mark.parametrize(
    "name",
    [
        *(f"a:{BUCKETS}", "a:", "a:x", "a:-1", "a:1:2", "a:²", "a:9999999"),
        # Python reads no number of so many digits, and other spellings would be further buckets.
        *("a:" + "0" * 5_000, "a:0000000001234", "a:007"),
    ],
)
def test_a_name_of_no_bucket_is_refused(name: str) -> None:
    with pytest.raises(InvalidEnvelope, match="names no bucket"):
        read_name(name)


def test_a_worker_whose_values_could_not_be_asked_for_is_refused() -> None:
    for name in ("a" * MAX_WORKER_CHARS, "a" * MAX_WORKER_CHARS + ":7"):
        read_name(name)
        with pytest.raises(InvalidEnvelope, match="names a worker"):
            read_name("a" + name)


@pytest.mark.parametrize("seat", [[2**53, 1], [1, MAX_CONNECTIONS + 1], [1, 2**64 - 1]])
def test_a_seat_that_json_could_not_carry_is_refused(seat: list[int]) -> None:
    """Nor the sum of the seats of all workers."""
    with pytest.raises(InvalidEnvelope, match="must be an integer"):
        read_bucket({"version": 1, "members": {"room:1": {"alice": seat}}})


positive = st.integers(1, 2**53 - 1)
connections = st.integers(1, MAX_CONNECTIONS)
members = st.dictionaries(
    st.tuples(st.text(min_size=1), st.text(min_size=1)), st.builds(Seat, positive, connections)
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
)


@given(positive, members)
def test_every_bucket_is_read_as_it_was_written(version: int, members: Members) -> None:
    assert read_bucket(bucket_value(version, members)) == (version, members)


@given(anything, anything)
def test_any_value_is_read_or_refused(one: Any, other: Any) -> None:
    for value in (one, {"version": one, "members": other}, {"versions": one}):
        for read in (read_bucket, read_beat):
            with contextlib.suppress(InvalidEnvelope):
                read(value)
