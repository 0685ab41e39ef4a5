"""Which credential a handshake carries: header before query before cookie."""

import pytest
from hypothesis import given

from edge.core.identity.credentials import COOKIE_NAME, Credentials, find_credentials
from tests.relay.wire.strategies import any_text

HOST = "edge.example.org:8000"
OWN = f"https://{HOST}"
COOKIES = {COOKIE_NAME: "cookie-token"}


def find(
    authorization: str | None = None,
    token: str | None = None,
    origin: str | None = None,
    host: str | None = HOST,
    allowed: tuple[str, ...] = (),
) -> Credentials:
    headers = {"authorization": authorization, "origin": origin, "host": host}
    return find_credentials(
        {name: value for name, value in headers.items() if value is not None},
        {} if token is None else {"token": token},
        COOKIES,
        allowed,
    )


@pytest.mark.parametrize(
    ("authorization", "token", "explicit"),
    [
        ("Bearer a", None, "a"),
        ("bearer a", None, "a"),
        ("BEARER   a ", None, "a"),
        ("Bearer a", "b", "a"),
        ("Bearer", None, ""),
        ("Bearer ", "b", ""),
        ("Basic dTpw", None, ""),
        ("Basic dTpw", "b", ""),
        ("", "b", ""),
        (None, "b", "b"),
        (None, "", None),
        (None, None, None),
    ],
)
@pytest.mark.parametrize(("origin", "cookie"), [(OWN, "cookie-token"), (None, None)])
def test_the_header_wins_over_the_query_whatever_the_cookie(
    authorization: str | None,
    token: str | None,
    explicit: str | None,
    origin: str | None,
    cookie: str | None,
) -> None:
    assert find(authorization, token, origin) == Credentials(explicit, cookie)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (OWN, ()),
        (f"http://{HOST}", ()),
        ("https://app.example.org", ("https://app.example.org",)),
        ("https://app.example.org", ("https://a.org", "https://app.example.org")),
    ],
)
def test_the_cookie_counts_on_own_and_allowed_pages(origin: str, allowed: tuple[str, ...]) -> None:
    assert find(origin=origin, allowed=allowed).cookie == "cookie-token"


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        HOST,
        "https://edge.example.org",
        "https://edge.example.org:8001",
        f"https://{HOST}.evil.org",
        f"https://evil.org/{HOST}",
        f"https://evil@{HOST}",
        f"https://{HOST}@evil.org",
        "https://app.example.org.evil.org",
        "http://app.example.org",
        "https://[",
        "https://app.example.org/",
    ],
)
def test_the_cookie_is_worth_nothing_on_another_page(origin: str | None) -> None:
    assert find(origin=origin, allowed=("https://app.example.org",)).cookie is None


@pytest.mark.parametrize(("origin", "host"), [("null", None), ("null", ""), ("https://", "")])
def test_without_a_host_no_origin_is_our_own(origin: str, host: str | None) -> None:
    assert find(origin=origin, host=host).cookie is None


def test_without_a_cookie_there_is_none() -> None:
    headers = {"origin": OWN, "host": HOST}
    assert find_credentials(headers, {}, {}, ()) == Credentials(None, None)


@given(any_text, any_text, any_text)
def test_any_handshake_has_credentials_or_not(authorization: str, origin: str, host: str) -> None:
    found = find(authorization, None, origin, host)
    assert isinstance(found.explicit, str)
    assert found.cookie in (None, "cookie-token")
