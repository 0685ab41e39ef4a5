"""The tokens in a request, in the order in which they count: header, query, subprotocol, cookie."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given

from edge.core.identity.credentials import (
    COOKIE_NAME,
    MAX_TOKENS,
    SUBPROTOCOL,
    CredentialRules,
    Credentials,
    chosen_subprotocol,
)
from edge.core.identity.proxies import TrustedProxies
from edge.core.identity.request_head import RequestHead
from tests.relay.wire.strategies import any_text

HOST = "edge.example.org:8000"
OWN = f"https://{HOST}"
PROXY = "10.0.0.1"
STRANGER = "192.0.2.1"

HEADERS = {
    None: [],
    "": [],
    "Basic dTpw": [],
    "Bearer": [],
    "Bearer ": [],
    "bearer h": ["h"],
    "BEARER   h ": ["h"],
    "Basic dTpw, Bearer h": ["h"],
    "Bearer h, Bearer i": ["h", "i"],
}
QUERIES = {"": [], "token=": [], "token=q": ["q"], "a=b&token=q&token=r": ["q", "r"], "Token=q": []}
SUBPROTOCOLS = {None: [], "mqtt": [], "event-relay, event-relay.bearer.s": ["s"]}
COOKIES = {
    None: [],
    f"{COOKIE_NAME}=": [],
    f"a=b; {COOKIE_NAME}=c": ["c"],
    f"{COOKIE_NAME}=c; {COOKIE_NAME}=d": ["c", "d"],
}


def rules(*allowed: str) -> CredentialRules:
    return CredentialRules((COOKIE_NAME,), allowed, TrustedProxies.parse((PROXY,)))


def head(query: str = "", *, encrypted: bool = True, **headers: str | None) -> RequestHead:
    pairs = [
        (name.replace("_", "-").encode(), value.encode("utf-8", "surrogatepass"))
        for name, value in headers.items()
        if value is not None
    ]
    found = RequestHead.of(pairs, query.encode())
    found.is_encrypted = encrypted
    return found


@pytest.mark.parametrize(
    ("authorization", "query", "subprotocol", "cookie"),
    list(product(HEADERS, QUERIES, SUBPROTOCOLS, COOKIES)),
)
def test_all_tokens_of_a_request_are_found_in_their_order(
    authorization: str | None, query: str, subprotocol: str | None, cookie: str | None
) -> None:
    request = head(
        query,
        authorization=authorization,
        sec_websocket_protocol=subprotocol,
        cookie=cookie,
        origin=OWN,
        host=HOST,
    )
    explicit = (*HEADERS[authorization], *QUERIES[query], *SUBPROTOCOLS[subprotocol])
    found = Credentials(explicit, tuple(COOKIES[cookie]))
    assert rules().of_request(request) == found
    assert rules().of_handshake(request, STRANGER) == found


def test_the_edges_own_cookie_counts_before_that_of_all_front_ends() -> None:
    own = CredentialRules(("own", COOKIE_NAME), (), TrustedProxies(()))
    request = head(cookie=f"{COOKIE_NAME}=b; other=x; own=a")
    assert own.of_request(request).cookies == ("a", "b")


def test_so_many_tokens_are_looked_at_and_no_more() -> None:
    many = range(1000)
    request = head(
        "&".join(f"token={number}" for number in many),
        cookie=";".join(f"{COOKIE_NAME}={number}" for number in many),
        authorization=",".join(f"Bearer {number}" for number in many),
        sec_websocket_protocol=",".join(f"event-relay.bearer.{number}" for number in many),
    )
    found = rules().of_request(request)
    assert (len(found.explicit), len(found.cookies)) == (3 * MAX_TOKENS, MAX_TOKENS)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        ("", None),
        ("mqtt", None),
        ("event-relay.bearer.x", None),
        ("event-relay", SUBPROTOCOL),
        ("event-relay.bearer.x, event-relay", SUBPROTOCOL),
        ("Event-Relay", None),
    ],
)
def test_the_chosen_subprotocol_is_never_the_token(offered: str | None, chosen: str | None) -> None:
    assert chosen_subprotocol(head(sec_websocket_protocol=offered)) == chosen


# The origin of the page that uses the cookie.


def cookie_of(
    origin: str | None,
    host: str | None = HOST,
    *allowed: str,
    peer: str | None = STRANGER,
    encrypted: bool = True,
    **forwarded: str,
) -> str | None:
    """Return the cookie that counts; else None, and check that the refused origin is told."""
    cookie = f"{COOKIE_NAME}=c"
    request = head(encrypted=encrypted, cookie=cookie, origin=origin, host=host, **forwarded)
    found = rules(*allowed).of_handshake(request, peer)
    assert found.refused_origin == (None if found.cookies else origin)
    return found.cookies[0] if found.cookies else None


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (OWN, HOST, ()),
        (f"http://{HOST}", HOST, ()),
        ("http://edge.example.org", "edge.example.org", ()),
        (OWN, HOST.upper(), ()),
        ("https://edge.example.org", "edge.example.org", ()),
        ("https://edge.example.org", "edge.example.org:443", ()),
        ("http://edge.example.org", "edge.example.org:80", ()),
        ("http://[::1]:8000", "[::1]:8000", ()),
        ("https://app.example.org", HOST, ("https://app.example.org",)),
        ("https://app.example.org", HOST, ("https://a.org", "https://app.example.org")),
    ],
)
def test_the_cookie_counts_on_own_and_allowed_pages(
    origin: str, host: str, allowed: tuple[str, ...]
) -> None:
    encrypted = origin.startswith("https:")
    assert cookie_of(origin, host, *allowed, encrypted=encrypted) == "c"
    if not allowed:
        assert cookie_of(origin, host, encrypted=not encrypted) is None, "another scheme"


@pytest.mark.parametrize(
    ("forwarded", "scheme"),
    [
        ({}, "http"),
        ({"x_forwarded_proto": "https"}, "https"),
        ({"x_forwarded_proto": "wss"}, "https"),
        ({"x_forwarded_proto": "ws"}, "http"),
        ({"x_forwarded_proto": "http, https"}, "https"),
        ({"x_forwarded_proto": "https, http"}, "http"),
        ({"x_forwarded_proto": "gopher"}, "http"),
        ({"forwarded": "proto=https;for=192.0.2.7"}, "https"),
    ],
)
def test_only_a_trusted_proxy_tells_the_scheme(forwarded: dict[str, Any], scheme: str) -> None:
    for peer in (PROXY, None, STRANGER):
        told = scheme if peer != STRANGER else "http"
        for page in ("http", "https"):
            origin = f"{page}://{HOST}"
            found = cookie_of(origin, HOST, peer=peer, encrypted=False, **forwarded)
            assert found == ("c" if page == told else None)


@pytest.mark.parametrize(
    "forwarded",
    [
        {"x_forwarded_host": HOST},
        {"x_forwarded_host": f"inner, {HOST}"},
        {"x_forwarded_host": "edge.example.org", "x_forwarded_port": "8000"},
        {"x_forwarded_port": "8000"},
        {"forwarded": f'for=192.0.2.1;host="{HOST}"'},
    ],
)
def test_a_trusted_proxy_tells_the_host_that_it_has_changed(forwarded: dict[str, Any]) -> None:
    changed = "edge.example.org"
    assert cookie_of(OWN, changed, peer=PROXY, **forwarded) == "c"
    assert cookie_of(OWN, changed, peer=None, **forwarded) == "c"
    assert cookie_of(OWN, changed, peer=STRANGER, **forwarded) is None
    assert cookie_of("https://evil.org", changed, peer=PROXY, **forwarded) is None


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
    assert cookie_of(origin, HOST, "https://app.example.org") is None


@pytest.mark.parametrize(("origin", "host"), [("null", None), ("null", ""), ("https://", "")])
def test_without_a_host_no_origin_is_our_own(origin: str, host: str | None) -> None:
    assert cookie_of(origin, host) is None


def test_without_a_cookie_no_origin_is_refused() -> None:
    request = head(origin="https://evil.org", host=HOST)
    assert rules().of_handshake(request, STRANGER) == Credentials((), ())


FRIEND = "https://app.example.org"


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"origin": OWN}, False),
        ({"origin": FRIEND}, False),
        ({"origin": FRIEND, "sec_fetch_site": "cross-site"}, False),
        ({"origin": "https://evil.org"}, True),
        ({"origin": f"http://{HOST}"}, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
        ({"origin": OWN, "sec_fetch_site": "cross-site"}, True),
        ({"sec_fetch_site": "same-origin"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "same-site"}, True),
        ({"sec_fetch_site": "cross-site"}, True),
        ({"sec_fetch_site": "of a later standard"}, True),
        ({"sec_fetch_site": ""}, True),
        # The proxy has changed the host and has not told.
        ({"sec_fetch_site": "same-origin", "origin": "https://public.example.org"}, False),
        # No browser sends such a token by itself. It does send passwords (Basic).
        ({"origin": "https://evil.org", "authorization": "Bearer t"}, False),
        ({"origin": "https://evil.org", "authorization": "Basic dTpw"}, True),
        ({"origin": "https://evil.org", "authorization": "Bearer "}, True),
    ],
)
def test_a_page_elsewhere_is_known_by_its_origin_or_by_the_browser(
    headers: dict[str, Any], foreign: bool
) -> None:
    request = head("token=t", host=HOST, cookie=f"{COOKIE_NAME}=c", **headers)
    assert rules(FRIEND).is_foreign(request, STRANGER) is foreign


@pytest.mark.parametrize(
    ("host", "allowed", "serves"),
    [
        (HOST, (), True),
        (None, (), True),
        (HOST, ("edge.example.org",), True),
        (HOST.upper(), ("edge.example.org",), True),
        ("edge.example.org.", ("edge.example.org",), True),
        ("edge.example.org", ("a.org", "edge.example.org"), True),
        (HOST, ("*.example.org",), True),
        ("a.b.example.org", ("*.example.org",), True),
        ("example.org", ("*.example.org",), False),
        ("evilexample.org", ("*.example.org",), False),
        ("edge.example.org.evil.org", ("edge.example.org",), False),
        ("evil.org", ("edge.example.org",), False),
        ("edge.example.org@evil.org", ("edge.example.org",), False),
        ("", ("edge.example.org",), False),
        (None, ("edge.example.org",), False),
        ("127.0.0.1:8000", ("127.0.0.1",), True),
        ("[::1]:8000", ("[::1]",), True),
        ("[::2]", ("[::1]",), False),
    ],
)
def test_an_edge_serves_the_hosts_that_it_is_told(
    host: str | None, allowed: tuple[str, ...], serves: bool
) -> None:
    found = CredentialRules((), (), TrustedProxies.parse((PROXY,)), allowed)
    assert found.serves_host(head(host=host), STRANGER) is serves
    assert found.public_host(head(host=host), STRANGER) == (host if serves and allowed else None)


def test_a_proxy_that_changes_the_host_tells_the_one_for_links() -> None:
    found = CredentialRules((), (), TrustedProxies.parse((PROXY,)), ("edge.example.org",))
    request = head(host="backend:8000", x_forwarded_host="edge.example.org:8443")
    assert found.public_host(request, PROXY) == "edge.example.org:8443"
    assert found.public_host(request, STRANGER) is None


@given(any_text, any_text, any_text)
def test_any_handshake_has_credentials_or_not(authorization: str, origin: str, host: str) -> None:
    request = head(authorization=authorization, origin=origin, host=host, cookie=f"{COOKIE_NAME}=c")
    found = rules().of_handshake(request, STRANGER)
    assert all(isinstance(token, str) for token in found.explicit)
    assert found.cookies in ((), ("c",))
