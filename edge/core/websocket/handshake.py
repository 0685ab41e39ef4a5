"""The server's side of the opening handshake (RFC 6455, section 4.2; RFC 7692, section 7.1).

Headers are maps with names in lower case.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from http import HTTPStatus

import orjson

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DEFLATE = "permessage-deflate"
_ACCEPTED_DEFLATE = f"{_DEFLATE}; server_no_context_takeover; client_no_context_takeover"
_PARAMETER = re.compile(
    r"(server|client)_no_context_takeover"
    r'|client_max_window_bits(\s*=\s*("?)([89]|1[0-5])\3)?'
)
"""The parameters of an offer that we accept (RFC 7692, section 7.1)."""
_KEY_BYTES = 16
_HOST = re.compile(r"(\[[0-9A-Za-z:.%-]+\]|[\w.~!$&'()*+;=%-]+)(:[0-9]{0,5})?", re.ASCII)
"""Host and port of RFC 3986, section 3.2, without the comma: it joins two headers."""


SECURITY_HEADERS = {
    # Nothing in an answer that is no page is ever run, shown in a frame, or kept.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer of the edge that has no others of its own."""


class BadHandshake(Exception):  # noqa: N818
    """The request cannot be answered with 101; `response` is the answer instead."""

    def __init__(self, response: bytes) -> None:
        super().__init__(response)
        self.response = response


def is_upgrade(method: bytes, headers: Mapping[str, str]) -> bool:
    """Return whether a request asks for a WebSocket (RFC 6455, section 4.2.1)."""
    connection = (token.strip().lower() for token in headers.get("connection", "").split(","))
    return (
        method == b"GET"
        and headers.get("upgrade", "").strip().lower() == "websocket"
        and "upgrade" in connection
    )


def accept(
    headers: Mapping[str, str],
    subprotocol: str | None = None,
    *,
    compress: bool = False,
    version: str = "1.1",
) -> bytes:
    """Return the response that opens the WebSocket. Raises `BadHandshake`.

    `subprotocol` is the chosen one of those that the client offers (RFC 6455, section 4.2.2);
    `version` is that of HTTP.
    """
    _check_http(headers, version)
    if headers.get("sec-websocket-version") != "13":
        raise BadHandshake(
            response(
                426,
                "WebSocket version 13 is required",
                {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
            )
        )
    # A key that came twice was joined with a comma, so it is refused here.
    key = headers.get("sec-websocket-key", "")
    try:
        is_key = len(base64.b64decode(key.encode(), validate=True)) == _KEY_BYTES
    except (binascii.Error, UnicodeEncodeError):
        is_key = False
    if not is_key:
        raise BadHandshake(response(400, "Sec-WebSocket-Key must be 16 bytes in base64"))
    digest = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    protocol = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    extension = f"Sec-WebSocket-Extensions: {_ACCEPTED_DEFLATE}\r\n" if compress else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {digest}\r\n{protocol}{extension}\r\n"
    ).encode()


def is_host(value: str) -> bool:
    """Return whether `value` may stand in the header `Host`, once (RFC 9112, section 3.2)."""
    return _HOST.fullmatch(value) is not None


def _check_http(headers: Mapping[str, str], version: str) -> None:
    """Check what HTTP asks of every request (RFC 9112, section 3.2; RFC 6455, section 4.2.1)."""
    if version != "1.1":
        raise BadHandshake(response(400, "A WebSocket needs HTTP/1.1"))
    if not is_host(headers.get("host", "")):
        raise BadHandshake(response(400, "One header Host with the name of the edge is required"))
    # A proxy would take the first bytes behind the head for a body, and we for frames.
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise BadHandshake(response(400, "A request for a WebSocket has no body"))


def offers_deflate(headers: Mapping[str, str]) -> bool:
    """Return whether the client takes messages that are compressed each by itself.

    A client that demands a smaller window of the server is served uncompressed: its messages would
    need a compressor of their own.
    """
    offers = headers.get("sec-websocket-extensions", "").split(",")
    return any(_is_acceptable([part.strip() for part in offer.split(";")]) for offer in offers)


def _is_acceptable(offer: list[str]) -> bool:
    name, *parameters = offer
    names = [parameter.partition("=")[0].strip() for parameter in parameters]
    return (
        name == _DEFLATE
        and all(_PARAMETER.fullmatch(parameter) for parameter in parameters)
        and len(set(names)) == len(names)
    )


def response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return an HTTP response with `detail` as JSON. It announces that the connection closes."""
    body = orjson.dumps({"detail": detail})
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in {**SECURITY_HEADERS, **(headers or {})}.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
