"""The credentials in a request (protocol section 7, "Authentication")."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

COOKIE_NAME = "access_token_cookie"


class Credentials(NamedTuple):
    """The tokens in a WebSocket handshake."""

    explicit: str | None
    """The token in the header or the query. An invalid one refuses the handshake."""
    cookie: str | None
    """The token in the cookie, if the handshake's origin is allowed. With an invalid one the client
    may still authenticate with its first message."""


def bearer_token(authorization: str) -> str:
    """Return the token in an `Authorization` header; "" for another scheme, which is invalid."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def find_credentials(
    headers: Mapping[str, str],
    query: Mapping[str, str],
    cookies: Mapping[str, str],
    allowed_origins: tuple[str, ...],
) -> Credentials:
    """Return the credentials in a handshake; the names in `headers` are in lower case.

    The cookie counts only with an allowed origin. A browser sends it with requests of any page, so
    otherwise every site could act for its visitors.
    """
    explicit: str | None = None
    if (authorization := headers.get("authorization")) is not None:
        explicit = bearer_token(authorization)
    elif token := query.get("token", ""):
        explicit = token
    allowed = _is_allowed(headers.get("origin"), headers.get("host"), allowed_origins)
    return Credentials(explicit, cookies.get(COOKIE_NAME) if allowed else None)


def _is_allowed(origin: str | None, host: str | None, allowed_origins: tuple[str, ...]) -> bool:
    if origin is None:
        return False
    if origin in allowed_origins:
        return True
    try:
        return bool(host) and urlsplit(origin).netloc == host
    except ValueError:
        return False
