"""A trouble is told soon, and then each minute."""

from emitters.core.connection_watch import (
    AGAIN_AFTER_S,
    FIRST_AFTER_S,
    NO_CONTROL,
    NO_INGRESS,
    NOBODY,
    ConnectionWatch,
    Trouble,
)
from emitters.core.emitter_state import EmitterStatus

REFUSED = Trouble(EmitterStatus.REFUSED, "the relay refused: no")


def told(*troubles: Trouble | None) -> list[int]:
    """Return the seconds at which `troubles`, one each second, are told."""
    watch = ConnectionWatch()
    return [now for now, trouble in enumerate(troubles) if watch.is_due(now, trouble)]


def test_a_missing_relay_is_told_soon_and_again_each_minute() -> None:
    first = int(FIRST_AFTER_S)
    assert told(*[NOBODY] * 200) == [first + n * int(AGAIN_AFTER_S) for n in range(4)]


def test_a_connection_that_comes_back_soon_is_not_told() -> None:
    assert told(*[None, NOBODY, NOBODY] * 30) == []


def test_another_part_that_is_missing_is_not_told_sooner() -> None:
    assert told(*[NOBODY] * 10, *[NO_CONTROL] * 10, *[NO_INGRESS] * 50) == [3, 63]


def test_a_refusal_is_told_at_once_and_again_each_minute() -> None:
    assert told(NOBODY, *[REFUSED] * 130) == [1, 61, 121]


def test_another_refusal_is_told_at_once() -> None:
    other = REFUSED._replace(text="the relay refused: never")
    assert told(*[REFUSED] * 5, *[other] * 5, *[REFUSED] * 5) == [0, 5, 10]


def test_a_refusal_that_comes_again_later_is_told_at_once() -> None:
    assert told(*[REFUSED] * 5, None, REFUSED) == [0, 6]
    assert told(*[REFUSED] * 5, NOBODY, REFUSED) == [0, 6]


def test_each_missing_part_names_both_addresses() -> None:
    for trouble in (NOBODY, NO_CONTROL, NO_INGRESS):
        line = trouble.text.format(ingress="tcp://a:1", control="tcp://b:2")
        assert "tcp://a:1" in line
        assert "tcp://b:2" in line
        assert trouble.status is EmitterStatus.CONNECTING
