"""Connections of an address: their number and their rate."""

from hypothesis import given
from hypothesis import strategies as st

from edge.core.address_limits import MAX_IDLE_ADDRESSES, AddressExcess, AddressLimits

PLENTY = 10**6


def test_an_address_has_so_many_connections_and_others_have_their_own() -> None:
    limits = AddressLimits(2, PLENTY, PLENTY)
    assert [limits.enter("192.0.2.1", 0) for _ in range(3)] == [
        None,
        None,
        AddressExcess.CONNECTIONS,
    ]
    assert limits.enter("192.0.2.2", 0) is None
    limits.leave("192.0.2.1")
    assert limits.enter("192.0.2.1", 0) is None
    assert limits.enter("192.0.2.1", 0) is AddressExcess.CONNECTIONS


def test_a_network_of_ipv6_counts_as_one_address_and_mapped_ipv4_as_ipv4() -> None:
    limits = AddressLimits(1, PLENTY, PLENTY)
    assert limits.enter("2001:db8::1", 0) is None
    assert limits.enter("2001:db8::2:3", 0) is AddressExcess.CONNECTIONS
    assert limits.enter("2001:db8:0:1::1", 0) is None
    assert limits.enter("192.0.2.1", 0) is None
    assert limits.enter("::ffff:192.0.2.1", 0) is AddressExcess.CONNECTIONS


def test_new_connections_come_at_a_rate_even_if_none_stays() -> None:
    limits = AddressLimits(PLENTY, 2, 3)
    for _ in range(3):
        assert limits.enter("192.0.2.1", 10) is None
        limits.leave("192.0.2.1")
    assert limits.enter("192.0.2.1", 10) is AddressExcess.RATE
    assert limits.enter("192.0.2.2", 10) is None
    assert limits.enter("192.0.2.1", 10.5) is None
    assert limits.enter("192.0.2.1", 10.5) is AddressExcess.RATE


def test_a_bounded_number_of_addresses_is_remembered() -> None:
    limits = AddressLimits(PLENTY, 1, 1)
    assert limits.enter("192.0.2.1", 0) is None, "it stays"
    for number in range(MAX_IDLE_ADDRESSES + 5):
        address = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
        assert limits.enter(address, 0) is None
        limits.leave(address)
    assert len(limits) == MAX_IDLE_ADDRESSES + 1
    assert limits.enter("10.0.0.0", 0) is None, "forgotten: it was idle longest"
    assert limits.enter("192.0.2.1", 0) is AddressExcess.RATE


@given(st.lists(st.tuples(st.sampled_from(["192.0.2.1", "192.0.2.2"]), st.booleans())))
def test_the_count_is_that_of_the_connections_that_stay(steps: list[tuple[str, bool]]) -> None:
    limits, open_now = AddressLimits(3, PLENTY, PLENTY), {"192.0.2.1": 0, "192.0.2.2": 0}
    for address, comes in steps:
        if comes:
            has_room = open_now[address] < 3
            assert (limits.enter(address, 0) is None) is has_room
            open_now[address] += has_room
        elif open_now[address]:
            limits.leave(address)
            open_now[address] -= 1
