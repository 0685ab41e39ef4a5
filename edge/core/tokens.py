"""JSON Web Tokens: made for a user who signed in, checked when presented (protocol section 7)."""

import math

import jwt

from edge.core.access import DEFAULT_ROLE, Identity

ALGORITHM = "HS256"
MIN_SECRET_BYTES = 32
MAX_TOKEN_CHARS = 4096
MAX_EXPIRY = 2**53
"""Unix seconds; beyond it JavaScript and floats are no longer exact."""


class InvalidToken(Exception):  # noqa: N818
    """A token that is malformed, forged or expired."""


class Tokens:
    """Signs and verifies with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def issue(self, username: str, role: str, expires_at: int) -> str:
        """Return a token for `username` that is valid until `expires_at` (Unix seconds)."""
        return jwt.encode(
            {"sub": username, "role": role, "exp": expires_at}, self._secret, ALGORITHM
        )

    def verify(self, token: str, now: float) -> Identity:
        """Return whom `token` speaks for at `now` (Unix seconds), or raise `InvalidToken`."""
        if len(token) > MAX_TOKEN_CHARS:
            raise InvalidToken("too long")
        try:
            claims = jwt.decode(
                token,
                self._secret,
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
        if expires_at <= now:
            raise InvalidToken("expired")
        return Identity(username, role, int(expires_at))


def is_encodable(text: str) -> bool:
    """Whether `text` can be sent as UTF-8, which lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
