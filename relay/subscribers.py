"""`Subscribers`: the connections of the egress; one that reads too slowly is cut.

libzmq tells the descriptor of a connection with each subscription that it reads from it.
"""

import logging
import os
import select
import socket
import struct

import zmq

from relay.borrowed_socket import borrowed_socket, shut_down
from relay.core.egress_budget import EgressBudget, KernelState
from relay.shared.logs import LimitedLog

_ACKNOWLEDGED_BYTES = struct.Struct("=120xQ")
"""`tcpi_bytes_acked` in Linux's `tcp_info`."""

logger = logging.getLogger(__name__)


class Subscribers:
    """Looks at the connections as they are in the kernel.

    libzmq owns the descriptors, and may close one at any time; it may then be another connection's.
    The inode tells them apart.
    """

    def __init__(self, max_waiting_bytes: int) -> None:
        self.budget = EgressBudget(max_waiting_bytes)
        self._max_waiting_bytes = max_waiting_bytes
        self._inodes: dict[int, int] = {}
        """Descriptor to inode."""
        self._log = LimitedLog(logger)

    def heard(self, frame: zmq.Frame) -> None:
        """Note the connection from which a subscription has come."""
        try:
            descriptor = int(frame.get(zmq.SRCFD))
            inode = os.fstat(descriptor).st_ino
        except (zmq.ZMQError, OSError, KeyError):
            return  # It has ended already.
        if self._inodes.get(descriptor) != inode:
            self._inodes[descriptor] = inode
            self.budget.begin(descriptor)

    def cut_slow_ones(self) -> int:
        """End the connections for which too many bytes wait; return their number.

        Their subscribers connect again, and have the events replayed that they missed.
        """
        slow = self.budget.look(self._states())
        for descriptor in slow:
            shut_down(descriptor)
            self._forget(descriptor)
            self._log.warning(
                "slow",
                "cut the connection of a subscriber that does not read: more than %d bytes wait",
                self._max_waiting_bytes,
            )
        return len(slow)

    def _states(self) -> dict[int, KernelState]:
        poll = select.poll()
        for descriptor, inode in list(self._inodes.items()):
            if _inode(descriptor) == inode:
                poll.register(descriptor, select.POLLOUT)
            else:
                self._forget(descriptor)
        free = {descriptor for descriptor, events in poll.poll(0) if events & select.POLLOUT}
        return {
            descriptor: KernelState(descriptor not in free, _acknowledged_bytes(descriptor))
            for descriptor in self._inodes
        }

    def _forget(self, descriptor: int) -> None:
        self._inodes.pop(descriptor, None)
        self.budget.end(descriptor)


def _inode(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0


def _acknowledged_bytes(descriptor: int) -> int:
    """Return what a TCP connection tells; 0 for a Unix socket, which does not."""
    try:
        with borrowed_socket(descriptor) as connection:
            size = _ACKNOWLEDGED_BYTES.size
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        return int(_ACKNOWLEDGED_BYTES.unpack(info)[0])
    except (OSError, struct.error):
        return 0
