"""The rows that the journal removes: the oldest, and as few as the limits allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.retention import Limits, StoredRow, rows_to_retire
from relay.wire.kinds import Kind, Kinds

NOW_MS = 1_000_000
UNLIMITED = Limits(max_age_ms=NOW_MS, max_bytes=2**60)


def rows_of(*rows: tuple[int, int]) -> list[StoredRow]:
    """Rows of ten events each, by age and size, oldest first."""
    return [
        StoredRow(10 * number, NOW_MS - age_ms, stored_bytes)
        for number, (age_ms, stored_bytes) in enumerate(rows, 1)
    ]


@pytest.mark.parametrize(
    ("rows", "limits", "count"),
    [
        ([], UNLIMITED, 0),
        ([(0, 100)], Limits(0, 0), 0),
        ([(900, 10), (500, 10), (100, 10)], UNLIMITED, 0),
        ([(900, 10), (500, 10), (100, 10)], Limits(500, 1000), 1),
        ([(900, 10), (500, 10), (100, 10)], Limits(499, 1000), 2),
        ([(900, 10), (500, 10), (100, 10)], Limits(1, 1000), 2),
        ([(3, 10), (2, 10), (1, 10)], Limits(1000, 30), 0),
        ([(3, 10), (2, 10), (1, 10)], Limits(1000, 29), 1),
        ([(3, 10), (2, 10), (1, 10)], Limits(1000, 19), 2),
        ([(3, 10), (2, 10), (1, 10)], Limits(1000, 0), 2),
        # A clock that was set back: a row that looks new keeps the rows behind it.
        ([(0, 10), (900, 10), (100, 10)], Limits(500, 1000), 0),
    ],
)
def test_how_many_rows_go(rows: list[tuple[int, int]], limits: Limits, count: int) -> None:
    found = rows_of(*rows)
    size = sum(row.stored_bytes for row in found)
    assert rows_to_retire(found, size, limits, NOW_MS) == count


def test_the_size_of_the_whole_stream_counts_not_that_of_the_rows_seen() -> None:
    rows = rows_of((3, 10), (2, 10), (1, 10))
    assert rows_to_retire(rows, 1000, Limits(1000, 985), NOW_MS) == 2
    assert rows_to_retire(rows, 1000, Limits(1000, 990), NOW_MS) == 1


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100)), max_size=20),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 500),
)
def test_no_row_goes_that_may_stay_and_the_newest_always_stays(
    rows: list[tuple[int, int]], max_age_ms: int, max_bytes: int, newer_bytes: int
) -> None:
    found = rows_of(*rows)
    limits = Limits(max_age_ms, max_bytes)
    size = sum(row.stored_bytes for row in found) + newer_bytes

    def must_go(index: int) -> bool:
        left = size - sum(row.stored_bytes for row in found[:index])
        return left > max_bytes or rows[index][0] > max_age_ms

    count = rows_to_retire(found, size, limits, NOW_MS)
    assert 0 <= count <= max(0, len(found) - 1)
    assert all(must_go(index) for index in range(count))
    if count < len(found) - 1:
        assert not must_go(count)


KINDS = Kinds.with_built_in(
    (
        Kind("short", is_stream=True, retention_s=1.5),
        Kind("small", is_stream=True, retention_bytes=100),
        Kind("both", is_stream=True, retention_s=1.5, retention_bytes=100),
    )
)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("event", (60_000, 5000)),
        ("unlisted", (60_000, 5000)),
        ("short", (1500, 5000)),
        ("small", (60_000, 100)),
        ("both", (1500, 100)),
    ],
)
def test_a_kind_has_its_own_limits_or_those_of_the_relay(
    stream: str, expected: tuple[int, int]
) -> None:
    limits = Limits.of_kinds(KINDS, 60.0, 5000)
    assert limits.of(stream)[:2] == expected
    assert limits.with_age(7).of(stream)[:2] == (7, expected[1]), "for every stream"


def test_revocations_are_kept_however_old_they_are() -> None:
    limits = Limits.of_kinds(KINDS, 60.0, 5000).of("revocation")
    assert limits.max_age_ms >= 100 * 365 * 86_400_000
    assert limits.max_bytes == 64 * 1024 * 1024
