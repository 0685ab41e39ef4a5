"""JSON Web Tokens: issued to users who sign in, verified in requests (protocol section 7)."""

import base64
import hashlib
import math
from collections.abc import Iterable
from typing import Any, Protocol

import jwt
import orjson

from edge.core.identity.access import DEFAULT_ROLE, NEVER, Identity
from relay.wire.usernames import normal_username

ALGORITHM = "HS256"
MIN_SECRET_BYTES = 32
MAX_TOKEN_CHARS = 16 * 1024
"""Other issuers put groups and permissions into their tokens; HTTP servers take heads of 16 KiB and
more. A token in a cookie has 4,096 characters at most, which is the limit of browsers."""
LEEWAY_S = 60
"""Seconds that the clock of another issuer may be ahead of ours (`iat`, `nbf`)."""
MAX_VERIFIED = 20_000
"""Verified tokens that are remembered: a client that returns costs a hash, not a signature."""


class InvalidToken(Exception):  # noqa: N818
    """The token is malformed, forged or expired."""


class TokenTooLong(InvalidToken):
    """The token has more than `MAX_TOKEN_CHARS` characters."""


class TokenVerifier(Protocol):
    """Knows whose a token is. `Tokens` is one; an application may have its own."""

    def first_valid(self, tokens: Iterable[str], now: float) -> Identity:
        """Return the identity in the first of `tokens` that is valid. Raises `InvalidToken`."""


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
        # As UTF-8: escaped, a name of emoji would be three times as long.
        claims = orjson.dumps({"sub": normal_username(username), "role": role, "exp": expires_at})
        return jwt.api_jws.encode(claims, self._secret, ALGORITHM)

    def first_valid(self, tokens: Iterable[str], now: float) -> Identity:
        """Return the identity in the first of `tokens` that is valid.

        Raises the `InvalidToken` of the first one, or that of "no token".
        """
        problem: InvalidToken | None = None
        for token in tokens:
            try:
                return self.verify(token, now)
            except InvalidToken as error:
                problem = problem or error
        raise problem or InvalidToken("no token")

    def is_of(self, username: str, token: str, now: float) -> bool:
        """Return whether `token` is of this user, valid or expired."""
        try:
            return self._read(token, now).username == normal_username(username)
        except InvalidToken:
            return False

    def verify(self, token: str, now: float) -> Identity:
        """Return the identity in `token`. Raises `InvalidToken`; `now` is Unix time in seconds."""
        key = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        identity = self._verified.get(key)
        if identity is None:
            identity = self._read(token, now)
            # Forged tokens never get here, so strangers cannot push out the tokens of users.
            if len(self._verified) >= MAX_VERIFIED:
                del self._verified[next(iter(self._verified))]
            self._verified[key] = identity
        if identity.expires_at <= now:
            del self._verified[key]
            raise InvalidToken("expired")
        return identity

    def _read(self, token: str, now: float) -> Identity:
        """Return the identity in a token with a valid signature and valid claims, even expired."""
        _check_length(token)
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                # The times are compared below, with the leeway and the caller's clock.
                options={
                    "require": ["sub", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "verify_aud": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidToken(str(error)) from None
        for name in ("iat", "nbf"):
            if name in claims and _seconds(claims, name) > now + LEEWAY_S:
                raise InvalidToken(f"{name} is in the future")
        return _identity(claims)


def _check_length(token: str) -> None:
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenTooLong(f"longer than {MAX_TOKEN_CHARS} characters")


def _identity(claims: dict[str, Any]) -> Identity:
    username, role = claims["sub"], claims.get("role", DEFAULT_ROLE)
    if not (isinstance(username, str) and username and isinstance(role, str)):
        raise InvalidToken("sub and role must be text")
    if not (is_encodable(username) and is_encodable(role)):
        raise InvalidToken("sub and role must be encodable as UTF-8")
    expires_at = _seconds(claims, "exp")
    if expires_at > NEVER:
        raise InvalidToken("exp must be Unix time in seconds")
    return Identity(normal_username(username), role, int(expires_at))


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidToken(f"{name} must be Unix time in seconds")
    return value


def is_encodable(text: str) -> bool:
    """Return whether `text` can be sent as UTF-8; lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
