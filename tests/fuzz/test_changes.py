"""Changed inputs differ, depend on the chance alone, and do not grow without bound."""

from random import Random

import msgpack
import pytest

from tests.fuzz.budget import Budget, chance_of
from tests.fuzz.changes import (
    MAX_GROWTH,
    MAX_STEPS,
    changed_bytes,
    changed_frames,
    changed_msgpack,
    changed_value,
    lying,
)
from tests.support.zmtp_peer import message

DATA = bytes(range(256))


def test_the_same_chance_makes_the_same_input() -> None:
    for number in range(200):
        first, again = (changed_bytes(chance_of(7, number), DATA, [DATA]) for _ in range(2))
        assert first == again
    assert chance_of(7, 1).random() != chance_of(7, 2).random() != chance_of(8, 2).random()


def test_bytes_change_in_many_ways_and_stay_small() -> None:
    found = [changed_bytes(chance_of(1, number), DATA, [DATA, b"other"]) for number in range(500)]
    assert len(set(found)) > 400
    assert max(map(len, found)) < len(DATA) + MAX_STEPS * (2 * MAX_GROWTH + len(DATA))
    assert any(len(each) < len(DATA) for each in found)
    assert changed_bytes(Random(1), b"", [b""]) is not None, "nothing to change is no fault"


def test_values_change_in_a_place_and_keep_their_form() -> None:
    value = {"op": "hello", "id": 1, "heads": {"event": [1, 2]}, "list": [1, 2, 3]}
    found = [changed_value(chance_of(1, number), value) for number in range(500)]
    maps = [each for each in found if isinstance(each, dict)]
    assert len(maps) > 300
    assert any("op" not in each for each in maps)
    assert any(
        isinstance(each.get("heads"), dict) and each["heads"] != value["heads"] for each in maps
    )
    assert any(len(each) > 1000 for each in maps)


def test_msgpack_stays_msgpack_often() -> None:
    packed = msgpack.packb({"op": "stats", "id": 1})
    read = 0
    for number in range(300):
        try:
            msgpack.unpackb(changed_msgpack(chance_of(1, number), packed, [packed]))
        except (ValueError, TypeError):
            continue
        read += 1
    assert 100 < read < 290


def test_frames_are_lost_repeated_and_changed() -> None:
    frames = [b"topic", b"header", b"\x80"]
    found = [changed_frames(chance_of(1, number), frames, frames) for number in range(300)]
    assert {2, 3, 4} <= {len(each) for each in found}
    assert [b"header", b"topic", b"\x80"] in found


def test_frames_without_lies_are_a_message() -> None:
    frames = [b"topic", bytes(300), b""]
    assert lying(Random(1), frames, 0.0) == message(*frames)
    assert lying(Random(1), frames, 1.0) != message(*frames)


@pytest.mark.parametrize(
    ("budget", "numbers"),
    [(Budget(inputs=3), [0, 1, 2]), (Budget(inputs=3, only=5), [5]), (Budget(seconds=0), [])],
)
def test_a_budget_ends(budget: Budget, numbers: list[int]) -> None:
    assert list(budget.numbers()) == numbers


def test_a_budget_is_split() -> None:
    part = Budget(10.0, 100).split(4)
    assert (part.seconds, part.inputs) == (2.5, 25)
