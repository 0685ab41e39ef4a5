"""Exactly how much of a value is carried, and how much of it is read."""

import enum
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from emitters.core.carry import MAX_CARRIED_DEPTH, carry
from relay.wire.envelope import MAX_SAFE_INT


class Chest(enum.Enum):
    """An enumeration whose members contain lists."""

    FLAT = ()
    FITS = "fits"
    TOO_DEEP = "too deep"

    @property
    def value(self) -> Any:
        return in_lists("gold", MAX_CARRIED_DEPTH - (self is Chest.FITS))


class Counted(Sequence[int]):
    """A long sequence that knows how many of its items were read."""

    def __init__(self) -> None:
        self.read = 0

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: Any) -> Any:
        return index

    def __iter__(self) -> Iterator[int]:
        for index in range(len(self)):
            self.read += 1
            yield index


class Interrupted:
    """A signal handler raises `stop` when it is compared, or its length is asked for."""

    def __init__(self, stop: type[BaseException]) -> None:
        self._stop = stop

    def __lt__(self, _other: object) -> bool:
        raise self._stop


class InterruptedSequence(Counted):
    def __init__(self, stop: type[BaseException]) -> None:
        super().__init__()
        self._stop = stop

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        raise self._stop


def in_lists(value: Any, depth: int) -> Any:
    """Put `value` into `depth` lists."""
    for _ in range(depth):
        value = [value]
    return value


def in_maps(value: Any, depth: int) -> Any:
    """Put `value` into `depth` maps."""
    for _ in range(depth):
        value = {"in": value}
    return value


@pytest.mark.parametrize("wrap", [in_lists, in_maps])
def test_the_deepest_container_is_carried_and_one_more_is_not(wrap: Any) -> None:
    deepest = wrap("gold", MAX_CARRIED_DEPTH)
    assert carry(deepest) == deepest
    mark = f"({type(deepest).__name__} nested too deep)"
    assert carry(wrap("gold", MAX_CARRIED_DEPTH + 1)) == wrap(mark, MAX_CARRIED_DEPTH)


def test_an_enumeration_counts_as_a_container_of_its_value() -> None:
    assert carry(Chest.FITS) == in_lists("gold", MAX_CARRIED_DEPTH - 1)
    assert carry(Chest.TOO_DEEP) == in_lists("(list nested too deep)", MAX_CARRIED_DEPTH - 1)


@pytest.mark.parametrize("number", [-MAX_SAFE_INT, MAX_SAFE_INT])
def test_integers_stay_numbers_as_far_as_browsers_have_them(number: int) -> None:
    assert carry(number) == number
    beyond = number + (1 if number > 0 else -1)
    assert carry(beyond) == str(beyond)


def test_integers_of_4096_bits_are_written_out_and_longer_ones_are_not() -> None:
    assert carry(2**4096 - 1) == str(2**4096 - 1)
    assert carry(2**4096) == "(integer of 4097 bits)"


@pytest.mark.parametrize(
    ("max_bytes", "carried"),
    [
        (27, [0, 1, "… 3 more"]),
        (28, [0, 1, 2, "… 2 more"]),
        (45, [0, 1, 2, 3, "… 1 more"]),
        (46, [0, 1, 2, 3, 4]),
    ],
)
def test_a_list_is_cut_where_its_room_ends(max_bytes: int, carried: object) -> None:
    """List and numbers count nine bytes each, the most that they take on the wire."""
    assert carry(list(range(5)), max_bytes) == carried


@pytest.mark.parametrize(
    ("max_bytes", "carried"),
    [
        (40, {"a": 0, "…": "3 more"}),
        (41, {"a": 0, "b": 1, "…": "2 more"}),
        (59, {"a": 0, "b": 1, "…": "2 more"}),
        (60, {"a": 0, "b": 1, "c": 2, "…": "1 more"}),
        (79, {"a": 0, "b": 1, "c": 2, "d": 3}),
    ],
)
def test_a_map_is_cut_where_its_room_ends_and_its_keys_take_room_too(
    max_bytes: int, carried: object
) -> None:
    assert carry({"a": 0, "b": 1, "c": 2, "d": 3}, max_bytes) == carried


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_the_key_that_is_cut_is_not_taken_for_the_mark_at_the_end(letter: str) -> None:
    """Or the entry under it would be lost, and not be counted as left out."""
    for max_bytes in range(9, 100):
        carried = carry({letter * 2: 1, letter * 3: 2, letter * 4: 3}, max_bytes)
        left_out = int(carried.pop("…", "0 more").removesuffix(" more"))
        assert len(carried) + left_out == 3, carried


def test_a_value_that_takes_all_the_room_keeps_its_name() -> None:
    carried = carry({"rows": list(range(10**6)), "status": "ok"})
    assert list(carried) == ["rows", "…"]
    assert carried["rows"][:3] == [0, 1, 2]
    assert carried["…"] == "1 more"


def test_a_text_without_room_is_the_mark_alone() -> None:
    assert carry("gold", 9) == "…"
    assert carry("gold", 10) == "g…"
    assert carry("gold", 13) == "gold"


def test_no_more_items_are_read_than_it_takes_to_see_that_one_is_left_out() -> None:
    counted = Counted()
    carried = carry(counted, 91)
    assert carried == [*range(10), "… 990 more"]
    assert counted.read == 11


def test_items_without_an_order_are_carried_in_any() -> None:
    assert sorted(carry({1, "gold"}), key=str) == [1, "gold"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_swallowed_by_length_and_order(
    stop: type[BaseException],
) -> None:
    for value in (InterruptedSequence(stop), {Interrupted(stop), Interrupted(stop)}):
        with pytest.raises(stop):
            carry(value)
