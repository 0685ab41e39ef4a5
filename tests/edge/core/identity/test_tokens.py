"""A token is somebody's identity or invalid, and nothing else."""

import base64
import gc
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.identity.access import Identity
from edge.core.identity.claims import LEEWAY_S
from edge.core.identity.tokens import MAX_TOKEN_CHARS, InvalidToken, Tokens, TokenTooLong
from relay.wire.usernames import normal_username
from tests.relay.wire.strategies import any_text, json_values

SECRET = "s" * 32
TOKENS = Tokens(SECRET)
NOW = 1_789_000_000.0
LATER = 1_790_000_000


def signed(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm)


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def unsigned(header: object, claims: object) -> str:
    return f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}."


@pytest.mark.parametrize("role", ["user", "admin", "something new"])
def test_what_is_issued_is_verified(role: str) -> None:
    issued = TOKENS.issue("alice", role, LATER)
    assert TOKENS.verify(issued, NOW) == Identity("alice", role, LATER)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=255), st.integers(1, 2**53))
def test_any_username_is_issued_and_verified(username: str, expires_at: int) -> None:
    issued = TOKENS.issue(username, "user", expires_at)
    assert TOKENS.verify(issued, 0) == Identity(normal_username(username), "user", expires_at)


def test_two_spellings_of_one_name_are_one_user() -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    assert TOKENS.verify(TOKENS.issue(decomposed, "user", LATER), NOW).username == composed
    elsewhere = signed({"sub": decomposed, "exp": LATER})
    assert TOKENS.verify(elsewhere, NOW).username == composed


def test_the_role_defaults_to_user() -> None:
    assert TOKENS.verify(signed({"sub": "alice", "exp": LATER}), NOW).role == "user"


def test_an_audience_and_other_claims_do_not_matter() -> None:
    claims = {"sub": "alice", "exp": LATER, "aud": "elsewhere", "iss": "x", "jti": 7, "more": [1]}
    assert TOKENS.verify(signed(claims), NOW).username == "alice"


