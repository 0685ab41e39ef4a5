"""The addresses of sockets, as settings, options and arguments give them.

Everything that binds or connects a socket takes its address from here: a `ZmqAddress` for sockets
to and from the relay, a `ListenAddress` for the edge's own. Nothing here opens a socket.
"""

import ipaddress
import re
from dataclasses import dataclass, replace

MAX_PATH_BYTES = 107
"""The longest path of a Unix socket: Linux has room for 108 bytes with the final zero."""
LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\.?\Z")
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_ZMQ_FORM = "must be tcp://HOST:PORT or ipc://PATH"
_LISTEN_FORM = "must be an IP address, a host name, or unix:PATH"


@dataclass(frozen=True, slots=True)
class ZmqAddress:
    """The address of a ZeroMQ socket: `tcp` with host and port, or `ipc` with a path.

    An IPv6 address in `host` has no brackets.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host

    @property
    def is_name(self) -> bool:
        """Whether the host is the name of a host or of an interface."""
        return bool(self.host) and self.host != "*" and not _is_ip(self.host)

    @property
    def is_file(self) -> bool:
        """Whether the address is a file. A path that starts with `@` is a name in the kernel."""
        return self.path != "" and not self.path.startswith("@")

    def __str__(self) -> str:
        if self.path:
            return f"ipc://{self.path}"
        return f"tcp://{bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where an HTTP server listens: at a host, whose port is a setting of its own, or a path."""

    host: str = ""
    path: str = ""

    def url(self, port: int, *, is_encrypted: bool = False) -> str:
        """Return the URL of the server as people type it; every interface shows as it is."""
        scheme = "https" if is_encrypted else "http"
        return f"unix:{self.path}" if self.path else f"{scheme}://{bracketed(self.host)}:{port}"


def parse_zmq_address(text: str) -> ZmqAddress:
    """Return the address of a socket that listens. Raises `ValueError`, which says what is wrong.

    `tcp://*:PORT` listens on every interface, and a name may be that of an interface.
    """
    transport, separator, rest = text.partition("://")
    if not separator or transport not in ("tcp", "ipc") or not rest:
        raise ValueError(_ZMQ_FORM)
    if transport == "ipc":
        if rest == "*":
            raise ValueError(f"{_ZMQ_FORM}, whose path is not '*'")
        return ZmqAddress(path=_checked_path(rest))
    host, colon, port = rest.rpartition(":")
    if not (colon and host and _PORT.match(port) and 0 < int(port) < 65536):
        raise ValueError("must be tcp://HOST:PORT with a port from 1 to 65535")
    return ZmqAddress(_checked_host(host, "tcp://[::1]:5555", "*"), int(port))


def parse_peer_address(text: str) -> ZmqAddress:
    """Return the address of a socket to connect to. Raises `ValueError`."""
    address = parse_zmq_address(text)
    if address.host == "*":
        raise ValueError(
            f"{text} is an address to listen on; to connect, use {loopback(address)}"
            " or the name of the relay's host"
        )
    return address


def parse_listen_address(text: str) -> ListenAddress:
    """Return where an HTTP server listens: an address, a name, or `unix:PATH`.

    Raises `ValueError`.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise ValueError(_LISTEN_FORM)
        if path.startswith("@"):
            raise ValueError(f"{_LISTEN_FORM}, whose path does not start with '@'")
        return ListenAddress(path=_checked_path(path))
    if not text:
        raise ValueError(_LISTEN_FORM)
    if _is_ip(text):
        return ListenAddress(text)
    try:
        return ListenAddress(_checked_host(text, "[::1]", None))
    except ValueError as error:
        raise ValueError(f"{_LISTEN_FORM} ({error})") from None


def loopback(address: ZmqAddress) -> ZmqAddress:
    """Return the address at which this machine reaches a socket that listens at `address`."""
    return replace(address, host=LOOPBACK.get(address.host, address.host))


def bracketed(host: str) -> str:
    """Return `host` as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _checked_host(host: str, example: str, wildcard: str | None) -> str:
    """Return `host` without the brackets of an IPv6 address."""
    if host == wildcard:
        return host
    if host.startswith("[") and host.endswith("]"):
        if ":" not in host or not _is_ip(host[1:-1]):
            raise ValueError(f"{host} is not an IPv6 address")
        return host[1:-1]
    if ":" in host:
        raise ValueError(f"an IPv6 address stands in brackets, such as {example}")
    if _is_ip(host):
        return host
    if not _NAME.match(host) or host.replace(".", "").isdigit():
        raise ValueError(f"{host!r} is neither an IP address nor a host name")
    return host


def _is_ip(host: str) -> bool:
    address, percent, zone = host.partition("%")
    if percent and not (":" in address and _ZONE.match(zone)):
        return False
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _checked_path(path: str) -> str:
    if path != path.strip() or not path.isprintable():
        raise ValueError("a path has no control characters, and no spaces at its ends")
    size = len(path.encode(errors="surrogateescape"))
    if size > MAX_PATH_BYTES:
        raise ValueError(
            f"the path of a socket has at most {MAX_PATH_BYTES} bytes, and this one has {size}"
        )
    return path
