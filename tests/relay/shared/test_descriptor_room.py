"""The division of a process's descriptors among clients, refusals and the process itself."""

import pytest

from relay.shared.descriptor_room import OWN, SPARE, DescriptorRoom

BACKLOG = 4096


@pytest.mark.parametrize("limit", [160, 256, 1024, 4096, 20_000, 65_536, 2**20])
def test_everything_has_its_place_at_once(limit: int) -> None:
    room = DescriptorRoom(limit, 20_000, BACKLOG)
    assert room.max_connections + room.reserved + OWN == limit
    assert 2 * room.backlog + SPARE <= room.reserved, "a full backlog beside lingering refusals"
    assert room.is_enough_to_start


@pytest.mark.parametrize("wanted", [1, 1_000, 20_000, 1_000_000])
def test_the_limit_that_is_asked_for_suffices_in_any_rush(wanted: int) -> None:
    room = DescriptorRoom(DescriptorRoom.needed(wanted, BACKLOG), wanted, BACKLOG)
    assert (room.max_connections, room.backlog) == (wanted, BACKLOG)


def test_a_large_limit_has_the_longest_backlog() -> None:
    assert DescriptorRoom(2**20, 20_000, BACKLOG).backlog == BACKLOG


@pytest.mark.parametrize("limit", [0, 3, 64, 128])
def test_without_room_for_clients_an_edge_does_not_start(limit: int) -> None:
    assert not DescriptorRoom(limit, 20_000, BACKLOG).is_enough_to_start


def test_the_last_descriptors_are_reserved() -> None:
    room = DescriptorRoom(1024, 20_000, BACKLOG)
    assert [room.is_reserved(number) for number in (3, 895, 896, 1023)] == [
        False,
        False,
        True,
        True,
    ]
