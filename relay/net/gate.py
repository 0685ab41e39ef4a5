"""`Gate`: who may connect to one port, and with which rights."""

import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from relay.core.permission import PeerIdentity, PeerList, Rights
from relay.net.peer import Peer
from relay.zmtp.connection import ZmtpConnection
from relay.zmtp.null_mechanism import NullMechanism
from relay.zmtp.reader import Bounds

_UCRED = struct.Struct("=iII")
"""Process, user and group of the other end of a Unix socket, by the kernel."""


class Gate(NamedTuple):
    """Makes the `Peer` of an accepted connection.

    Over TCP a relay with a key speaks CURVE alone. A Unix socket needs no encryption, and the
    kernel tells who has connected.
    """

    socket_type: bytes
    bounds: Bounds
    peers: PeerList
    is_allowed: Callable[[Rights], bool]
    """Whether a listed peer may connect to this port."""
    secret_key: bytes = b""

    def welcome(self, accepted: socket.socket) -> Peer:
        """Return the peer of a connection. Its rights count once the connection is open."""
        if self.secret_key and accepted.family != socket.AF_UNIX:
            return self._with_key(accepted, self.secret_key)
        identity = _credentials(accepted)
        rights = self._rights_of(identity)
        told = "" if rights is not None else _refusal(identity)
        peer = Peer(accepted, ZmtpConnection(NullMechanism(self.socket_type, told), self.bounds))
        peer.identity, peer.rights = identity, rights
        peer.party = _host(accepted) if identity.uid is None else identity.uid
        return peer

    def has_changed(self, peer: Peer) -> bool:
        """Return whether the list says something else of `peer` than when it has connected."""
        if peer.identity is None:
            return False
        now, before = self._rights_of(peer.identity), peer.rights
        if now is None or before is None:
            return now is not before
        return now.listed != before.listed

    def _with_key(self, accepted: socket.socket, secret_key: bytes) -> Peer:
        # Here, for a relay without a key needs no package for it.
        from relay.zmtp.curve_mechanism import CurveMechanism

        def admits(key: bytes) -> bool:
            peer.identity, peer.party = PeerIdentity(key), key
            peer.rights = self._rights_of(peer.identity)
            return peer.rights is not None

        mechanism = CurveMechanism(self.socket_type, secret_key, admits)
        peer = Peer(accepted, ZmtpConnection(mechanism, self.bounds))
        return peer

    def _rights_of(self, credentials: PeerIdentity) -> Rights | None:
        rights = self.peers.rights_of(credentials)
        return rights if rights is not None and self.is_allowed(rights) else None


def _refusal(identity: PeerIdentity) -> str:
    if identity.uid is None:
        return "peers without a key may not connect to this socket"
    return f"user {identity.uid} may not connect to this socket"


def _credentials(accepted: socket.socket) -> PeerIdentity:
    if accepted.family != socket.AF_UNIX:
        return PeerIdentity(is_loopback=_is_loopback(accepted))
    try:
        packed = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except (OSError, AttributeError):
        return PeerIdentity()
    _process, user, group = _UCRED.unpack(packed)
    return PeerIdentity(uid=user, gid=group)


def _host(accepted: socket.socket) -> str:
    try:
        return str(accepted.getpeername()[0])
    except (OSError, IndexError):
        return ""


def _is_loopback(accepted: socket.socket) -> bool:
    host = _host(accepted)
    if not host:
        return False
    address = ipaddress.ip_address(host.partition("%")[0])
    # A socket for IPv6 and IPv4 shows addresses of IPv4 as those of IPv6.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
