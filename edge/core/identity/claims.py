"""`ClaimRules`: which claims of a token name the user and the roles, and which must be right.

Nothing here verifies a signature.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.core.identity.access import DEFAULT_ROLE, NEVER, Identity
from relay.wire.kinds import ADMIN_ROLE
from relay.wire.usernames import MAX_NAME_CHARS, normal_username

LEEWAY_S = 60.0
"""Seconds that the clock of another issuer may be ahead of ours (`iat`, `nbf`)."""
MAX_ROLES = 100
"""Roles of one token."""
RESERVED_CLAIMS = frozenset({"exp", "iat", "nbf", "iss", "aud", "jti"})
"""Claims that have a meaning of their own."""


class InvalidToken(Exception):  # noqa: N818
    """The token is malformed, forged, expired or revoked."""


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """The settings of the verifier that concern claims."""

    user_claim: str = "sub"
    role_claim: str = "role"
    issuer: str | None = None
    """Every token must be of it; None for any."""
    audience: tuple[str, ...] = ()
    """Every token must be for one of them; empty for any."""
    leeway_s: float = LEEWAY_S

    def issued(self, username: str, role: str) -> dict[str, Any]:
        """Return the claims of a token of our own, but for its times and its id."""
        claims: dict[str, Any] = {self.user_claim: normal_username(username), self.role_claim: role}
        if self.issuer is not None:
            claims["iss"] = self.issuer
        if self.audience:
            claims["aud"] = self.audience[0]
        return claims

    def identity(self, claims: Mapping[str, Any], token_id: str, now: float) -> Identity:
        """Return the identity in the claims of a genuine token, even an expired one.

        `token_id` stands in for a `jti`; `now` is Unix time. Raises `InvalidToken`.
        """
        for name in ("iat", "nbf"):
            if name in claims and _seconds(claims, name) > now + self.leeway_s:
                raise InvalidToken(f"{name} is in the future")
        username = claim(claims, self.user_claim)
        roles = _roles(claim(claims, self.role_claim, DEFAULT_ROLE))
        if not (isinstance(username, str) and username and roles is not None):
            raise InvalidToken(f"{self.user_claim} and {self.role_claim} must be text")
        if not all(map(is_encodable, (username, *roles))):
            raise InvalidToken(
                f"{self.user_claim} and {self.role_claim} must be encodable as UTF-8"
            )
        username = normal_username(username)
        if len(username) > MAX_NAME_CHARS:
            # No event can be addressed to such a user, and no revocation.
            raise InvalidToken(f"{self.user_claim} must have at most {MAX_NAME_CHARS} characters")
        return Identity(
            username,
            roles[0],
            int(_seconds(claims, "exp")),
            roles[1:],
            issued_at=_seconds(claims, "iat") if "iat" in claims else 0,
            token_id=token_id,
        )


def claim(claims: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return the claim `name`; with dots, one in a map, unless a claim has that very name."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found


def _roles(value: Any) -> tuple[str, ...] | None:
    """Return the roles in a claim, the one that counts most first; None if it is wrong."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or len(value) > MAX_ROLES:
        return None
    if not all(isinstance(each, str) for each in value):
        return None
    # One that names no role grants what everybody is granted.
    return tuple(sorted(value, key=lambda role: role != ADMIN_ROLE)) or ("",)


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # Compared before it is anything else: an integer may be too great for a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 <= value <= NEVER):
        raise InvalidToken(f"{name} must be Unix time in seconds")
    return value


def is_encodable(text: str) -> bool:
    """Return whether `text` can be sent as UTF-8; lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
