"""Which credential a WebSocket handshake carries (protocol section 7, "Who are you")."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

COOKIE_NAME = "access_token_cookie"


class Credentials(NamedTuple):
    """What the handshake offers."""

    explicit: str | None
    """From the header or the query: if it is not valid, the handshake is refused."""
    cookie: str | None
    """Set only if the handshake's origin is allowed: if it is not valid, the client may still
    authenticate with its first message."""


def find_credentials(
    headers: Mapping[str, str],
    query: Mapping[str, str],
    cookies: Mapping[str, str],
    allowed_origins: tuple[str, ...],
) -> Credentials:
    """Return the credentials in a handshake; `headers` has lower-case names.

    A header that is not `Bearer` counts as an invalid token. The cookie is worth nothing on a
    page of another origin, or any site could act for whoever visits it.
    """
    explicit: str | None = None
    if (authorization := headers.get("authorization")) is not None:
        scheme, _, token = authorization.partition(" ")
        explicit = token.strip() if scheme.lower() == "bearer" else ""
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
