"""Connections that were just accepted: all are reserved in a room of this size, or none."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from relay.core.counters import RelayCounters
from relay.net.newcomers import HANDSHAKE_TIMEOUT_S, MAX_SILENT, STAY_S, Newcomers
from relay.net.peer import Peer
from relay.shared.descriptor_room import DescriptorRoom
from relay.zmtp.connection import ZmtpConnection
from relay.zmtp.null_mechanism import NullMechanism
from relay.zmtp.reader import Bounds

NO_ROOM = DescriptorRoom(64, 0, 100)
"""Every descriptor is reserved."""
ROOM = DescriptorRoom(10**6, 1000, 100)
SMALL = DescriptorRoom(1000, 1000, 100)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def peer(stack: ExitStack) -> Peer:
    accepted = stack.enter_context(closing(socket.socket()))
    return Peer(accepted, ZmtpConnection(NullMechanism(b"XSUB"), Bounds(1, 1, 1)))


def new(room: DescriptorRoom) -> tuple[Newcomers, RelayCounters]:
    counters = RelayCounters()
    return Newcomers(room, counters), counters


def test_nothing_is_due_without_newcomers() -> None:
    newcomers, _ = new(ROOM)
    assert newcomers.due_at == float("inf")
    assert list(newcomers.overdue(10**9)) == []


def test_a_connection_that_says_what_it_is_stays(stack: ExitStack) -> None:
    newcomers, counters = new(ROOM)
    known = peer(stack)
    newcomers.accepted(known, 5.0)
    assert newcomers.due_at == 5.0 + HANDSHAKE_TIMEOUT_S
    newcomers.opened(known)
    assert newcomers.due_at == float("inf")
    assert list(newcomers.overdue(10**9)) == []
    assert counters.connections_refused == 0


def test_a_silent_one_ends_in_its_time(stack: ExitStack) -> None:
    newcomers, _ = new(ROOM)
    first, second = peer(stack), peer(stack)
    newcomers.accepted(first, 0.0)
    newcomers.accepted(second, 1.0)
    assert list(newcomers.overdue(HANDSHAKE_TIMEOUT_S - 0.001)) == []
    assert list(newcomers.overdue(HANDSHAKE_TIMEOUT_S)) == [(first, "silent")]
    assert newcomers.due_at == 1.0 + HANDSHAKE_TIMEOUT_S
    assert list(newcomers.overdue(1.0 + HANDSHAKE_TIMEOUT_S)) == [(second, "silent")]


def test_the_oldest_silent_one_gives_way(stack: ExitStack) -> None:
    newcomers, _ = new(DescriptorRoom(10**6, 10**5, 100))
    one = peer(stack)
    newcomers.accepted(one, 0.0)
    for _ in range(MAX_SILENT - 1):
        newcomers.accepted(Peer(one.socket, one.connection), 0.0)
    assert list(newcomers.overdue(0.0)) == []
    newcomers.accepted(peer(stack), 0.0)
    assert list(newcomers.overdue(0.0)) == [(one, "silent")]


def test_silent_ones_leave_most_descriptors_to_others(stack: ExitStack) -> None:
    newcomers, _ = new(SMALL)
    one = peer(stack)
    for _ in range(200):
        newcomers.accepted(Peer(one.socket, one.connection), 0.0)
    assert len(list(newcomers.overdue(0.0))) == 200 - SMALL.max_connections // 8


def test_a_connection_on_a_reserved_descriptor_is_cut_after_a_moment(
    stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    newcomers, counters = new(NO_ROOM)
    known = peer(stack)
    newcomers.accepted(known, 0.0)
    newcomers.opened(known)
    assert counters.connections_refused == 1
    assert "may open 64 file descriptors" in caplog.text
    assert newcomers.due_at == STAY_S
    assert list(newcomers.overdue(STAY_S / 2)) == []
    assert list(newcomers.overdue(STAY_S)) == [(known, "no_descriptor")]
    assert newcomers.due_at == float("inf")


def test_the_oldest_is_cut_when_too_many_linger(stack: ExitStack) -> None:
    newcomers, _ = new(NO_ROOM)
    found = [peer(stack) for _ in range(NO_ROOM.backlog + 1)]
    for each in found:
        newcomers.accepted(each, 0.0)
        newcomers.opened(each)
    assert list(newcomers.overdue(0.0)) == [(found[0], "no_descriptor")]


def test_a_peer_that_has_gone_meanwhile_is_not_cut(stack: ExitStack) -> None:
    newcomers, _ = new(NO_ROOM)
    known = peer(stack)
    newcomers.accepted(known, 0.0)
    known.is_ended = True
    newcomers.opened(known)
    assert list(newcomers.overdue(STAY_S)) == []
