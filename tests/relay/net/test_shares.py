"""One peer cannot take the places of all others."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from relay.core.permission import PeerList
from relay.net.shares import MIN_SHARE, Shares
from relay.shared.descriptor_room import MIN_RESERVED, OWN, DescriptorRoom
from relay.wire.peers import ListedPeer, PeerRole
from tests.relay.ports import open_port
from tests.support.zmtp_peer import GREETING, ready

ROOM = DescriptorRoom(400 + MIN_RESERVED + OWN, 400, 1)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_share_is_three_quarters_of_the_room_and_64_at_least() -> None:
    assert ROOM.max_connections == 400
    assert Shares(ROOM).most == 300
    assert Shares(DescriptorRoom(64, 0, 1)).most == MIN_SHARE


def test_a_connection_beyond_the_share_of_its_user_ends_and_has_room_later(
    stack: ExitStack,
) -> None:
    listed = PeerList.of([ListedPeer("edge-1", PeerRole.EDGE, uid=os.getuid())])
    xpub = open_port(stack, b"XPUB", peers=listed)
    xpub.port.newcomers.shares.most = 3
    first, *_ = (xpub.connect(stack, b"SUB") for _ in range(3))
    refused = xpub.connect(stack)
    refused.send(GREETING + ready(b"SUB"))
    xpub.wait_until(lambda: bool(xpub.counters.peers_cut), "the fourth is cut off")
    assert xpub.counters.peers_cut == {"ingress": {"too_many_connections": 1}}
    assert len(tuple(xpub.port.peers())) == 3
    first.close()
    xpub.wait_until(lambda: len(xpub.port) == 2, "the first has gone")
    xpub.connect(stack, b"SUB")
    assert len(tuple(xpub.port.peers())) == 3
    assert {peer.party for peer in xpub.port.peers()} == {os.getuid()}
