"""Sockets that listen at the address of a setting, and the options of accepted connections."""

import contextlib
import errno
import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from relay.shared.addresses import ZmqAddress, parse_zmq_address
from relay.shared.file_lock import PathInUse, lock_beside
from relay.shared.posix import fcntl
from relay.shared.transport import (
    KEEPALIVE_COUNT,
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    UNACKNOWLEDGED_MS,
)

_ADDRESS_OF_INTERFACE = 0x8915
"""`SIOCGIFADDR` of Linux."""


class AddressInUse(Exception):  # noqa: N818 - clear without a suffix
    """An endpoint that cannot be bound; the text names the setting and the endpoint."""


@contextlib.contextmanager
def listening(
    endpoint: str, setting: str, backlog: int, *, may_be_open: bool = False, mode: int = 0o600
) -> Iterator[socket.socket]:
    """Listen at `endpoint`, the value of `setting`, while the body runs. Raises `AddressInUse`.

    Without `may_be_open`, a TCP address that other machines reach is refused. `mode` is that of a
    Unix socket: who may write to it may connect.

    Of an `ipc://` path the lock beside it is held: one process at a time listens there.
    """
    address = parse_zmq_address(endpoint)
    with contextlib.ExitStack() as stack:
        try:
            if address.is_file:
                stack.enter_context(lock_beside(Path(address.path)))
                bound = stack.enter_context(_unix_socket(Path(address.path), mode))
            else:
                bound = stack.enter_context(_bound(address))
                if not (may_be_open or address.path or _is_loopback(bound)):
                    raise AddressInUse(
                        f"{setting}: {endpoint} would take events from everybody who reaches it:"
                        " set RELAY_CURVE_KEY_FILE, or RELAY_PLAIN_TCP=true in a network that is"
                        " yours alone"
                    )
            bound.setblocking(False)
            bound.listen(backlog)
        except PathInUse:
            raise AddressInUse(f"{setting}: {endpoint} is already in use") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUse(f"{setting}: {endpoint} is already in use") from None
            text = error.strerror or str(error)
            raise AddressInUse(f"{setting}: cannot listen on {endpoint}: {text}") from None
        yield bound


def change_mode(bound: socket.socket, mode: int) -> None:
    """Let others connect to a Unix socket, or no longer, if it has a path."""
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX and isinstance(name, str) and name:
        Path(name).chmod(mode)


def prepare(accepted: socket.socket) -> None:
    """Set the options of a connection. Raises `OSError`.

    The loss of a host is noticed within 5 s, or 10 s if data was on its way to it.
    """
    accepted.setblocking(False)
    if accepted.family == socket.AF_UNIX:
        return
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


@contextlib.contextmanager
def _unix_socket(path: Path, mode: int) -> Iterator[socket.socket]:
    """Return a socket at `path`, whose lock is held; the path of an earlier process is replaced."""
    if path.is_socket():
        path.unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        # Nobody connects before: it does not listen yet.
        path.chmod(mode)
        try:
            yield bound
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _bound(address: ZmqAddress) -> socket.socket:
    """Return a socket that is bound to a host, or to a name in the kernel."""
    family: int = socket.AF_UNIX
    where: str | tuple[str, int] = "\0" + address.path.removeprefix("@")
    if not address.path:
        family, where = _resolved(address)
    bound = socket.socket(family)
    try:
        if family != socket.AF_UNIX:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.host != "*"))
        bound.bind(where)
    except BaseException:
        bound.close()
        raise
    return bound


def _is_loopback(bound: socket.socket) -> bool:
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def _resolved(address: ZmqAddress) -> tuple[int, tuple[str, int]]:
    """Return family and address of a host: every interface, one by its name, or a host."""
    if address.host == "*":
        if socket.has_dualstack_ipv6():
            return socket.AF_INET6, ("::", address.port)
        return socket.AF_INET, ("0.0.0.0", address.port)
    if address.host in (name for _, name in socket.if_nameindex()):
        return socket.AF_INET, (_address_of(address.host), address.port)
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    # IPv4 first: a name usually stands for both, and emitters try that one.
    family, _, _, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, where  # type: ignore[return-value]  # IPv6 has a scope behind the port


def _address_of(interface: str) -> str:
    """Return the IPv4 address of a network interface. Raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = interface.encode()[:15].ljust(40, b"\0")
        found = fcntl.ioctl(any_socket, _ADDRESS_OF_INTERFACE, request)
    return socket.inet_ntoa(found[20:24])
