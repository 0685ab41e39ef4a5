"""The credentials in a request, for every road into the edge (protocol section 7).

A request may carry several. The first valid one in the documented order tells the user: header,
query, subprotocol, cookie. An invalid one beside a valid one does no harm.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple
from urllib.parse import urlsplit

from edge.core.identity.proxies import TrustedProxies
from edge.core.identity.request_head import RequestHead

COOKIE_NAME = "access_token_cookie"
"""The cookie of every front end, whichever cookie the edge itself sets."""
SUBPROTOCOL = "event-relay"
"""The subprotocol that the edge chooses if it is offered."""
TOKEN_SUBPROTOCOL = f"{SUBPROTOCOL}.bearer."
"""Begins an offered subprotocol that carries a token. It is never chosen."""
MAX_TOKENS = 8
"""Tokens of one kind in one request that are looked at."""

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
    """Where the edge looks for tokens."""

    cookie_names: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    """Origins, beside the edge's own, whose pages may use the cookie on `/ws`."""
    proxies: TrustedProxies

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
        # Browsers leave the default port of a scheme out of the origin; proxies may name it.
        ours = (
            host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, " "))
            for host in self.proxies.hosts(head, peer)
        )
        return bool(netloc) and netloc.lower() in ours


def chosen_subprotocol(head: RequestHead) -> str | None:
    """Return the subprotocol for the answer to a handshake; None if ours was not offered."""
    if "sec-websocket-protocol" not in head.headers:
        return None
    return SUBPROTOCOL if SUBPROTOCOL in head.values("sec-websocket-protocol") else None


def _explicit(head: RequestHead) -> tuple[str, ...]:
    return (
        *islice(_bearer_tokens(head), MAX_TOKENS),
        *islice((value for name, value in head.query if name == "token" and value), MAX_TOKENS),
        *islice(_subprotocol_tokens(head), MAX_TOKENS),
    )


def _bearer_tokens(head: RequestHead) -> Iterator[str]:
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
