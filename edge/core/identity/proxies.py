"""Requests that come through a proxy: the client, the scheme and the hosts that it tells of.

A proxy tells of them in `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`, or in `Forwarded`
(RFC 7239). Anybody can send such headers, so they count only from a trusted peer.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from edge.core.identity.request_head import RequestHead

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANYBODY = "*"
MAX_HOPS = 32
"""Entries of a forwarded header that are read."""
_PAIR = re.compile(r'(?<![A-Za-z])([A-Za-z]{1,16})=(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))')
"""A name is looked for at its first letter only, and is short: the time grows with the header's
length, and not with its square."""
_MAPPED_BITS = 96
"""The prefix of IPv4 addresses that are written as IPv6 addresses, `::ffff:0:0/96`."""
_ADDED_BY_PROXIES = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
)
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""Some proxies name the scheme of a WebSocket."""
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?\Z")


class ForwardedRequest(NamedTuple):
    """The request as the client has sent it to the proxy; None for what the proxy does not tell."""

    client: str | None
    """The address of the client."""
    scheme: str | None
    """`http` or `https`."""


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The peers whose forwarded headers count."""

    networks: tuple[Network, ...]
    trusts_anybody: bool = False

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> "TrustedProxies":
        """Return the proxies at these addresses and networks; `*` stands for all. Raises
        `ValueError`."""
        networks = tuple(_network(text) for text in texts if text != ANYBODY)
        return cls(networks, trusts_anybody=ANYBODY in texts)

    def trusts(self, peer: str | None) -> bool:
        """Return whether the headers from `peer` count; None is the peer on a Unix socket.

        Only local processes with access to its directory can connect to such a socket.
        """
        if peer is None or self.trusts_anybody:
            return True
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)

    def read(self, head: RequestHead, peer: str | None) -> ForwardedRequest:
        """Return what the proxies tell of the client; nothing if `peer` is not trusted.

        Each proxy adds the address of its own peer behind the others. The client is therefore the
        last address that is not a trusted proxy; the addresses before it may be invented. If
        anybody is trusted, that is the last address of all.
        """
        if not self.trusts(peer):
            return ForwardedRequest(None, None)
        told = list(_told(head, "x-forwarded-for", "for"))[-MAX_HOPS:]
        client = None
        for client in map(_address, reversed(told)):
            if client is None or self.trusts_anybody or not self.trusts(client):
                break
        schemes = [value.lower() for value in _told(head, "x-forwarded-proto", "proto")]
        scheme = _SCHEMES.get(schemes[-1]) if schemes else None
        return ForwardedRequest(client, scheme)

    def scheme(self, head: RequestHead, peer: str | None) -> str:
        """Return the scheme in the client's URL: as a trusted proxy tells it, else the edge's
        own."""
        return self.read(head, peer).scheme or ("https" if head.is_encrypted else "http")

    def is_local(self, head: RequestHead, peer: str | None) -> bool:
        """Return whether a program on this machine has sent the request itself, to this machine.

        A proxy on this machine sends the requests of others. It is known by what it adds, or by the
        host, which is not that of this machine; so is a page that a browser here got from elsewhere
        under a name that now means this machine (DNS rebinding). On a Unix socket there is a proxy.
        """
        if peer is None or any(name in head.headers for name in _ADDED_BY_PROXIES):
            return False
        host = head.headers.get("host", "")
        return _is_loopback(peer) and (not host or _is_loopback(name_of(host)))

    def hosts(self, head: RequestHead, peer: str | None) -> Iterator[str]:
        """Yield the hosts, with their ports, by which the client may have named this edge."""
        own = head.headers.get("host", "")
        yield own
        if not self.trusts(peer):
            return
        forwarded = list(_told(head, "x-forwarded-host", "host"))[:MAX_HOPS]
        yield from forwarded
        for port in list(head.values("x-forwarded-port"))[:MAX_HOPS]:
            for host in (own, *forwarded):
                if host and (match := _HOST_AND_PORT.match(host)):
                    yield f"{match[1]}:{port}"


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def name_of(host: str) -> str:
    """Return the name or address in `host`, in lower case, without its port."""
    match = _HOST_AND_PORT.match(host)
    return (match[1] if match else host).lower().removesuffix(".")


def _network(text: str) -> Network:
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _told(head: RequestHead, name: str, key: str) -> Iterator[str]:
    """Yield the values of the header `name`; without it, those of `key` in `Forwarded`."""
    if name in head.headers:
        yield from head.values(name)
        return
    for found, quoted, token in _PAIR.findall(head.headers.get("forwarded", "")):
        if found.lower() == key and (value := quoted or token):
            yield value


def _address(text: str) -> str | None:
    """Return the address in an entry, which may have a port; None if it hides the client."""
    host = text.strip('"')
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
