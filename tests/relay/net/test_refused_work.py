"""Publishers of refused messages wait; the others of the port do not."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from relay.net import refused_work
from relay.net.peer import Peer
from relay.net.refused_work import MANY_ACCOUNTS, SHARE_OF_ALL, SHARE_OF_PARTY, RefusedWork
from tests.relay.ports import open_port
from tests.support.zmtp_peer import ZmtpPeer, message

LONG_S = 1000.0


class Publishers:
    """A port with two connections that are read."""

    def __init__(self, stack: ExitStack) -> None:
        self.opened = open_port(stack, b"XSUB")
        self.bad, self.good = (self.opened.connect(stack, b"PUB") for _ in range(2))
        self.bad_peer = self._peer_of(self.bad)
        self._peer_of(self.good)
        self.work = RefusedWork(self.opened.port)

    def _peer_of(self, connection: ZmtpPeer) -> Peer:
        connection.send(message(b"hello"))
        self.opened.received.clear()
        self.opened.wait_until(lambda: len(self.opened.received) == 1, "a message has come")
        return self.opened.received[0][0]

    def received(self) -> list[bytes]:
        """Both send once more; return what comes."""
        self.opened.received.clear()
        self.bad.send(message(b"bad"))
        self.good.send(message(b"good"))
        self.opened.wait_until(
            lambda: [b"good"] in [frames for _, frames in self.opened.received], "one has come"
        )
        for _ in range(3):
            self.opened.turn(0)
        return [frames[0] for _, frames in self.opened.received]


@pytest.fixture
def publishers() -> Iterator[Publishers]:
    with ExitStack() as stack:
        yield Publishers(stack)


def test_little_refused_work_lets_nobody_wait(publishers: Publishers) -> None:
    assert not publishers.work.charge(publishers.bad_peer, SHARE_OF_PARTY.burst_s / 2)
    assert sorted(publishers.received()) == [b"bad", b"good"]


def test_who_has_cost_much_waits_until_it_is_paid_and_loses_nothing(
    publishers: Publishers,
) -> None:
    assert publishers.work.charge(publishers.bad_peer, LONG_S)
    assert publishers.received() == [b"good"], "of the same party, which refuses nothing"
    publishers.opened.port.tick(time.monotonic() + 2 * LONG_S / SHARE_OF_PARTY.share)
    publishers.opened.wait_until(lambda: len(publishers.opened.received) == 2, "the rest has come")


def test_a_new_connection_of_the_party_has_its_debt(publishers: Publishers) -> None:
    publishers.work.charge(publishers.bad_peer, LONG_S)
    with ExitStack() as stack:
        again = publishers.opened.connect(stack, b"PUB")
        again.send(message(b"again"))
        publishers.opened.received.clear()
        publishers.opened.wait_until(lambda: bool(publishers.opened.received), "it is read once")
        assert publishers.work.charge(publishers.opened.received[0][0], 0.0)


def test_many_parties_have_one_share_together(publishers: Publishers) -> None:
    """Each is within its own."""
    peer = publishers.bad_peer
    waits = []
    for number in range(20):
        peer.party = number
        waits.append(publishers.work.charge(peer, SHARE_OF_ALL.burst_s / 10))
    assert waits[:9] == [False] * 9
    assert waits[-1]


def test_accounts_without_a_debt_are_forgotten(
    publishers: Publishers, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(refused_work, "monotonic", lambda: now)
    for number in range(2 * MANY_ACCOUNTS):
        publishers.bad_peer.party = number
        publishers.work.charge(publishers.bad_peer, 1e-9)
        now += 1.0
    assert len(publishers.work) <= MANY_ACCOUNTS
