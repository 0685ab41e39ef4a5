"""The edge's listening socket. It listens as soon as it is bound, and before any worker starts.

Two sockets that do not listen yet may be bound to one port; only one of them can listen. So of two
edges that start together exactly one goes on.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from edge.config import EdgeSettings
from relay.shared.addresses import ListenAddress, parse_listen_address
from relay.shared.file_lock import PathInUse, lock_beside
from relay.shared.settings import SettingsError

ANYBODY = 0o666
"""The mode of a Unix socket: as on a TCP port, every local user may connect, such as a proxy's."""


@contextlib.contextmanager
def listening(settings: EdgeSettings, backlog: int) -> Iterator[socket.socket]:
    """Yield the socket that listens at `settings`. Raises `SettingsError`, which names one."""
    address = parse_listen_address(settings.host)
    with ExitStack() as stack:
        if address.path:
            listener = _listen_at_path(Path(address.path), backlog, stack)
        else:
            listener = _listen_at_port(address, settings.port, backlog, stack)
        # For the worker processes.
        listener.set_inheritable(True)
        yield listener


def _listen_at_port(
    address: ListenAddress, port: int, backlog: int, stack: ExitStack
) -> socket.socket:
    try:
        # The first address of a name, as `connect` prefers it.
        family, _, _, _, where = socket.getaddrinfo(
            address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise SettingsError(
            f"EDGE_HOST: {address.host!r} is not an address here: {error.strerror}"
        ) from None
    try:
        listener = stack.enter_context(socket.socket(family))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address.host == "::":
            # Every interface means IPv4 as well, whatever the default of the machine is.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        listener.listen(backlog)
    except OSError as error:
        url = address.url(port).removeprefix("http://")
        raise SettingsError(f"EDGE_PORT: cannot listen on {url}: {error.strerror}") from None
    return listener


def _listen_at_path(path: Path, backlog: int, stack: ExitStack) -> socket.socket:
    try:
        # Released last: whoever has the lock may remove the path.
        stack.enter_context(lock_beside(path))
        _remove_stale(path)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        stack.callback(path.unlink, missing_ok=True)
        os.chmod(path, ANYBODY)
        listener.listen(backlog)
    except PathInUse:
        raise SettingsError(f"EDGE_HOST: unix:{path} is already in use") from None
    except OSError as error:
        problem = error.strerror or str(error)
        raise SettingsError(f"EDGE_HOST: cannot listen on unix:{path}: {problem}") from None
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket of a killed process. Raises `PathInUse`, or `OSError`.

    A file that is no socket stays, and so does a socket of other software that listens.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError("the file there is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise PathInUse
