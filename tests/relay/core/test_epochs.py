"""A new epoch is never an old one, and a journal that lost its tail is recognised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.epochs import RANDOM_BITS, FoundTail, Tail, lost_tails, next_epoch

seconds = st.integers(0, 2**32)
random = st.integers(0, 2**RANDOM_BITS - 1)
epochs = st.lists(st.integers(0, 2**63))


@given(seconds, random, epochs)
def test_an_epoch_is_greater_than_all_that_are_known(
    now_s: int, bits: int, known: list[int]
) -> None:
    """Whatever the clock shows."""
    assert all(next_epoch(now_s, bits, known) > epoch for epoch in (*known, 0))


@pytest.mark.parametrize(("known", "epoch"), [([], 1), ([7], 8), ([7, 9, 3], 10)])
def test_while_the_clock_is_behind_epochs_count_on(known: list[int], epoch: int) -> None:
    assert next_epoch(0, 0, known) == epoch


@given(seconds, random, random)
def test_a_second_that_comes_again_gives_another_epoch(now_s: int, one: int, other: int) -> None:
    """A clock was set back, and the journal that remembers the older epoch is gone."""
    assert (next_epoch(now_s, one) == next_epoch(now_s, other)) <= (one == other or now_s == 0)


@given(seconds, random)
def test_an_epoch_is_a_number_of_a_browser(now_s: int, bits: int) -> None:
    assert next_epoch(now_s, bits) < 2**53


@pytest.mark.parametrize(
    ("noted", "found", "is_lost"),
    [
        (Tail(10, 77), FoundTail(1, 10, 77), False),
        (Tail(10, 77), FoundTail(1, 12, 77), False),
        (Tail(10, 77), FoundTail(11, 12, None), False),
        (Tail(0, 0), FoundTail(1, 0, None), False),
        (Tail(0, 0), FoundTail(1, 9, None), False),
        (Tail(10, 77), FoundTail(1, 9, None), True),
        (Tail(10, 77), FoundTail(1, 10, 78), True),
        (Tail(10, 77), FoundTail(1, 12, None), True),
        (Tail(10, 77), FoundTail(10, 12, None), True),
        (Tail(10, 77), FoundTail(1, 0, None), True),
        (Tail(10, 77), FoundTail(13, 12, None), True),
    ],
    ids=[
        "the same",
        "killed after a commit",
        "removed since by retention",
        "nothing noted",
        "nothing noted and something found",
        "shorter",
        "another event",
        "other rows",
        "a longer row in its place",
        "empty",
        "everything removed",
    ],
)
def test_a_noted_row_has_to_be_there(noted: Tail, found: FoundTail, is_lost: bool) -> None:
    assert lost_tails({"event": noted}, {"event": found}) == (["event"] if is_lost else [])


def test_a_stream_that_is_gone_has_lost_its_events() -> None:
    assert lost_tails({"event": Tail(1, 5), "task": Tail(0, 0)}, {}) == ["event"]
