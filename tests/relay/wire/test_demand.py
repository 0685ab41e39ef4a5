"""Digests of watched topics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.demand import pack_digests, topic_digest, unpack_digests
from relay.wire.errors import InvalidFrame


def test_the_digest_of_a_topic_is_the_same_in_every_language() -> None:
    packed = pack_digests([topic_digest("resource-monitor:survival"), 1])
    assert packed.hex() == "d0d177bfd0f7f69f" + "0000000000000001"
    assert topic_digest("live:ä") != topic_digest("live:a")


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_digests_survive_the_way(digests: list[int]) -> None:
    assert list(unpack_digests(pack_digests(digests))) == digests


def test_half_a_digest_is_refused() -> None:
    with pytest.raises(InvalidFrame):
        unpack_digests(bytes(12))
