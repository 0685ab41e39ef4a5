"""The opening handshake against RFC 6455's example and an independent client."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.protocol import State
from websockets.uri import parse_uri

from edge.core.websocket.handshake import BadHandshake, accept, is_upgrade, offers_deflate, response

REQUEST = {
    "host": "server.example.com",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}
"""The example of RFC 6455, section 1.3."""


def test_the_answer_is_the_one_of_the_rfc() -> None:
    assert accept(REQUEST, compress=False) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"\r\n"
    )


def test_the_chosen_subprotocol_is_in_the_answer() -> None:
    assert b"\r\nSec-WebSocket-Protocol: event-relay\r\n" in accept(REQUEST, "event-relay")


@pytest.mark.parametrize("compress", [False, True])
def test_an_independent_client_is_content(compress: bool) -> None:
    client = ClientProtocol(
        parse_uri("ws://edge/ws"), extensions=[ClientPerMessageDeflateFactory()]
    )
    request: Request = client.connect()
    headers = {name.lower(): value for name, value in request.headers.raw_items()}
    assert is_upgrade(b"GET", headers)
    assert offers_deflate(headers)
    client.send_request(request)
    client.receive_data(accept(headers, compress=compress) + b"\x81\x02hi")
    assert client.handshake_exc is None
    assert client.state is State.OPEN
    assert [type(each).__name__ for each in client.extensions] == ["PerMessageDeflate"] * compress
    if compress:
        [extension] = client.extensions
        assert extension.local_no_context_takeover  # type: ignore[attr-defined]
        assert extension.remote_no_context_takeover  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", [None, "", "8", "14", "13, 13", "013"])
def test_another_version_is_told_the_right_one(version: str | None) -> None:
    headers = REQUEST | {"sec-websocket-version": version or ""}
    if version is None:
        del headers["sec-websocket-version"]
    with pytest.raises(BadHandshake) as bad:
        accept(headers, compress=False)
    answer, body = bad.value.response.split(b"\r\n\r\n")
    lines = answer.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 426 Upgrade Required"
    assert "Sec-WebSocket-Version: 13" in lines
    assert json.loads(body) == {"detail": "WebSocket version 13 is required"}


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "x",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZ!==",
        base64.b64encode(b"x" * 15).decode(),
        base64.b64encode(b"x" * 17).decode(),
        "ü" * 24,
        "\ud800",
    ],
    ids=repr,
)
def test_a_key_must_be_16_bytes(key: str | None) -> None:
    headers = REQUEST | {"sec-websocket-key": key or ""}
    if key is None:
        del headers["sec-websocket-key"]
    with pytest.raises(BadHandshake) as bad:
        accept(headers, compress=False)
    assert bad.value.response.startswith(b"HTTP/1.1 400 Bad Request\r\n")


@given(st.binary(min_size=16, max_size=16))
def test_any_key_of_16_bytes_is_taken(key: bytes) -> None:
    headers = REQUEST | {"sec-websocket-key": base64.b64encode(key).decode()}
    assert accept(headers, compress=False).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("method", "upgrade", "connection", "asks"),
    [
        (b"GET", "websocket", "Upgrade", True),
        (b"GET", "WebSocket", "upgrade", True),
        (b"GET", " websocket ", "keep-alive, Upgrade", True),
        (b"GET", "websocket", "Upgrade,keep-alive", True),
        (b"GET", "websocket", "keep-alive", False),
        (b"GET", "websocket", "upgraded", False),
        (b"GET", "websocket", "", False),
        (b"GET", "h2c", "Upgrade", False),
        (b"GET", "", "Upgrade", False),
        (b"POST", "websocket", "Upgrade", False),
        (b"HEAD", "websocket", "Upgrade", False),
    ],
)
def test_who_asks_for_a_websocket(method: bytes, upgrade: str, connection: str, asks: bool) -> None:
    assert is_upgrade(method, {"upgrade": upgrade, "connection": connection}) == asks


def test_who_says_neither_upgrade_nor_connection_asks_for_no_websocket() -> None:
    assert not is_upgrade(b"GET", {"host": "x"})


@pytest.mark.parametrize(
    ("offer", "accepted"),
    [
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; client_max_window_bits=10", True),
        ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", True),
        ("permessage-deflate;client_max_window_bits", True),
        ("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", True),
        ("permessage-deflate; server_max_window_bits=10", False),
        ("permessage-deflate; client_no_context_takeover; server_max_window_bits=8", False),
        ("permessage-deflated", False),
        ("x-webkit-deflate-frame", False),
        ("", False),
    ],
)
def test_who_can_be_sent_compressed_messages(offer: str, accepted: bool) -> None:
    assert offers_deflate({"sec-websocket-extensions": offer}) == accepted


def test_who_offers_nothing_is_sent_nothing_compressed() -> None:
    assert not offers_deflate({})


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; foo",
        "permessage-deflate; foo=1",
        "permessage-deflate; client_max_window_bits=99",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    ],
)
def test_an_offer_that_is_not_understood_is_declined(offer: str) -> None:
    """RFC 7692, section 7: unknown, repeated and wrong parameters."""
    assert not offers_deflate({"sec-websocket-extensions": offer})


@pytest.mark.parametrize("detail", ["why", 'with "quotes"\r\nand lines', "naïve"])
def test_a_response_can_be_read(detail: str) -> None:
    answer = response(401, detail, {"WWW-Authenticate": "Bearer"})
    head, body = answer.split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 401 Unauthorized"
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert headers == {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "WWW-Authenticate": "Bearer",
        "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    assert json.loads(body) == {"detail": detail}


@pytest.mark.parametrize("version", ["0.9", "1.0", "1.2", "2.0"])
def test_another_version_of_http_is_refused(version: str) -> None:
    """RFC 6455, section 4.2.1, point 1: HTTP/1.1 or higher, and no higher one has this form."""
    with pytest.raises(BadHandshake) as bad:
        accept(REQUEST, version=version)
    assert bad.value.response.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("host", [None, "", "a, b", "a b", "a/b", "a:b", "a@b", "[::1", "\xe4"])
def test_a_host_that_is_missing_or_wrong_or_there_twice_is_refused(host: str | None) -> None:
    headers = REQUEST | {"host": host or ""}
    if host is None:
        del headers["host"]
    with pytest.raises(BadHandshake) as bad:
        accept(headers)
    assert bad.value.response.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "more", [{"content-length": "5"}, {"content-length": "0, 0"}, {"transfer-encoding": "chunked"}]
)
def test_a_body_is_refused(more: dict[str, str]) -> None:
    """A proxy would take bytes for the body that are frames to us."""
    with pytest.raises(BadHandshake) as bad:
        accept(REQUEST | more)
    assert bad.value.response.startswith(b"HTTP/1.1 400 ")
    assert accept(REQUEST | {"content-length": "0"}).startswith(b"HTTP/1.1 101 ")
