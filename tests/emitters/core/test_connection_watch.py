"""A missing connection is told soon and then each minute, with the part that is missing."""

import pytest

from emitters.core.connection_watch import (
    AGAIN_AFTER_S,
    FIRST_AFTER_S,
    ConnectionWatch,
    Trouble,
)


def check(watch: ConnectionWatch, now: float, *, is_open: bool = False) -> Trouble | None:
    return watch.check(now, is_open=is_open, is_accepted=is_open, is_subscribed=is_open)


def test_it_is_told_soon_and_again_each_minute() -> None:
    watch = ConnectionWatch()
    told = [now for now in range(200) if check(watch, now)]
    assert told == [
        FIRST_AFTER_S,
        FIRST_AFTER_S + AGAIN_AFTER_S,
        FIRST_AFTER_S + 2 * AGAIN_AFTER_S,
        FIRST_AFTER_S + 3 * AGAIN_AFTER_S,
    ]


def test_a_connection_that_comes_back_soon_is_not_told() -> None:
    watch = ConnectionWatch()
    for now in range(100):
        assert check(watch, now, is_open=now % 3 == 0) is None


@pytest.mark.parametrize(
    ("is_accepted", "is_subscribed", "trouble"),
    [
        (False, False, Trouble.NOBODY),
        (False, True, Trouble.NO_CONTROL),
        (True, False, Trouble.NO_INGRESS),
        (True, True, Trouble.NO_INGRESS),
    ],
)
def test_the_missing_part_is_named(
    is_accepted: bool, is_subscribed: bool, trouble: Trouble
) -> None:
    watch = ConnectionWatch()

    def check_at(now: float) -> Trouble | None:
        return watch.check(now, is_open=False, is_accepted=is_accepted, is_subscribed=is_subscribed)

    check_at(0.0)
    assert check_at(FIRST_AFTER_S) is trouble
    line = trouble.value.format(name="manager-1", ingress="tcp://a:1", control="tcp://b:2")
    assert "tcp://a:1" in line
    assert "tcp://b:2" in line
