"""`SocketCutter`: cuts TCP connections that another server holds and does not let go.

ASGI has no word for it: a server that is told to close a connection first waits until its client
has read everything, which a client that does not read never does.
"""

import asyncio
import contextlib
import math
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from edge.scheduling.deadlines import Deadlines

LOOK_INTERVAL_S = 1.0
"""Seconds between two looks at the descriptors of this process."""
DESCRIPTORS = "/dev/fd"
"""Has an entry for each open descriptor of this process, on Linux, macOS and BSD."""

Ends = tuple[tuple[str, int], tuple[str, int]]
"""Addresses of a TCP connection: ours and the client's, each as host and port."""


def ends_of(scope: Mapping[str, Any]) -> Ends | None:
    """Return the addresses of a connection by its ASGI scope.

    None for HTTP/2, where other streams share the connection, and for Unix sockets.
    """
    ours, theirs = scope.get("server"), scope.get("client")
    if scope.get("http_version") == "2" or not ours or not theirs or not ours[1]:
        return None
    # granian gives ports as text.
    return (ours[0], int(ours[1])), (theirs[0], int(theirs[1]))


class SocketCutter:
    """Finds connections by their addresses among all sockets of this process, and cuts them.

    A connection is not found where a proxy's headers have replaced the addresses in the scope.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, patience_s: float) -> None:
        """`patience_s`: seconds that `cut_late` leaves to a connection to end by itself."""
        self._loop = loop
        self._asked: dict[Ends, bool] = {}
        """The connections to look for, and whether to cut them as soon as they are found."""
        self._looked_at = -math.inf
        self._late = Deadlines[tuple[int, int]](loop, patience_s, _cut)
        """Descriptors and their inodes."""

    def cut(self, ends: Ends) -> None:
        """Cut a connection now, or within `LOOK_INTERVAL_S`."""
        self._ask(ends, is_urgent=True)

    def cut_late(self, ends: Ends) -> None:
        """Cut a connection if it is still there after `patience_s`."""
        self._ask(ends, is_urgent=False)

    def close(self) -> None:
        """Cut nothing more."""
        self._asked.clear()
        self._late.close()

    def _ask(self, ends: Ends, *, is_urgent: bool) -> None:
        # A look at all descriptors takes long when there are many: strangers may come and go.
        if not self._asked:
            look_at = max(self._looked_at + LOOK_INTERVAL_S, self._loop.time())
            self._loop.call_at(look_at, self._find)
        self._asked[ends] = is_urgent or self._asked.get(ends, False)

    def _find(self) -> None:
        asked, self._asked = self._asked, {}
        self._looked_at = self._loop.time()
        for ends, descriptor, inode in _connections():
            if (is_urgent := asked.get(ends)) is None:
                continue
            # The inode tells a connection from a later one with the same descriptor or addresses.
            if is_urgent:
                _cut((descriptor, inode))
            else:
                self._late.add((descriptor, inode))


def _connections() -> Iterator[tuple[Ends, int, int]]:
    """Yield addresses, descriptor and inode of every TCP connection of this process."""
    for name in os.listdir(DESCRIPTORS):
        with contextlib.suppress(OSError), _borrowed(int(name)) as (sock, inode):
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                yield (sock.getsockname()[:2], sock.getpeername()[:2]), int(name), inode


def _cut(connection: tuple[int, int]) -> None:
    descriptor, inode = connection
    with contextlib.suppress(OSError), _borrowed(descriptor) as (sock, found):
        if found == inode:
            sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _borrowed(descriptor: int) -> Iterator[tuple[socket.socket, int]]:
    """Lend the socket behind a descriptor, and its inode. Raises `OSError` if there is none.

    A copy is lent: the owner, maybe on another thread, may close its descriptor at any time.
    """
    copy = os.dup(descriptor)
    try:
        status = os.fstat(copy)
        if not stat.S_ISSOCK(status.st_mode):
            raise OSError("not a socket")
    except OSError:
        os.close(copy)
        raise
    with socket.socket(fileno=copy) as sock:
        yield sock, status.st_ino
