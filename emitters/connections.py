"""`Connections`: the file descriptors of libzmq's connections, to be closed in forked processes.

A forked process has copies of them. While it keeps them open, the relay sees the connection of its
parent even after the parent is gone: it would not end the parent's tasks, for example.
"""

import contextlib
import os

import zmq
from zmq.utils.monitor import parse_monitor_message

from relay.shared.transport import Socket

_EVENTS = zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED


class Connections:
    """Follows the sockets of one thread; only `close_in_child` is called by another one."""

    def __init__(self) -> None:
        self._monitors: list[Socket] = []
        self._inodes: dict[int, int] = {}
        """Descriptor to inode. That is the connection's own: the number may have been given to
        another file before this thread learned that it was closed."""

    def follow(self, socket: Socket) -> None:
        """Follow the connections of `socket`, which has none yet."""
        self._monitors.append(socket.get_monitor_socket(_EVENTS))

    def read(self) -> None:
        """Take notice of connections that were made and lost."""
        for monitor in self._monitors:
            with contextlib.suppress(zmq.Again):
                while True:
                    event = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
                    self._take(int(event["event"]), int(event["value"]))

    def close_in_child(self) -> None:
        """Close the copies in this process, which was forked from the one that uses them."""
        for descriptor, inode in self._inodes.items():
            if _inode(descriptor) == inode:
                os.close(descriptor)

    def _take(self, event: int, descriptor: int) -> None:
        inode = _inode(descriptor) if event == zmq.EVENT_CONNECTED else None
        if inode is None:
            self._inodes.pop(descriptor, None)
        else:
            self._inodes[descriptor] = inode


def _inode(descriptor: int) -> int | None:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return None
