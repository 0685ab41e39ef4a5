"""How much is requested at a time."""

import pytest

from edge.core.control.answer_size import FIRST_BYTES, MIN_BYTES, TARGET_S, AnswerSize
from relay.wire.control_message import MAX_PAGE_BYTES


def sizes(bytes_per_s: float, answers: int = 12) -> list[int]:
    """The sizes of successive answers over a connection of that speed."""
    subject = AnswerSize()
    found = []
    for _ in range(answers):
        size = subject.max_bytes
        found.append(size)
        subject.take_answer(size, size / bytes_per_s)
    return found


def test_over_a_fast_connection_pages_are_as_large_as_the_relay_makes_them() -> None:
    assert sizes(1e9)[-1] == MAX_PAGE_BYTES


@pytest.mark.parametrize("bytes_per_s", [50_000, 200_000, 1_000_000])
def test_over_a_slow_connection_an_answer_takes_about_the_target(bytes_per_s: int) -> None:
    found = sizes(bytes_per_s)
    assert found[0] == FIRST_BYTES
    assert all(size <= 2.1 * TARGET_S * bytes_per_s for size in found[1:])
    assert max(found[6:]) >= TARGET_S * bytes_per_s / 2.1


def test_a_connection_that_hardly_moves_is_asked_for_little_and_never_for_nothing() -> None:
    assert sizes(100.0)[-1] == MIN_BYTES


def test_an_event_larger_than_what_was_asked_for_says_no_more_than_what_was() -> None:
    subject = AnswerSize()
    subject.take_answer(16 * FIRST_BYTES, 2 * TARGET_S)
    assert subject.max_bytes == FIRST_BYTES // 2


def test_a_relay_that_was_busy_once_is_soon_asked_for_more() -> None:
    subject = AnswerSize()
    subject.take_answer(100, 3.0)
    assert subject.max_bytes == MIN_BYTES
    for _ in range(6):
        subject.take_answer(100, 0.001)
    assert subject.max_bytes == MAX_PAGE_BYTES


def test_an_answer_that_takes_just_the_target_is_fast_enough() -> None:
    subject = AnswerSize()
    subject.take_answer(100, TARGET_S)
    assert subject.max_bytes == 2 * FIRST_BYTES
