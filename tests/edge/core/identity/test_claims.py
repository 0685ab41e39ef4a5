"""The settings say which claims name the user and the roles, and which must be right."""

from typing import Any

import jwt
import orjson
import pytest

from edge.core.identity.access import Identity
from edge.core.identity.claims import ClaimRules, claim
from edge.core.identity.tokens import InvalidToken, Tokens

SECRET = "s" * 32
NOW, LATER = 1_789_000_000.0, 1_790_000_000


def verify(rules: ClaimRules, **claims: Any) -> Identity:
    payload = orjson.dumps({"sub": "alice", "exp": LATER, **claims})
    token = jwt.api_jws.encode(payload, SECRET, "HS256")
    return Tokens(SECRET, rules).verify(token, NOW)


@pytest.mark.parametrize(
    ("claims", "name", "found"),
    [
        ({"a": 1}, "a", 1),
        ({"a": {"b": {"c": 2}}}, "a.b.c", 2),
        ({"a.b": 3, "a": {"b": 4}}, "a.b", 3),
        ({"https://example.org/roles": 5}, "https://example.org/roles", 5),
        ({"a": {"b": 1}}, "a.c", None),
        ({"a": [1]}, "a.b", None),
        ({}, "a", None),
    ],
)
def test_a_claim_may_be_in_a_map(claims: dict[str, Any], name: str, found: Any) -> None:
    assert claim(claims, name) == found


def test_user_and_roles_are_in_the_claims_of_the_settings() -> None:
    rules = ClaimRules("email", "realm_access.roles")
    roles = {"roles": ["offline", "shop", "admin"]}
    identity = verify(rules, email="a@example.org", realm_access=roles)
    assert identity == Identity("a@example.org", "admin", LATER, ("offline", "shop"))
    assert identity.roles == ("admin", "offline", "shop")
    assert verify(rules, email="a").roles == ("user",), "without the claim"
    assert verify(rules, email="a", realm_access={"roles": []}).roles == ("",), "with none"
    with pytest.raises(InvalidToken):
        verify(rules)


@pytest.mark.parametrize(
    ("claims", "valid"),
    [
        ({"iss": "us", "aud": "app"}, True),
        ({"iss": "us", "aud": ["x", "admin-app"]}, True),
        ({"iss": "us", "aud": "other"}, False),
        ({"iss": "us", "aud": []}, False),
        ({"iss": "us", "aud": 5}, False),
        ({"iss": "us", "aud": [5]}, False),
        ({"iss": "us"}, False),
        ({"iss": "them", "aud": "app"}, False),
        ({"iss": ["us"], "aud": "app"}, False),
        ({"aud": "app"}, False),
    ],
    ids=str,
)
def test_issuer_and_audience_must_be_those_of_the_settings(
    claims: dict[str, Any], valid: bool
) -> None:
    rules = ClaimRules(issuer="us", audience=("app", "admin-app"))
    if valid:
        assert verify(rules, **claims).username == "alice"
        return
    with pytest.raises(InvalidToken):
        verify(rules, **claims)


def test_our_own_tokens_satisfy_our_own_rules() -> None:
    rules = ClaimRules("login", "groups", "us", ("app", "other"))
    tokens = Tokens(SECRET, rules)
    token = tokens.issue("alice", "shop", LATER, NOW + 0.1234)
    assert tokens.verify(token, NOW) == Identity("alice", "shop", LATER)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"], claims["iat"]) == ("us", "app", NOW + 0.123)
    assert tokens.verify(token, NOW).token_id == claims["jti"]
    assert tokens.issue("alice", "shop", LATER) != tokens.issue("alice", "shop", LATER)


@pytest.mark.parametrize(("leeway_s", "valid"), [(0.0, False), (4.9, False), (5.0, True)])
def test_the_leeway_is_that_of_the_settings(leeway_s: float, valid: bool) -> None:
    rules = ClaimRules(leeway_s=leeway_s)
    for name in ("iat", "nbf"):
        if valid:
            assert verify(rules, **{name: NOW + 5}).username == "alice"
        else:
            with pytest.raises(InvalidToken, match=name):
                verify(rules, **{name: NOW + 5})
    with pytest.raises(InvalidToken, match="expired"):
        verify(rules, exp=int(NOW))


@pytest.mark.parametrize(
    ("jti", "kept"), [("one", True), ("", False), (5, False), (["x"], False), ("x" * 256, False)]
)
def test_a_token_without_a_usable_id_has_that_of_its_bytes(jti: Any, kept: bool) -> None:
    first, again = verify(ClaimRules(), jti=jti), verify(ClaimRules(), jti=jti)
    assert first.token_id == again.token_id
    assert (first.token_id == jti) is kept
    assert verify(ClaimRules(), jti=jti, x=1).token_id != first.token_id or kept


def test_a_name_is_no_longer_than_an_event_can_be_addressed_to() -> None:
    assert len(verify(ClaimRules(), sub="x" * 255).username) == 255
    with pytest.raises(InvalidToken, match="255"):
        verify(ClaimRules(), sub="x" * 256)
