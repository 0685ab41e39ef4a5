"""The relay's sockets: bound on construction, with their options and limits."""

import contextlib
from pathlib import Path

import zmq

from relay.config import RelaySettings
from relay.newcomers import Newcomers
from relay.shared.addresses import parse_zmq_address
from relay.shared.descriptor_room import DescriptorRoom
from relay.shared.descriptors import raise_limit
from relay.shared.file_lock import PathInUse, lock_beside
from relay.shared.transport import Socket, bind, open_socket

UNLIMITED = 0
MAX_CONNECTIONS = 65_536
"""Two for each emitter and each worker of an edge; the relay knows 20,000 emitters."""
LONGEST_BACKLOG = 100
"""Connections that the kernel holds for each socket; libzmq's default."""
MAX_SUBSCRIPTION_BYTES = 1024
"""libzmq closes the connection of a subscriber that sends more."""


class AddressInUse(Exception):  # noqa: N818 - clear without a suffix
    """An endpoint that cannot be bound; the text names the setting and the endpoint."""


class RelaySockets:
    """The ingress (XSUB), the egress (XPUB) and the control socket (ROUTER), until `close`.

    Raises `AddressInUse`. ZeroMQ counts messages and not bytes: where no limit is set here, its
    default holds, 1000 messages for each connection.
    """

    def __init__(self, settings: RelaySettings) -> None:
        with contextlib.ExitStack() as undo:
            # Released last: libzmq removes an `ipc://` path when it closes the socket, and would
            # remove the path of the next relay if that one could bind it before.
            self._locks = undo.enter_context(contextlib.ExitStack())
            self._context: zmq.Context[Socket] = zmq.Context()
            undo.callback(self._context.destroy, linger=0)
            self.ingress = self._open_ingress()
            self.egress = self._open_egress(settings.egress_hwm)
            self.control = self._open_control()
            self.newcomers = Newcomers(self._context, _raised_room())
            self._bind(self.ingress, settings.ingress, "RELAY_INGRESS")
            self._bind(self.egress, settings.egress, "RELAY_EGRESS")
            self._bind(self.control, settings.control, "RELAY_CONTROL")
            self._closing = undo.pop_all()

    def close(self) -> None:
        """Close the sockets, drop unsent messages, and release the paths."""
        self._closing.close()

    def _open_ingress(self) -> Socket:
        socket = open_socket(self._context, zmq.XSUB)
        # Without it, a later frame of an event that starts with 0 or 1 reads as a subscription.
        socket.setsockopt(zmq.ONLY_FIRST_SUBSCRIBE, 1)
        # ZeroMQ drops subscriptions above the high-water mark in silence. They are bounded by
        # `relay.shared.covering_prefixes`.
        socket.setsockopt(zmq.SNDHWM, UNLIMITED)
        return socket

    def _open_egress(self, max_queued: int) -> Socket:
        socket = open_socket(self._context, zmq.XPUB)
        # Above it, the newest messages of a slow edge are dropped. The edge notices the gap.
        socket.setsockopt(zmq.SNDHWM, max_queued)
        # Every subscription of every subscriber is read, so that they can be counted.
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        # Only subscriptions come from there. libzmq removes a prefix by recursion, one call a byte:
        # a long one would end the process.
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_SUBSCRIPTION_BYTES)
        return socket

    def _open_control(self) -> Socket:
        socket = open_socket(self._context, zmq.ROUTER)
        # Sending to a peer that is gone has to fail: that is how its end is noticed.
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A peer that reconnects before its old connection is closed replaces it.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        return socket

    def _bind(self, socket: Socket, endpoint: str, setting: str) -> None:
        address = parse_zmq_address(endpoint)
        if address.is_file:
            self._lock(Path(address.path), endpoint, setting)
        try:
            self.newcomers.watch(socket)
            bind(socket, endpoint)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise AddressInUse(f"{setting}: {endpoint} is already in use") from None
            raise AddressInUse(f"{setting}: cannot listen on {endpoint}: {error}") from None

    def _lock(self, path: Path, endpoint: str, setting: str) -> None:
        """Hold the lock beside an `ipc://` path: libzmq would take a path over that is in use."""
        try:
            self._locks.enter_context(lock_beside(path))
        except PathInUse:
            raise AddressInUse(f"{setting}: {endpoint} is already in use") from None
        except OSError as error:
            raise AddressInUse(f"{setting}: cannot listen on {endpoint}: {error}") from None


def _raised_room() -> DescriptorRoom:
    """Raise the limit of descriptors as far as possible, and return what it allows."""
    limit = raise_limit(DescriptorRoom.needed(MAX_CONNECTIONS, LONGEST_BACKLOG))
    return DescriptorRoom(limit, MAX_CONNECTIONS, LONGEST_BACKLOG)