@pytest.mark.parametrize(
    ("seconds", "valid"), [(-0.001, True), (0.0, False), (0.001, False), (1e9, False)]
)
def test_a_token_is_valid_before_it_expires(seconds: float, valid: bool) -> None:
    issued = TOKENS.issue("alice", "user", LATER)
    if valid:
        assert TOKENS.verify(issued, LATER + seconds).expires_at == LATER
        return
    with pytest.raises(InvalidToken):
        TOKENS.verify(issued, LATER + seconds)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"exp": LATER},
        {"sub": "alice"},
        {"sub": "", "exp": LATER},
        {"sub": 5, "exp": LATER},
        {"sub": None, "exp": LATER},
        {"sub": ["alice"], "exp": LATER},
        {"sub": "alice", "exp": None},
        {"sub": "alice", "exp": str(LATER)},
        {"sub": "alice", "exp": True},
        {"sub": "alice", "exp": [LATER]},
        {"sub": "alice", "exp": float("nan")},
        {"sub": "alice", "exp": -1},
        {"sub": "alice", "exp": LATER, "role": 5},
        {"sub": "alice", "exp": LATER, "role": None},
        {"sub": "alice", "exp": LATER, "role": ["admin", 5]},
        {"sub": "alice", "exp": LATER, "role": {"admin": True}},
        {"sub": "alice", "exp": LATER, "role": ["user"] * 101},
        {"sub": "alice", "exp": -(10**400)},
        {"sub": "alice", "exp": LATER, "nbf": 2**40},
        {"sub": "alice", "exp": LATER, "iat": "today"},
        {"sub": "alice", "exp": LATER, "iat": True},
        {"sub": "alice", "exp": LATER, "iat": None},
        {"sub": "alice", "exp": LATER, "iat": float("inf")},
        {"sub": "alice", "exp": LATER, "nbf": "soon"},
    ],
    ids=str,
)
def test_wrong_claims_are_refused_though_signed(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        TOKENS.verify(signed(claims), NOW)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
@pytest.mark.parametrize(
    ("ahead_s", "valid"), [(-1e9, True), (0.5, True), (LEEWAY_S, True), (LEEWAY_S + 1, False)]
)
def test_the_clock_of_another_issuer_may_be_a_minute_ahead(
    claim: str, ahead_s: float, valid: bool
) -> None:
    token = signed({"sub": "alice", "exp": LATER, claim: NOW + ahead_s})
    if valid:
        assert Tokens(SECRET).verify(token, NOW).username == "alice"
        return
    with pytest.raises(InvalidToken, match=f"^{claim} is in the future$"):
        Tokens(SECRET).verify(token, NOW)
    assert Tokens(SECRET).verify(token, NOW + 1).username == "alice", "it becomes valid"


def test_a_token_is_judged_by_the_clock_of_the_caller() -> None:
    then = 4_000_000_000
    token = signed({"sub": "alice", "iat": then, "nbf": then, "exp": then + 10})
    assert TOKENS.verify(token, then).expires_at == then + 10
    with pytest.raises(InvalidToken, match=r"^iat is in the future$"):
        Tokens(SECRET).verify(token, NOW)


def test_the_longest_user_name_has_a_token_that_fits_into_a_cookie() -> None:
    name = "🎉" * 255
    issued = TOKENS.issue(name, "user", LATER)
    assert TOKENS.verify(issued, NOW).username == name
    assert len(issued) < 4096 - 100


@pytest.mark.parametrize("expires_at", [LATER, int(NOW) - 10**6])
def test_whose_token_it_is_shows_also_when_it_has_expired(expires_at: int) -> None:
    issued = TOKENS.issue("Zo\u00eb", "user", expires_at)
    assert TOKENS.is_of("Zoe\u0308", issued, NOW)
    assert not TOKENS.is_of("alice", issued, NOW)
    for forged in (
        signed({"sub": "Zo\u00eb", "exp": LATER}, "x" * 32),
        issued[:-1],
        "",
        "x" * 20_000,
    ):
        assert not TOKENS.is_of("Zo\u00eb", forged, NOW)


def test_the_first_valid_token_names_the_user() -> None:
    alice, bob = (TOKENS.issue(name, "user", LATER) for name in ("alice", "bob"))
    old = TOKENS.issue("carol", "user", int(NOW))
    for tokens, username in (
        ([alice], "alice"),
        ([alice, bob], "alice"),
        (["", "x", old, bob, alice], "bob"),
    ):
        assert TOKENS.first_valid(tokens, NOW).username == username


def test_without_a_valid_token_the_first_problem_is_told() -> None:
    with pytest.raises(TokenTooLong):
        TOKENS.first_valid(["x" * (MAX_TOKEN_CHARS + 1), "x"], NOW)
    with pytest.raises(InvalidToken, match=r"^no token$"):
        TOKENS.first_valid([], NOW)


@pytest.mark.parametrize("exp", [float("inf"), 10**30, 10**400, -(10**400), 2**53 + 1])
def test_an_expiry_that_no_reply_can_carry_is_refused(exp: float) -> None:
    with pytest.raises(InvalidToken):
        TOKENS.verify(signed({"sub": "alice", "exp": exp}), NOW)


@pytest.mark.parametrize("claims", [{"sub": 5}, {"sub": ""}, {"sub": "alice", "role": 5}], ids=str)
def test_a_name_and_a_role_are_text(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken, match=r"^sub and role must be text$"):
        TOKENS.verify(signed({"exp": LATER, **claims}), NOW)


def test_a_username_that_no_message_can_carry_is_refused() -> None:
    """`event-edge token` takes one from the command line, where any byte may stand."""
    with pytest.raises(InvalidToken):
        TOKENS.verify(signed({"sub": "\udcff", "exp": LATER}), NOW)


CLAIMS = {"sub": "alice", "exp": LATER, "role": "admin"}


@pytest.mark.parametrize(
    "forged",
    [
        signed(CLAIMS, "x" * 32),
        unsigned({"alg": "none", "typ": "JWT"}, CLAIMS),
        unsigned({"alg": "None"}, CLAIMS),
        unsigned({"alg": "HS256"}, CLAIMS),
        unsigned({}, CLAIMS),
        unsigned({"alg": ["HS256"]}, CLAIMS),
        unsigned({"alg": {}}, CLAIMS),
        unsigned([], CLAIMS),
        unsigned({"alg": "HS256", "crit": ["x"]}, CLAIMS),
        unsigned({"alg": "HS256", "b64": False}, CLAIMS),
        unsigned({"alg": "RS256"}, CLAIMS),
        signed(CLAIMS, SECRET * 2, "HS512"),
        TOKENS.issue("alice", "user", LATER)[:-1],
        TOKENS.issue("alice", "user", LATER).rpartition(".")[0] + ".",
        "",
        ".",
        "..",
        "a.b.c",
        "\ud800",
        "\x00",
        "ü.ü.ü",
        part(b"[" * 12_000) + ".e30.x",
        part(b'{"a":' * 2400) + ".e30.x",
        jwt.api_jws.encode(b'{"a":' * 2300, SECRET, "HS256"),
    ],
    ids=lambda text: repr(text[:30]),
)
def test_a_forged_or_malformed_token_is_refused(forged: str) -> None:
    with pytest.raises(InvalidToken):
        TOKENS.verify(forged, NOW)


def test_the_payload_of_another_token_does_not_fit_the_signature() -> None:
    mine = TOKENS.issue("alice", "user", LATER).split(".")
    admin = TOKENS.issue("alice", "admin", LATER).split(".")
    with pytest.raises(InvalidToken):
        TOKENS.verify(".".join([mine[0], admin[1], mine[2]]), NOW)


def test_a_token_has_at_most_16384_characters() -> None:
    def longer_by(size: int) -> str:
        return signed({"sub": "alice", "exp": LATER, "x": "x" * size})

    [longest, too_long, *_] = [
        token for size in range(12_000, 12_300) if len(token := longer_by(size)) >= MAX_TOKEN_CHARS
    ]
    assert len(longest) == MAX_TOKEN_CHARS == 16_384
    assert TOKENS.verify(longest, NOW).username == "alice"
    with pytest.raises(TokenTooLong, match=r"^longer than 16384 characters$"):
        TOKENS.verify(too_long, NOW)
    assert TOKENS.is_of("alice", longest, NOW) is True
    assert TOKENS.is_of("alice", too_long, NOW) is False


three_parts = st.tuples(
    json_values.map(lambda value: part(json.dumps(value).encode())) | any_text,
    json_values.map(lambda value: part(json.dumps(value).encode())) | any_text,
    st.binary(max_size=40).map(part) | any_text,
).map(".".join)


@given(any_text | three_parts)
def test_any_text_is_refused_without_the_secret(text: str) -> None:
    with pytest.raises(InvalidToken):
        TOKENS.verify(text, NOW)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "sub": json_values,
            "exp": json_values | st.integers(LATER, 2**40),
            "role": json_values,
            "nbf": json_values,
            "iat": json_values,
            "aud": json_values,
            "jti": json_values,
        },
    )
)
def test_any_signed_claims_are_an_identity_or_refused(claims: dict[str, Any]) -> None:
    genuine = jwt.api_jws.encode(json.dumps(claims).encode(), SECRET, "HS256")
    try:
        identity = TOKENS.verify(genuine, NOW)
    except InvalidToken:
        return
    assert identity.username == normal_username(claims["sub"])
    assert identity.expires_at > NOW - 1


