"""JSON Web Tokens: issued to users who sign in, verified in requests (protocol section 7)."""

import base64
import hashlib
import math

import jwt

from edge.core.identity.access import DEFAULT_ROLE, Identity

ALGORITHM = "HS256"
MIN_SECRET_BYTES = 32
MAX_TOKEN_CHARS = 4096
MAX_VERIFIED = 20_000
"""Verified tokens that are remembered: a client that returns costs a hash, not a signature."""
MAX_EXPIRY = 2**53
"""Unix time in seconds. Larger integers are not exact in JavaScript and as floats."""


class InvalidToken(Exception):  # noqa: N818
    """The token is malformed, forged or expired."""


class Tokens:
    """Signs and verifies tokens with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        encoded = base64.urlsafe_b64encode(secret.encode()).decode()
        # Preparing the key once saves half the cost of a verification.
        self._key = jwt.PyJWK({"kty": "oct", "k": encoded, "alg": ALGORITHM})
        self._verified: dict[bytes, Identity] = {}
        """Identities by the hash of their token, the oldest first. Tokens are not kept."""

    def issue(self, username: str, role: str, expires_at: int) -> str:
        """Return a token for `username` that is valid until `expires_at` (Unix seconds)."""
        return jwt.encode(
            {"sub": username, "role": role, "exp": expires_at}, self._secret, ALGORITHM
        )

    def verify(self, token: str, now: float) -> Identity:
        """Return the identity in `token`. Raises `InvalidToken`; `now` is Unix time in seconds."""
        if len(token) > MAX_TOKEN_CHARS:
            raise InvalidToken("too long")
        key = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        identity = self._verified.get(key)
        if identity is None:
            identity = self._read(token)
            # Forged tokens never get here, so strangers cannot push out the tokens of users.
            if len(self._verified) >= MAX_VERIFIED:
                del self._verified[next(iter(self._verified))]
            self._verified[key] = identity
        if identity.expires_at <= now:
            del self._verified[key]
            raise InvalidToken("expired")
        return identity

    def _read(self, token: str) -> Identity:
        """Return the identity in a token with a valid signature and valid claims."""
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
    """Return whether `text` can be sent as UTF-8; lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
