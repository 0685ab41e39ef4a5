"""JSON Web Tokens: made for a user who signed in, checked when presented (protocol section 7)."""

import base64
import hashlib
import math

import jwt

from edge.core.identity.access import DEFAULT_ROLE, Identity

ALGORITHM = "HS256"
MIN_SECRET_BYTES = 32
MAX_TOKEN_CHARS = 4096
MAX_VERIFIED = 20_000
"""Tokens that are remembered, so that who comes back costs a hash."""
MAX_EXPIRY = 2**53
"""Unix seconds; beyond it JavaScript and floats are no longer exact."""


class InvalidToken(Exception):  # noqa: N818
    """A token that is malformed, forged or expired."""


class Tokens:
    """Signs and verifies with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        encoded = base64.urlsafe_b64encode(secret.encode()).decode()
        # A key made ready once saves half of what a token costs.
        self._key = jwt.PyJWK({"kty": "oct", "k": encoded, "alg": ALGORITHM})
        self._verified: dict[bytes, Identity] = {}
        """By the token's hash: what was found valid, the one found longest ago first."""

    def issue(self, username: str, role: str, expires_at: int) -> str:
        """Return a token for `username` that is valid until `expires_at` (Unix seconds)."""
        return jwt.encode(
            {"sub": username, "role": role, "exp": expires_at}, self._secret, ALGORITHM
        )

    def verify(self, token: str, now: float) -> Identity:
        """Return whom `token` speaks for at `now` (Unix seconds), or raise `InvalidToken`."""
        if len(token) > MAX_TOKEN_CHARS:
            raise InvalidToken("too long")
        key = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        identity = self._verified.get(key)
        if identity is None:
            identity = self._read(token)
            if len(self._verified) >= MAX_VERIFIED:
                del self._verified[next(iter(self._verified))]
            self._verified[key] = identity
        if identity.expires_at <= now:
            del self._verified[key]
            raise InvalidToken("expired")
        return identity

    def _read(self, token: str) -> Identity:
        """Return whom a token speaks for that is signed well and says what it must."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                options={"require": ["sub", "exp"], "verify_exp": False, "verify_aud": False},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidToken(str(error)) from None
        username, role, expires_at = (
            claims["sub"],
            claims.get("role", DEFAULT_ROLE),
            claims["exp"],
        )
        if not (isinstance(username, str) and username and isinstance(role, str)):
            raise InvalidToken("sub and role must be text")
        if not (is_encodable(username) and is_encodable(role)):
            raise InvalidToken("sub and role must be encodable as UTF-8")
        if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
            raise InvalidToken("exp must be a number")
        if not math.isfinite(expires_at) or expires_at > MAX_EXPIRY:
            raise InvalidToken("exp must be Unix time in seconds")
        return Identity(username, role, int(expires_at))


def is_encodable(text: str) -> bool:
    """Whether `text` can be sent as UTF-8, which lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
