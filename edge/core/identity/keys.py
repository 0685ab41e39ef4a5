"""The keys by which tokens are verified: secrets, public keys, and those of an identity provider.

Each key is bound to one algorithm when it is read, and verifies that one alone. So a public key is
never taken for a secret, whatever a token says of itself.
"""

import base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import jwt
import orjson

HS256 = "HS256"
ALGORITHMS = (HS256, "RS256", "ES256", "EdDSA")
"""Those that can be allowed."""
MIN_SECRET_BYTES = 32
MAX_SECRETS = 8
MAX_PUBLIC_KEYS = 16
MAX_JWKS_KEYS = 100
MAX_JWKS_BYTES = 256 * 1024
MIN_RSA_BITS = 2048
_MAX_KID_CHARS = 255

_BY_KEY_TYPE = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
"""The algorithm of a key in a JWKS. Others, also symmetric ones, are left out."""
_CURVES = {"ES256": "P-256", "EdDSA": "Ed25519"}


class InvalidKeys(Exception):  # noqa: N818
    """A file or an answer holds no usable keys. The text is for people."""


class Key(NamedTuple):
    """A key that verifies one algorithm."""

    verifier: jwt.PyJWK
    kid: str | None = None
    """By which tokens name it."""

    @property
    def algorithm(self) -> str:
        """The one algorithm that it verifies."""
        return self.verifier.algorithm_name


class Provider(Protocol):
    """Keeps the keys of an identity provider. `edge.key_provider.KeyProvider` is one."""

    keys: Sequence[Key] | None
    """The last ones that were read, None before the first."""

    def ask(self) -> bool:
        """Read them again soon: a token names a key that is not known. Never waits.

        Returns False if they were read a moment ago, so that the key is most likely none.
        """


class Candidates(NamedTuple):
    """The keys that may have signed a token."""

    keys: Sequence[jwt.PyJWK]
    may_come: bool = False
    """Whether the identity provider may name the right one soon."""


class Keys:
    """All keys of an edge."""

    def __init__(
        self,
        secrets: Sequence[str] = (),
        public: Sequence[Key] = (),
        provider: Provider | None = None,
        algorithms: Iterable[str] = ALGORITHMS,
    ) -> None:
        """The first of `secrets` signs; `algorithms` are those that are allowed."""
        allowed = frozenset(algorithms)
        fixed = [*map(_of_secret, secrets), *public]
        self._fixed = {
            name: tuple(each.verifier for each in fixed if each.algorithm == name)
            for name in allowed
        }
        self.provider = provider
        self.signing_secret = secrets[0] if secrets and HS256 in allowed else None
        """None if this edge issues no tokens."""

    def candidates(self, algorithm: object, kid: object) -> Candidates:
        """Return the keys that may have signed a token with these in its header."""
        if not isinstance(algorithm, str) or algorithm not in self._fixed:
            return Candidates(())
        fixed, provider = self._fixed[algorithm], self.provider
        if provider is None or algorithm == HS256:
            return Candidates(fixed)
        if provider.keys is None:
            provider.ask()
            return Candidates(fixed, may_come=True)
        found = [each for each in provider.keys if each.algorithm == algorithm]
        if isinstance(kid, str):
            found = [each for each in found if each.kid == kid]
            if not found:
                return Candidates(fixed, provider.ask())
        elif len(found) > 1:
            # Without a name each would have to be tried, for every forged token.
            found = []
        return Candidates((*fixed, *(each.verifier for each in found)))


def public_key(pem: bytes) -> Key:
    """Return the public key in a PEM file. Raises `InvalidKeys`."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except Exception as error:
        # Its errors are of many classes, some of them not documented.
        what = "a private key: give the public one" if b"PRIVATE" in pem else "no PEM public key"
        raise InvalidKeys(f"holds {what}") from error
    if isinstance(key, rsa.RSAPublicKey):
        described = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        described = jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, ed25519.Ed25519PublicKey):
        described = jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True)
    else:
        raise InvalidKeys("holds a key for none of RS256, ES256, EdDSA")
    return _of_jwk(described)


def keys_of_jwks(content: bytes) -> tuple[Key, ...]:
    """Return the usable keys of a JWKS (RFC 7517), as JSON. Raises `InvalidKeys`.

    Keys for other algorithms, for encryption, and such as are not public are left out.
    """
    if len(content) > MAX_JWKS_BYTES:
        raise InvalidKeys(f"has more than {MAX_JWKS_BYTES} bytes")
    try:
        described = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidKeys(f"is no JSON: {error}") from None
    listed = described.get("keys") if isinstance(described, dict) else None
    if not isinstance(listed, list):
        raise InvalidKeys("is no JWKS: a map with a list of keys")
    if len(listed) > MAX_JWKS_KEYS:
        raise InvalidKeys(f"has {len(listed)} keys, the limit is {MAX_JWKS_KEYS}")
    found = []
    for each in listed:
        try:
            found.append(_of_jwk(each))
        except InvalidKeys:
            continue
    if not found:
        raise InvalidKeys("has no key for RS256, ES256 or EdDSA")
    return tuple(found)


def _of_secret(secret: str) -> Key:
    encoded = base64.urlsafe_b64encode(secret.encode()).decode()
    # Preparing the key once saves half the cost of a verification.
    return Key(jwt.PyJWK({"kty": "oct", "k": encoded, "alg": HS256}))


def _of_jwk(described: Any) -> Key:
    """Return one key. Raises `InvalidKeys`."""
    if not isinstance(described, dict):
        raise InvalidKeys("a key must be a map")
    key_type, kid = described.get("kty"), described.get("kid")
    algorithm = _BY_KEY_TYPE.get(key_type) if isinstance(key_type, str) else None
    if algorithm is None or described.get("alg", algorithm) != algorithm:
        raise InvalidKeys("a key for another algorithm")
    if described.get("use", "sig") != "sig" or "d" in described:
        raise InvalidKeys("a key that is not for verifying")
    if described.get("crv") != _CURVES.get(algorithm):
        raise InvalidKeys(f"{algorithm} needs the curve {_CURVES.get(algorithm, 'none')}")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= _MAX_KID_CHARS):
        raise InvalidKeys("a kid must be text")
    try:
        verifier = jwt.PyJWK(described, algorithm)
        bits = verifier.key.key_size if key_type == "RSA" else MIN_RSA_BITS
    except Exception as error:
        # As above: whatever is wrong with it, it is no key.
        raise InvalidKeys(f"a broken key: {error}") from error
    if bits < MIN_RSA_BITS:
        raise InvalidKeys(f"RS256 needs {MIN_RSA_BITS} bits, this key has {bits}")
    return Key(verifier, kid)
