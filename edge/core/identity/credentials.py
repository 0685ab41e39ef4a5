"""The credentials in a request, for every road into the edge (protocol section 7).

A request may carry several. The first valid one in the documented order tells the user: header,
query, subprotocol, cookie. An invalid one beside a valid one does no harm.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple
from urllib.parse import urlsplit

from edge.core.identity.proxies import TrustedProxies, name_of
from edge.core.identity.request_head import RequestHead

COOKIE_NAME = "access_token_cookie"
"""The cookie of every front end, whichever cookie the edge itself sets."""
SUBPROTOCOL = "event-relay"
"""The subprotocol that the edge chooses if it is offered."""
TOKEN_SUBPROTOCOL = f"{SUBPROTOCOL}.bearer."
"""Begins an offered subprotocol that carries a token. It is never chosen."""
MAX_TOKENS = 8
"""Tokens of one kind in one request that are looked at."""

HOST_PREFIX = "__Host-"
"""Begins the name of a cookie that browsers take only by TLS, from this very host, for all of its
paths (RFC 6265bis, section 4.1.3): no other host of the domain can set it."""
_OWN_SITES = ("same-origin", "none")
"""The values of `Sec-Fetch-Site` for our own pages, and for an address that somebody has typed."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Credentials(NamedTuple):
    """The tokens in a request, in the order in which they count."""

    explicit: tuple[str, ...]
    """Those in the header, the query and the subprotocols."""
    cookies: tuple[str, ...]
    """Those in cookies, if a page may use them."""
    refused_origin: str | None = None
    """The `Origin` of a page that may not use its cookie."""


@dataclass(frozen=True, slots=True)
class CredentialRules:
    """Where the edge looks for tokens, and which pages it serves."""

    cookie_names: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    """Origins, beside the edge's own, whose pages may use the cookie on `/ws`."""
    proxies: TrustedProxies
    allowed_hosts: tuple[str, ...] = ()
    """Names of this edge in lower case, `*.example.org` for those below one; all if empty."""

    def of_request(self, head: RequestHead) -> Credentials:
        """Return the credentials in a request to the HTTP API.

        Whatever page it comes from: a page elsewhere cannot read the answer.
        """
        return Credentials(_explicit(head), self._cookies(head))

    def of_handshake(self, head: RequestHead, peer: str | None) -> Credentials:
        """Return the credentials in a WebSocket handshake; `peer` is the address of its sender.

        The cookie counts only with an allowed origin. A browser sends it with handshakes of any
        page, so otherwise every site could act for its visitors.
        """
        cookies = self._cookies(head)
        origin = head.headers.get("origin")
        if not cookies or self.is_allowed(origin, head, peer):
            return Credentials(_explicit(head), cookies)
        return Credentials(_explicit(head), (), origin)

    def _cookies(self, head: RequestHead) -> tuple[str, ...]:
        if "cookie" not in head.headers:
            return ()
        return tuple(
            token
            for name in self.cookie_names
            for token in islice(head.cookies(name), MAX_TOKENS)
            if token
        )

    def is_allowed(self, origin: str | None, head: RequestHead, peer: str | None) -> bool:
        """Return whether pages of `origin` may use the cookies of this edge."""
        if origin is None:
            return False
        if origin in self.allowed_origins:
            return True
        try:
            scheme, netloc, *_ = urlsplit(origin)
        except ValueError:
            return False
        # A page that came unencrypted may be anybody's.
        if scheme != self.proxies.scheme(head, peer):
            return False
        # Browsers leave the default port of a scheme out of the origin; proxies may name it.
        ours = (
            host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, " "))
            for host in self.proxies.hosts(head, peer)
        )
        return bool(netloc) and netloc.lower() in ours

    def is_foreign(self, head: RequestHead, peer: str | None) -> bool:
        """Return whether a page elsewhere may have made a browser send this request.

        By `Sec-Fetch-Site`, which tells more than `Origin` and needs no host; browsers leave it out
        on `http`. Programs send neither. With a token in `Authorization`, which no browser sends by
        itself, it does not matter where a request comes from.
        """
        if any(bearer_tokens(head)):
            return False
        origin, site = head.headers.get("origin"), head.headers.get("sec-fetch-site")
        if origin in self.allowed_origins:
            return False
        if site is not None:
            return site not in _OWN_SITES
        return origin is not None and not self.is_allowed(origin, head, peer)

    def serves_host(self, head: RequestHead, peer: str | None) -> bool:
        """Return whether a request calls this edge by an allowed name."""
        return not self.allowed_hosts or self.public_host(head, peer) is not None

    def public_host(self, head: RequestHead, peer: str | None) -> str | None:
        """Return the host in the client's URL, with its port, if it is one of `allowed_hosts`.

        Anybody may send any `Host`: no link is made of another one.
        """
        return next((host for host in self.proxies.hosts(head, peer) if self._names(host)), None)

    def _names(self, host: str) -> bool:
        name = name_of(host)
        return any(
            name == each or (each.startswith("*.") and name.endswith(each[1:]))
            for each in self.allowed_hosts
        )


def chosen_subprotocol(head: RequestHead) -> str | None:
    """Return the subprotocol for the answer to a handshake; None if ours was not offered."""
    if "sec-websocket-protocol" not in head.headers:
        return None
    return SUBPROTOCOL if SUBPROTOCOL in head.values("sec-websocket-protocol") else None


def _explicit(head: RequestHead) -> tuple[str, ...]:
    return (
        *islice(bearer_tokens(head), MAX_TOKENS),
        *islice((value for name, value in head.query if name == "token" and value), MAX_TOKENS),
        *islice(_subprotocol_tokens(head), MAX_TOKENS),
    )


def bearer_tokens(head: RequestHead) -> Iterator[str]:
    """Yield the tokens in `Authorization`; other schemes are for somebody else, such as a proxy."""
    if "authorization" in head.headers:
        for value in head.values("authorization"):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and (stripped := token.strip()):
                yield stripped


def _subprotocol_tokens(head: RequestHead) -> Iterator[str]:
    if "sec-websocket-protocol" in head.headers:
        for value in head.values("sec-websocket-protocol"):
            if value.startswith(TOKEN_SUBPROTOCOL):
                yield value.removeprefix(TOKEN_SUBPROTOCOL)
