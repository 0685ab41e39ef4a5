"""The words of a proxy count if the proxy is trusted, and nobody else's do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.identity.proxies import ForwardedRequest, TrustedProxies
from edge.core.identity.request_head import RequestHead

PROXY = "10.0.0.1"
TRUSTED = TrustedProxies.parse(("10.0.0.0/8", "::1"))
NOTHING = ForwardedRequest(None, None)


def head(**headers: str) -> RequestHead:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return RequestHead.of(pairs, b"")


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        (None, True),
        (PROXY, True),
        ("10.255.255.255", True),
        ("::ffff:10.0.0.1", True),
        ("::1", True),
        ("::1%lo", True),
        ("11.0.0.1", False),
        ("::2", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_peers_are_trusted_by_network_and_a_unix_socket_always(
    peer: str | None, trusted: bool
) -> None:
    assert TRUSTED.trusts(peer) is trusted
    assert TrustedProxies.parse(("*",)).trusts(peer)


def test_a_mapped_network_is_that_of_its_ipv4_addresses() -> None:
    proxies = TrustedProxies.parse(("::ffff:10.0.0.0/104", "::ffff:192.0.2.1"))
    trusted = [each for each in ("10.9.8.7", "192.0.2.1", "192.0.2.2") if proxies.trusts(each)]
    assert trusted == ["10.9.8.7", "192.0.2.1"]
    assert TrustedProxies.parse(("::ffff:0:0/96",)).trusts("10.9.8.7")


@pytest.mark.parametrize(
    "headers",
    [
        {"x_forwarded_for": "198.51.100.7, 10.0.0.9"},
        {"forwarded": "for=198.51.100.7, for=10.0.0.9"},
    ],
)
def test_if_anybody_is_trusted_only_the_peer_names_the_client(headers: dict[str, str]) -> None:
    """The addresses before it may be the client's own invention."""
    anybody = TrustedProxies.parse(("*",))
    assert anybody.read(head(**headers), "192.0.2.1").client == "10.0.0.9"


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "**", "::g"])
def test_a_text_that_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        TrustedProxies.parse((text,))


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, NOTHING),
        ({"x_forwarded_for": "192.0.2.1"}, ForwardedRequest("192.0.2.1", None)),
        ({"x_forwarded_for": "1.1.1.1, 192.0.2.1"}, ForwardedRequest("192.0.2.1", None)),
        ({"x_forwarded_for": "192.0.2.1, 10.0.0.2"}, ForwardedRequest("192.0.2.1", None)),
        ({"x_forwarded_for": "10.0.0.3, 10.0.0.2"}, ForwardedRequest("10.0.0.3", None)),
        ({"x_forwarded_for": "192.0.2.1:4711"}, ForwardedRequest("192.0.2.1", None)),
        ({"x_forwarded_for": "[2001:db8::1]:4711"}, ForwardedRequest("2001:db8::1", None)),
        ({"x_forwarded_for": "2001:db8::1"}, ForwardedRequest("2001:db8::1", None)),
        ({"x_forwarded_for": "1.1.1.1, unknown"}, NOTHING),
        ({"x_forwarded_proto": "https"}, ForwardedRequest(None, "https")),
        ({"x_forwarded_proto": "http, HTTPS"}, ForwardedRequest(None, "https")),
        ({"x_forwarded_proto": "gopher"}, NOTHING),
        (
            {"forwarded": 'for=1.1.1.1;proto=http, For="[2001:db8::1]:80"; proto=https'},
            ForwardedRequest("2001:db8::1", "https"),
        ),
        ({"forwarded": "for=_hidden, for=unknown"}, NOTHING),
        ({"forwarded": "for=1.1.1.1", "x_forwarded_for": ""}, NOTHING),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(
    headers: dict[str, str], told: ForwardedRequest
) -> None:
    assert TRUSTED.read(head(**headers), PROXY) == told
    assert TRUSTED.read(head(**headers), "192.0.2.9") == NOTHING


@pytest.mark.parametrize("text", ["for", "for=", 'for="', '\\"', "=", "f0r"])
def test_the_time_for_a_header_grows_with_its_length_alone(text: str) -> None:
    """If it grew with the square, these megabytes would take hours."""
    told = text * 1_000_000 + ",for=192.0.2.1"
    for header in ("forwarded", "x_forwarded_for", "x_forwarded_host"):
        request = head(host="own", **{header: told})
        TRUSTED.read(request, PROXY)
        assert "own" in list(TRUSTED.hosts(request, PROXY))


@pytest.mark.parametrize(
    ("headers", "hosts"),
    [
        ({}, []),
        ({"x_forwarded_host": "edge.org:8443"}, ["edge.org:8443"]),
        ({"x_forwarded_host": "a.org, b.org"}, ["a.org", "b.org"]),
        ({"x_forwarded_port": "8443"}, ["own:8443"]),
        (
            {"x_forwarded_host": "[::1]:80", "x_forwarded_port": "1"},
            ["[::1]:80", "own:1", "[::1]:1"],
        ),
        ({"forwarded": 'host="edge.org:8443"'}, ["edge.org:8443"]),
        ({"x_forwarded_host": "a:b:c", "x_forwarded_port": "1"}, ["a:b:c", "own:1"]),
    ],
)
def test_the_hosts_are_those_that_the_client_may_have_named(
    headers: dict[str, str], hosts: list[str]
) -> None:
    request = head(host="own", **headers)
    assert list(TRUSTED.hosts(request, PROXY)) == ["own", *hosts]
    assert list(TRUSTED.hosts(request, "192.0.2.9")) == ["own"]


words = st.text(st.sampled_from('ab1:.[]",;= for\\'), max_size=40)


@given(words, words, words)
def test_any_headers_are_read(told: str, host: str, port: str) -> None:
    request = head(host=host, forwarded=told, x_forwarded_port=port)
    client, scheme = TRUSTED.read(request, None)
    assert client is None or TrustedProxies.parse((client,)).trusts(client)
    assert scheme in (None, "http", "https")
    assert next(iter(TRUSTED.hosts(request, None))) == host.strip()


@pytest.mark.parametrize(
    ("peer", "headers", "is_local"),
    [
        ("127.0.0.1", {"host": "localhost:8000"}, True),
        ("127.9.9.9", {"host": "127.0.0.1"}, True),
        ("::1", {"host": "[::1]:8000"}, True),
        ("::ffff:127.0.0.1", {}, True),
        ("127.0.0.1", {"host": ""}, True),
        ("127.0.0.1", {"host": "LOCALHOST."}, True),
        (None, {"host": "localhost"}, False),
        ("192.0.2.1", {"host": "localhost"}, False),
        ("nowhere", {"host": "localhost"}, False),
        ("127.0.0.1", {"host": "edge.example"}, False),
        ("127.0.0.1", {"host": "127.0.0.1.evil.example"}, False),
        ("127.0.0.1", {"host": "192.0.2.1"}, False),
        *(
            ("127.0.0.1", {"host": "localhost", name: "127.0.0.1"}, False)
            for name in (
                "forwarded",
                "via",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-port",
                "x-forwarded-proto",
                "x-real-ip",
            )
        ),
    ],
)
def test_a_request_of_this_machine_came_through_no_proxy(
    peer: str | None, headers: dict[str, str], is_local: bool
) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = RequestHead.of(pairs, b"")
    assert TrustedProxies.parse(("*",)).is_local(request, peer) is is_local
