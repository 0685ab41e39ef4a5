"""`Identification`: who opens a WebSocket, by the credentials in the handshake (section 7)."""

import logging
import time

from edge.core.identity.access import Identity
from edge.core.identity.credentials import CredentialRules, Credentials
from edge.core.identity.request_head import RequestHead
from edge.core.identity.tokens import InvalidToken, NotKnownYet, TokenTooLong, TokenVerifier
from edge.core.protocol.requests import (
    InvalidRequest,
    PersonalPosition,
    parse_personal_position,
)
from edge.core.session import Visitor
from edge.core.websocket.close_codes import try_again
from relay.shared.logs import LimitedLog

UNKNOWN_HOST = "This edge is not called so: see EDGE_ALLOWED_HOSTS"
logger = logging.getLogger(__name__)


class HandshakeRefused(Exception):  # noqa: N818
    """The handshake must be answered with an HTTP error."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class Identification:
    """Reads handshakes, on every road to `/ws`."""

    def __init__(self, rules: CredentialRules, tokens: TokenVerifier) -> None:
        self._rules = rules
        self._tokens = tokens
        self._log = LimitedLog(logger)

    def __call__(self, head: RequestHead, peer: str | None) -> Visitor:
        """Return the claims of a handshake; `peer` is the address of its sender.

        Raises `HandshakeRefused`.
        """
        self._refuse_unknown_host(head, peer)
        credentials = self._rules.of_handshake(head, peer)
        if credentials.refused_origin is not None:
            self._warn_of_origin(credentials.refused_origin, head)
        try:
            identity, by_cookie = self._identities(credentials)
        except NotKnownYet as error:
            # Not an HTTP error, which browsers hide: the client is to come back.
            return Visitor(None, (), None, refusal=try_again(str(error), 1))
        since = self.personal_position(head)
        return Visitor(identity, credentials.cookies, since, by_cookie)

    def _identities(self, credentials: Credentials) -> tuple[Identity | None, Identity | None]:
        """Return who the client is, and who it is by its cookie alone.

        Raises `HandshakeRefused`, and `NotKnownYet`.
        """
        try:
            return self._tokens.first_valid(credentials.explicit, time.time()), None
        except NotKnownYet:
            raise
        except InvalidToken as error:
            by_cookie = self._by_cookie(credentials)
            # With an invalid cookie the client may still authenticate with its first message.
            if credentials.explicit and by_cookie is None:
                detail = (
                    f"Invalid token: {error}"
                    if isinstance(error, TokenTooLong)
                    else "Invalid token"
                )
                raise HandshakeRefused(401, detail, {"WWW-Authenticate": "Bearer"}) from None
            return None, by_cookie

    def personal_position(self, head: RequestHead) -> PersonalPosition | None:
        """Return the last personal events that the client has. Raises `HandshakeRefused`."""
        try:
            return parse_personal_position(dict(head.query))
        except InvalidRequest as error:
            raise HandshakeRefused(400, str(error)) from None

    def _by_cookie(self, credentials: Credentials) -> Identity | None:
        try:
            return self._tokens.first_valid(credentials.cookies, time.time())
        except NotKnownYet:
            raise
        except InvalidToken:
            return None

    def cookies(self, head: RequestHead, peer: str | None) -> tuple[str, ...]:
        """Return the tokens in the cookies of a handshake, if its page may use them."""
        return self._rules.of_handshake(head, peer).cookies

    def refuse_foreign_page(self, head: RequestHead, peer: str | None) -> None:
        """Refuse a handshake of a page elsewhere, whatever is in it. Raises `HandshakeRefused`.

        An application may know its users by any cookie, and a browser sends that for every page.
        """
        self._refuse_unknown_host(head, peer)
        origin = head.headers.get("origin")
        if origin is not None and not self._rules.is_allowed(origin, head, peer):
            self._warn_of_origin(origin, head)
            raise HandshakeRefused(403, "This origin is not allowed")

    def _refuse_unknown_host(self, head: RequestHead, peer: str | None) -> None:
        if not self._rules.serves_host(head, peer):
            raise HandshakeRefused(400, UNKNOWN_HOST)

    def _warn_of_origin(self, origin: str, head: RequestHead) -> None:
        self._log.warning(
            "origin",
            "a page of Origin %.100r may not use its cookie: the Host is %.100r. Let the proxy pass"
            " Host with its port, or send X-Forwarded-Host, send X-Forwarded-Proto too, and be"
            " listed in EDGE_TRUSTED_PROXIES, or add the origin to EDGE_ALLOWED_ORIGINS",
            origin,
            head.headers.get("host", ""),
        )
