"""JSON Web Tokens: issued to users who sign in, verified in requests (protocol section 7)."""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, Protocol

import jwt
import orjson

from edge.core.identity.access import Identity
from edge.core.identity.claims import ClaimRules
from edge.core.identity.claims import InvalidToken as InvalidToken
from edge.core.identity.claims import is_encodable as is_encodable
from edge.core.identity.keys import HS256, Keys
from edge.core.identity.revocations import Revocations
from relay.wire.revocations import MAX_TOKEN_ID_CHARS
from relay.wire.usernames import normal_username

MAX_TOKEN_CHARS = 16 * 1024
"""Other issuers put groups and permissions into their tokens; HTTP servers take heads of 16 KiB and
more. A token in a cookie has 4,096 characters at most, which is the limit of browsers."""
MAX_VERIFIED = 20_000
"""Verified tokens that are remembered: a client that returns costs a hash, not a signature."""
ID_BYTES = 16
_CHECKS: dict[str, Any] = {
    # The times are compared by the caller's clock, and claims by `ClaimRules`.
    "require": ["exp"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_sub": False,
    "verify_jti": False,
}


class TokenTooLong(InvalidToken):
    """The token has more than `MAX_TOKEN_CHARS` characters."""


class NotKnownYet(InvalidToken):
    """Nobody can say yet whether the token is valid: its key, or what was revoked, is not known."""


class TokenVerifier(Protocol):
    """Knows whose a token is. `Tokens` is one; an application may have its own."""

    def first_valid(self, tokens: Iterable[str], now: float) -> Identity:
        """Return the identity in the first of `tokens` that is valid. Raises `InvalidToken`."""


class Tokens:
    """Issues and verifies tokens, for one thread: that of the event loop."""

    def __init__(
        self,
        keys: Keys | str,
        rules: ClaimRules | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        """A text as `keys` is the only secret. Without `revocations` no token is revoked."""
        self._keys = Keys((keys,)) if isinstance(keys, str) else keys
        self._rules = ClaimRules() if rules is None else rules
        self._revocations = revocations
        self._options: Any = {**_CHECKS, "verify_aud": bool(self._rules.audience)}
        self._verified: dict[bytes, Identity] = {}
        """Identities by the hash of their token, the oldest first. Tokens are not kept."""
        self._verified_by: object = None
        """The keys of the identity provider by which they were verified."""

    @property
    def can_issue(self) -> bool:
        """Whether there is a secret to sign with."""
        return self._keys.signing_secret is not None

    def issue(
        self, username: str, role: str, expires_at: int, issued_at: float | None = None
    ) -> str:
        """Return a token for `username` that is valid until `expires_at` (Unix seconds).

        Without `issued_at` it does not say since when, and each revocation of the user's tokens
        concerns it. Raises `ValueError` without a secret to sign with.
        """
        secret = self._keys.signing_secret
        if secret is None:
            raise ValueError("there is no secret to sign tokens with")
        claims = self._rules.issued(username, role) | {
            "exp": expires_at,
            "jti": secrets.token_urlsafe(ID_BYTES),
        }
        if issued_at is not None:
            # With its milliseconds: a token of the second in which others were revoked is valid.
            claims["iat"] = round(issued_at, 3)
        # As UTF-8: escaped, a name of emoji would be three times as long.
        return jwt.api_jws.encode(orjson.dumps(claims), secret, HS256)

    def first_valid(self, tokens: Iterable[str], now: float) -> Identity:
        """Return the identity in the first of `tokens` that is valid.

        Raises `NotKnownYet` if one of them may be, else the `InvalidToken` of the first one, or
        that of "no token".
        """
        problem: InvalidToken | None = None
        for token in tokens:
            try:
                return self.verify(token, now)
            except NotKnownYet as error:
                problem = error
            except InvalidToken as error:
                problem = problem or error
        raise problem or InvalidToken("no token")

    def is_of(self, username: str, token: str, now: float) -> bool:
        """Return whether `token` is of this user, valid, expired or revoked."""
        try:
            return self._read(token, now).username == normal_username(username)
        except InvalidToken:
            return False

    def verify(self, token: str, now: float) -> Identity:
        """Return the identity in `token`. Raises `InvalidToken`; `now` is Unix time in seconds."""
        key = _digest(token)
        identity = self._remembered(key)
        if identity is None:
            identity = self._read(token, now)
            self._remember(key, identity)
        if identity.expires_at <= now:
            self._verified.pop(key, None)
            raise InvalidToken("expired")
        if self._revocations is not None:
            if not self._revocations.is_known:
                raise NotKnownYet("the relay is away: revoked tokens are not known yet")
            if self._revocations.refuses(identity):
                raise InvalidToken("revoked")
        return identity

    def _remembered(self, key: bytes) -> Identity | None:
        provider = self._keys.provider
        if provider is not None and provider.keys is not self._verified_by:
            # A key that the provider has withdrawn verifies nothing any more.
            self._verified.clear()
            self._verified_by = provider.keys
        return self._verified.get(key)

    def _remember(self, key: bytes, identity: Identity) -> None:
        # Forged tokens never get here, so strangers cannot push out the tokens of users.
        if len(self._verified) >= MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[key] = identity

    def _read(self, token: str, now: float) -> Identity:
        """Return the identity in a token with a valid signature and valid claims, even expired."""
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenTooLong(f"longer than {MAX_TOKEN_CHARS} characters")
        claims = self._genuine_claims(token)
        token_id = claims.get("jti")
        if not (isinstance(token_id, str) and 1 <= len(token_id) <= MAX_TOKEN_ID_CHARS):
            token_id = f"sha256:{_digest(token).hex()}"
        return self._rules.identity(claims, token_id, now)

    def _genuine_claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that one of the keys has signed. Raises `InvalidToken`."""
        header = _header(token)
        candidates = self._keys.candidates(header.get("alg"), header.get("kid"))
        for key in candidates.keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[key.algorithm_name],
                    options=self._options,
                    audience=self._rules.audience or None,
                    issuer=self._rules.issuer,
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, RecursionError) as error:
                raise InvalidToken(str(error)) from None
        if candidates.may_come:
            raise NotKnownYet("the keys of the identity provider are not known yet")
        raise InvalidToken("no key that is known and allowed has signed it")


def _header(token: str) -> dict[str, Any]:
    """Return the header of a token, which nobody has verified. Raises `InvalidToken`."""
    segment = token.partition(".")[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, binascii.Error):
        raise InvalidToken("the header cannot be read") from None
    if not isinstance(header, dict):
        raise InvalidToken("the header is no map")
    return header


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