# What is remembered.


def test_a_token_is_valid_again_and_again_until_it_expires() -> None:
    tokens = Tokens(SECRET)
    issued = tokens.issue("alice", "user", LATER)
    for _ in range(3):
        assert tokens.verify(issued, LATER - 1) == Identity("alice", "user", LATER)
    for _ in range(3):
        with pytest.raises(InvalidToken, match="expired"):
            tokens.verify(issued, LATER)
    assert tokens.verify(issued, LATER - 1).username == "alice", "a clock may be set back"


@given(st.data())
def test_what_is_known_makes_nothing_valid_that_resembles_it(data: st.DataObject) -> None:
    tokens = Tokens(SECRET)
    issued = tokens.issue("alice", "user", LATER)
    tokens.verify(issued, NOW)
    place = data.draw(st.integers(0, len(issued) - 2))
    other = data.draw(st.sampled_from("abcXYZ019-_.=\ud800").filter(lambda c: c != issued[place]))
    forged = [
        issued[:place] + other + issued[place + 1 :],
        issued[:place],
        issued + "x",
        issued.rpartition(".")[0] + "." + signed(CLAIMS, "x" * 32).rpartition(".")[2],
    ]
    for each in forged:
        with pytest.raises(InvalidToken):
            tokens.verify(each, NOW)
    assert tokens.verify(issued, NOW).username == "alice"


def test_what_is_invalid_is_not_remembered() -> None:
    """Else whoever guesses would push out those who are known."""
    invalid = [signed({"sub": f"{n}", "exp": LATER}, "x" * 32) for n in range(500)]
    invalid += [TOKENS.issue(f"user {n}", "user", int(NOW) - 1) for n in range(500)]

    def guess() -> Tokens:
        tokens = Tokens(SECRET)
        for each in invalid:
            with pytest.raises(InvalidToken):
                tokens.verify(each, NOW)
        return tokens

    assert bytes_kept(guess) < 100 * len(invalid)


def test_the_tokens_that_are_remembered_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.core.identity.tokens.MAX_VERIFIED", 50)
    issued = [TOKENS.issue(f"user {n}", "user", LATER) for n in range(1_000)]

    def use_all() -> Tokens:
        tokens = Tokens(SECRET)
        for number, each in enumerate(issued):
            assert tokens.verify(each, NOW).username == f"user {number}"
        return tokens

    limited = bytes_kept(use_all)
    monkeypatch.setattr("edge.core.identity.tokens.MAX_VERIFIED", 1_000)
    unlimited = bytes_kept(use_all)
    assert 5 * limited < unlimited, "it remembers, and not more than it may"


def bytes_kept(action: Callable[[], Tokens]) -> int:
    """How many bytes what `action` returns takes."""
    # Other threads of the test process may allocate too; they can only add to it.
    return min(bytes_kept_once(action) for _ in range(3))


def bytes_kept_once(action: Callable[[], Tokens]) -> int:
    """The bytes that this process has more after `action`."""
    action()  # What modules and parsers keep for themselves.
    gc.collect()
    tracemalloc.start()
    try:
        tokens = action()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        assert tokens is not None
        return kept
    finally:
        tracemalloc.stop()
