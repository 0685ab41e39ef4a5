"""Keys of identity providers, and the tokens that they sign."""

from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

LATER = 1_790_000_000
CLAIMS = {"sub": "alice", "exp": LATER}

PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
OTHERS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
"""Keys of somebody else."""


def pem(private: Any) -> bytes:
    """The public key as PEM."""
    return bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def jwk(algorithm: str, private: Any, kid: str | None = None, **more: object) -> dict[str, Any]:
    """The public key as a JWK."""
    described = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
    return {**described, **({} if kid is None else {"kid": kid}), **more}


def jwks(*keys: object) -> bytes:
    """A JWKS."""
    return orjson.dumps({"keys": keys})


def signed(algorithm: str, private: Any = None, kid: str | None = None, **claims: object) -> str:
    """A token that the provider signs."""
    key = PRIVATE[algorithm] if private is None else private
    headers = None if kid is None else {"kid": kid}
    return jwt.encode({**CLAIMS, **claims}, key, algorithm, headers)
