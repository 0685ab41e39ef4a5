"""A dict that was large gives its room back, and any other stays as it is."""

import sys

import pytest

from relay.shared.compaction import SMALL_BYTES, compacted


@pytest.mark.parametrize("left", [0, 10, 1000])
def test_a_dict_that_was_large_gives_its_room_back(left: int) -> None:
    values = dict.fromkeys(range(100_000), "x")
    for number in range(100_000 - left):
        del values[number]
    found = compacted(values)
    assert list(found.items()) == list(values.items())
    assert sys.getsizeof(found) < SMALL_BYTES + 200 * left
    assert sys.getsizeof(values) > 2**20


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000])
def test_a_full_one_stays(size: int) -> None:
    values = dict.fromkeys(range(size))
    assert compacted(values) is values
