"""A key verifies its one algorithm; whatever is no such key is left out or refused."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from edge.core.identity.keys import (
    MAX_JWKS_BYTES,
    MAX_JWKS_KEYS,
    InvalidKeys,
    Key,
    Keys,
    keys_of_jwks,
    public_key,
)
from edge.core.identity.tokens import InvalidToken, NotKnownYet, Tokens
from tests.relay.wire.strategies import json_values
from tests.support.signing import CLAIMS, OTHERS, PRIVATE, jwk, jwks, pem, signed

SECRET = "s" * 32
NOW = 1_789_000_000.0
ALGORITHMS = ["RS256", "ES256", "EdDSA"]


class ListedKeys:
    """The keys of an identity provider; a `Provider`."""

    def __init__(self, keys: Sequence[Key] | None, *, may_come: bool = False) -> None:
        self.keys = keys
        self.may_come = may_come
        self.asked = 0

    def ask(self) -> bool:
        """Count."""
        self.asked += 1
        return self.may_come


def by_pem(*algorithms: str, secrets: Sequence[str] = ()) -> Tokens:
    return Tokens(Keys(secrets, [public_key(pem(PRIVATE[each])) for each in algorithms]))


def by_jwks(*keys: object, may_come: bool = False) -> tuple[Tokens, ListedKeys]:
    provider = ListedKeys(keys_of_jwks(jwks(*keys)), may_come=may_come)
    return Tokens(Keys((SECRET,), (), provider)), provider


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_public_key_verifies_what_its_private_one_has_signed(algorithm: str) -> None:
    assert by_pem(algorithm).verify(signed(algorithm), NOW).username == "alice"
    assert by_pem(*ALGORITHMS).verify(signed(algorithm), NOW).username == "alice"
    for other in ALGORITHMS:
        with pytest.raises(InvalidToken):
            by_pem(*ALGORITHMS).verify(signed(other, OTHERS[other]), NOW)
        if other != algorithm:
            with pytest.raises(InvalidToken):
                by_pem(algorithm).verify(signed(other), NOW)


def test_several_secrets_verify_and_the_first_one_signs() -> None:
    old, new = "o" * 32, "n" * 32
    before, during, after = (Tokens(Keys(secrets)) for secrets in ((old,), (new, old), (new,)))
    theirs = before.issue("alice", "user", 2**40)
    assert during.verify(theirs, NOW).username == "alice"
    ours = during.issue("alice", "user", 2**40)
    assert after.verify(ours, NOW).username == "alice"
    for tokens, token in ((before, ours), (after, theirs)):
        with pytest.raises(InvalidToken):
            tokens.verify(token, NOW)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_public_key_is_never_taken_for_a_secret(algorithm: str) -> None:
    """The classic confusion: an HS256 signature made with the bytes of the public key."""
    public = pem(PRIVATE[algorithm])
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    payload = base64.urlsafe_b64encode(orjson.dumps(CLAIMS)).rstrip(b"=")
    for secret in (public, public.strip(), public.replace(b"\n", b"")):
        digest = hmac.new(secret, header + b"." + payload, hashlib.sha256).digest()
        forged = b".".join((header, payload, base64.urlsafe_b64encode(digest).rstrip(b"=")))
        for tokens in (by_pem(algorithm), by_pem(algorithm, secrets=(SECRET,))):
            with pytest.raises(InvalidToken):
                tokens.verify(forged.decode(), NOW)


def test_an_algorithm_that_is_not_allowed_verifies_nothing() -> None:
    keys = Keys((SECRET,), [public_key(pem(PRIVATE["RS256"]))], algorithms=("RS256",))
    tokens = Tokens(keys)
    assert not tokens.can_issue
    with pytest.raises(ValueError, match="secret"):
        tokens.issue("alice", "user", 2**40)
    with pytest.raises(InvalidToken):
        tokens.verify(Tokens(SECRET).issue("alice", "user", 2**40), NOW)
    with pytest.raises(InvalidToken):
        tokens.verify(jwt.encode(CLAIMS, "", "none"), NOW)
    with pytest.raises(InvalidToken):
        tokens.verify(jwt.encode(CLAIMS, PRIVATE["RS256"], "RS512"), NOW)
    assert tokens.verify(signed("RS256"), NOW).username == "alice"


def test_a_kid_chooses_among_the_keys_of_a_provider() -> None:
    first, second = jwk("RS256", PRIVATE["RS256"], "a"), jwk("RS256", OTHERS["RS256"], "b")
    tokens, provider = by_jwks(first, second, jwk("ES256", PRIVATE["ES256"], "c"))
    assert tokens.verify(signed("RS256", kid="a"), NOW).username == "alice"
    assert tokens.verify(signed("RS256", OTHERS["RS256"], "b"), NOW).username == "alice"
    assert tokens.verify(signed("ES256"), NOW).username == "alice", "it is the only one"
    assert provider.asked == 0
    for wrong in (
        signed("RS256", kid="b"),
        signed("RS256"),
        signed("ES256", kid="a"),
        signed("RS256", OTHERS["RS256"], kid="a"),
    ):
        with pytest.raises(InvalidToken):
            tokens.verify(wrong, NOW)


@pytest.mark.parametrize("may_come", [True, False])
def test_an_unknown_kid_asks_the_provider_again(may_come: bool) -> None:
    tokens, provider = by_jwks(jwk("RS256", PRIVATE["RS256"], "a"), may_come=may_come)
    token = signed("RS256", OTHERS["RS256"], "b")
    with pytest.raises(InvalidToken) as refused:
        tokens.verify(token, NOW)
    assert isinstance(refused.value, NotKnownYet) is may_come
    assert provider.asked == 1
    provider.keys = keys_of_jwks(jwks(jwk("RS256", OTHERS["RS256"], "b")))
    assert tokens.verify(token, NOW).username == "alice"


def test_before_the_provider_is_known_only_other_keys_verify() -> None:
    provider = ListedKeys(None)
    tokens = Tokens(Keys((SECRET,), [public_key(pem(PRIVATE["ES256"]))], provider))
    assert tokens.verify(tokens.issue("alice", "user", 2**40), NOW).username == "alice"
    assert tokens.verify(signed("ES256"), NOW).username == "alice"
    with pytest.raises(NotKnownYet):
        tokens.verify(signed("RS256", kid="a"), NOW)
    with pytest.raises(NotKnownYet):
        tokens.first_valid([signed("RS256", kid="a"), "x"], NOW)
    assert tokens.first_valid([signed("RS256", kid="a"), signed("ES256")], NOW)


def test_a_key_that_is_withdrawn_ends_the_tokens_that_it_has_signed() -> None:
    tokens, provider = by_jwks(jwk("RS256", PRIVATE["RS256"], "a"))
    token = signed("RS256", kid="a")
    assert tokens.verify(token, NOW)
    provider.keys = keys_of_jwks(jwks(jwk("RS256", OTHERS["RS256"], "b")))
    with pytest.raises(InvalidToken):
        tokens.verify(token, NOW)


SECRET_JWK = {"kty": "oct", "k": base64.urlsafe_b64encode(b"k" * 32).decode(), "kid": "a"}


UNUSABLE: dict[str, Any] = {
    "symmetric": SECRET_JWK,
    "symmetric with alg": SECRET_JWK | {"alg": "HS256"},
    "RSA as HS256": jwk("RS256", PRIVATE["RS256"], alg="HS256"),
    "another hash": jwk("RS256", PRIVATE["RS256"], alg="RS512"),
    "alg a number": jwk("RS256", PRIVATE["RS256"], alg=5),
    "for encryption": jwk("RS256", PRIVATE["RS256"], use="enc"),
    "short modulus": jwk("RS256", PRIVATE["RS256"], n="AQAB"),
    "modulus a number": jwk("RS256", PRIVATE["RS256"], n=5),
    "private": jwk("RS256", PRIVATE["RS256"], d="AQAB"),
    "kid a number": jwk("RS256", PRIVATE["RS256"]) | {"kid": 5},
    "long kid": jwk("RS256", PRIVATE["RS256"]) | {"kid": "x" * 300},
    "wrong curve": jwk("ES256", PRIVATE["ES256"], crv="P-384"),
    "broken point": jwk("ES256", PRIVATE["ES256"], x="AA"),
    "P-384": jwk("ES384", ec.generate_private_key(ec.SECP384R1())),
    "Ed448": jwk("EdDSA", ed448.Ed448PrivateKey.generate()),
    "1024 bits": jwk("RS256", rsa.generate_private_key(65537, 1024)),
    "no numbers": {"kty": "RSA"},
    "kty a list": {"kty": ["RSA"]},
    "empty": {},
    "no map": 5,
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_no_key_for_verifying_is_left_out(name: str) -> None:
    described = UNUSABLE[name]
    with pytest.raises(InvalidKeys, match="no key"):
        keys_of_jwks(jwks(described))
    good = jwk("EdDSA", PRIVATE["EdDSA"], "good")
    assert [each.kid for each in keys_of_jwks(jwks(described, good))] == ["good"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JWKS"),
        (b'{"keys": {}}', "no JWKS"),
        (b'{"keys": []}', "no key"),
        (b" " * (MAX_JWKS_BYTES + 1), "bytes"),
        (jwks(*[{}] * (MAX_JWKS_KEYS + 1)), "101 keys"),
    ],
    ids=["empty", "deep", "list", "map", "none", "large", "many"],
)
def test_what_is_no_jwks_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(InvalidKeys, match=problem):
        keys_of_jwks(content)


@given(json_values | st.lists(json_values).map(lambda keys: {"keys": keys}))
def test_any_json_is_keys_or_refused(value: Any) -> None:
    with pytest.raises(InvalidKeys):
        keys_of_jwks(orjson.dumps(value))


FILES = {
    "empty": (b"", "no PEM public key"),
    "broken": (
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "no PEM public key",
    ),
    "private": (
        PRIVATE["RS256"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "a private key",
    ),
    "short": (pem(rsa.generate_private_key(65537, 1024)), "2048 bits"),
    "curve": (pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
    "other": (pem(ed448.Ed448PrivateKey.generate()), "none of RS256, ES256, EdDSA"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_no_usable_public_key_is_refused(name: str) -> None:
    content, problem = FILES[name]
    with pytest.raises(InvalidKeys, match=problem):
        public_key(content)
