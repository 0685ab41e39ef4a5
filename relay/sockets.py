"""The relay's three sockets: bound on construction, with their bounds."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterable

from relay.config import RelaySettings
from relay.core.counters import RelayCounters
from relay.core.permission import PeerList, Rights
from relay.core.subscribers import MAX_PREFIX_BYTES
from relay.net.gate import Gate
from relay.net.listening import change_mode, listening
from relay.net.newcomers import Newcomers
from relay.net.port import Port
from relay.net.port_bounds import PortBounds
from relay.net.shares import Shares
from relay.shared.descriptor_room import DescriptorRoom
from relay.shared.descriptors import raise_limit
from relay.wire.control import MAX_CONTROL_BYTES
from relay.wire.envelope import MAX_ENVELOPE_BYTES
from relay.wire.peers import ListedPeer
from relay.zmtp.reader import Bounds

MAX_CONNECTIONS = 65_536
"""Two for each emitter and each worker of an edge; the relay knows 20,000 emitters."""
LONGEST_BACKLOG = 100
"""Connections that the kernel holds for each socket."""
MIB = 1024 * 1024
MAX_FRAMES = 8
"""A message has at most three. A few more are malformed, and more than these end the connection."""
MAX_FRAME_BYTES = 16 * MAX_ENVELOPE_BYTES
"""The peer that sends a larger frame is cut off. Of an envelope between its own limit and this one
the beginning is kept; it is refused, counted and logged."""
HEAD_BYTES = 1_024
"""Topic and header beside the envelope."""
MAX_CONTROL_FRAME_BYTES = 2 * MAX_CONTROL_BYTES
MAX_INCOMPLETE_BYTES = 128 * MIB
MAX_SUBSCRIPTIONS_BYTES = MIB
"""Of subscriptions that wait for a publisher that does not read them."""
MAX_REPLIES_BYTES = 2 * MIB
"""Of replies that wait for a peer: with more, its requests wait."""
INGRESS = Bounds(MAX_ENVELOPE_BYTES + HEAD_BYTES, MAX_FRAME_BYTES, MAX_FRAMES)
EGRESS = Bounds(MAX_PREFIX_BYTES + 1, MAX_PREFIX_BYTES + 1, 1)
CONTROL = Bounds(MAX_CONTROL_BYTES, MAX_CONTROL_FRAME_BYTES, MAX_FRAMES)
INGRESS_PORT = PortBounds(MAX_SUBSCRIPTIONS_BYTES, 64 * MIB, MAX_INCOMPLETE_BYTES)
CONTROL_PORT = PortBounds(MAX_REPLIES_BYTES, 128 * MIB, MAX_INCOMPLETE_BYTES, pauses=True)
NAMES = {b"XSUB": "ingress", b"XPUB": "egress", b"ROUTER": "control"}
ALLOWED: dict[bytes, Callable[[Rights], bool]] = {
    b"XSUB": lambda rights: rights.may_publish,
    b"XPUB": lambda rights: rights.may_subscribe,
    b"ROUTER": lambda _rights: True,
}
"""Type of the socket to the listed peers that may connect to it."""
EGRESS_SHARE = 4
"""So many times the bytes that may wait for one subscriber may wait for all."""


class RelaySockets:
    """The ingress (XSUB), the egress (XPUB) and the control socket (ROUTER), until `close`.

    Raises `AddressInUse`.
    """

    def __init__(
        self, settings: RelaySettings, counters: RelayCounters, listed: Iterable[ListedPeer] = ()
    ) -> None:
        """`listed` are the peers that may connect; without any, everybody may."""
        self._counters = counters
        self._plain_tcp = settings.plain_tcp
        own = settings.keys
        self._secret_key = b"" if own is None else own.secret
        self._own_key = b"" if own is None else own.public
        self._peers = PeerList.of(listed, self._own_key, os.getuid())
        self._bound: list[socket.socket] = []
        with contextlib.ExitStack() as undo:
            self._undo = undo
            self._room = _raised_room()
            self._shares = Shares(self._room)
            egress = PortBounds(
                settings.egress_bytes, EGRESS_SHARE * settings.egress_bytes, MAX_INCOMPLETE_BYTES
            )
            self.ingress = self._open(b"XSUB", settings.ingress, INGRESS, INGRESS_PORT)
            self.egress = self._open(b"XPUB", settings.egress, EGRESS, egress)
            self.control = self._open(b"ROUTER", settings.control, CONTROL, CONTROL_PORT)
            self._closing = undo.pop_all()

    @property
    def all(self) -> tuple[Port, Port, Port]:
        """The three, subscriptions and requests before events."""
        return self.egress, self.control, self.ingress

    def change_peers(self, listed: Iterable[ListedPeer]) -> None:
        """Have `listed` be the peers that may connect, and cut those off whose rights are others.

        They connect again by themselves, if they still may.
        """
        self._peers.become(PeerList.of(listed, self._own_key, os.getuid()))
        for bound in self._bound:
            change_mode(bound, self._mode)
        for port in self.all:
            port.recheck()

    def close(self) -> None:
        """End all connections, and release the addresses."""
        self._closing.close()

    @property
    def _mode(self) -> int:
        # The kernel tells who connects, so that any listed user may try.
        return 0o666 if self._peers.has_other_users else 0o600

    def _open(self, kind: bytes, endpoint: str, bounds: Bounds, port_bounds: PortBounds) -> Port:
        name = NAMES[kind]
        gate = Gate(kind, bounds, self._peers, ALLOWED[kind], self._secret_key)
        setting = f"RELAY_{name.upper()}"
        may_be_open = self._plain_tcp or bool(self._secret_key)
        bound = self._undo.enter_context(
            listening(
                endpoint,
                setting,
                self._room.backlog,
                may_be_open=may_be_open,
                mode=self._mode,
            )
        )
        self._bound.append(bound)
        newcomers = Newcomers(self._room, self._counters, self._shares)
        port = Port(name, bound, gate, newcomers, port_bounds, self._counters)
        return self._undo.enter_context(contextlib.closing(port))


def _raised_room() -> DescriptorRoom:
    """Raise the limit of descriptors as far as possible, and return what it allows."""
    limit = raise_limit(DescriptorRoom.needed(MAX_CONNECTIONS, LONGEST_BACKLOG))
    return DescriptorRoom(limit, MAX_CONNECTIONS, LONGEST_BACKLOG)
