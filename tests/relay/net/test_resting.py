"""Peers rest until their time, in whatever order they began."""

import socket
from contextlib import ExitStack, closing

from relay.net.peer import Peer
from relay.net.resting import Resting
from relay.zmtp.connection import ZmtpConnection
from relay.zmtp.null_mechanism import NullMechanism
from relay.zmtp.reader import Bounds


def test_the_one_whose_rest_ends_first_goes_on_first() -> None:
    resting = Resting()
    assert resting.due_at == float("inf")
    with ExitStack() as stack:
        peers = [
            Peer(
                stack.enter_context(closing(socket.socket())),
                ZmtpConnection(NullMechanism(b"ROUTER"), Bounds(1, 1, 1)),
            )
            for _ in range(3)
        ]
        for peer, until in zip(peers, (7.0, 5.0, 6.0), strict=True):
            resting.add(peer, until)
        assert all(peer.is_resting for peer in peers)
        assert resting.due_at == 5.0
        assert list(resting.rested(4.9)) == []
        assert list(resting.rested(6.0)) == [peers[1].id, peers[2].id]
        assert list(resting.rested(100.0)) == [peers[0].id]
        assert resting.due_at == float("inf")
