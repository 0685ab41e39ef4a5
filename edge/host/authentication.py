"""`AppAuthentication`: asks the application who opens a WebSocket.

The question takes the same way as a handshake on any ASGI server: through the application, with its
middleware and the dependencies of `authenticate`, to the route of `/ws`. That route answers the
question instead of accepting. So our own server, which opens WebSockets without ASGI, lets in
exactly those whom the application would.
"""

import asyncio
import logging
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

import orjson
from starlette.types import Message, Scope

from edge.core.identity.request_head import RequestHead
from edge.host.functions import AppIdentity, own_cancellation
from edge.websocket.identification import HandshakeRefused
from edge.websocket.reception import Reception
from relay.shared.logs import LimitedLog

ASKED = "event_relay.asked"
"""The name of the `Question` in the scope."""
MAX_REFUSAL_BYTES = 16 * 1024

_ERRORS = frozenset(status for status in HTTPStatus if status >= 300)
_OWN_HEADERS = (b"content-length", b"content-type", b"connection")
_BREAK = re.compile(rb"[\r\n\0]")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Question:
    """The question who it is. The route of `/ws` fills in the answer."""

    identity: AppIdentity | None = None
    is_answered: bool = False

    def answer(self, identity: AppIdentity | None) -> None:
        """It is `identity`; None if the client has not said it yet."""
        self.identity = identity
        self.is_answered = True


@dataclass(slots=True)
class _Refusal:
    """The response with which the application has refused the handshake."""

    status: int = 403
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "websocket.http.response.start":
            self.status = message["status"] if message["status"] in _ERRORS else 403
            self.headers = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in message.get("headers", ())
                if name.lower() not in _OWN_HEADERS and not _BREAK.search(value)
            }
        elif message["type"] == "websocket.http.response.body":
            self.body = (self.body + message.get("body", b""))[:MAX_REFUSAL_BYTES]

    @property
    def detail(self) -> str:
        try:
            detail = orjson.loads(self.body)["detail"]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            detail = None
        return detail if isinstance(detail, str) else self.body.decode(errors="replace")


class Handshake(NamedTuple):
    """The request that has opened a WebSocket."""

    head: RequestHead
    peer: str | None
    """The address of its sender."""
    reception: Reception


class AppAuthentication:
    """Asks the application that has received a handshake; the WebSocket's route is at `path`."""

    def __init__(self, path: str, timeout_s: float) -> None:
        """The application may take `timeout_s` seconds."""
        self._path = path
        self._timeout_s = timeout_s
        self._log = LimitedLog(logger)

    async def identify(self, handshake: Handshake) -> AppIdentity | None:
        """Return who sends `handshake`; None if it must still say. Raises `HandshakeRefused`."""
        question, refusal = Question(), _Refusal()
        scope = {**self._scope(handshake), ASKED: question}
        try:
            async with asyncio.timeout(self._timeout_s):
                with own_cancellation():
                    await handshake.reception.app(scope, _Connecting().receive, refusal.take)
        except TimeoutError:
            self._log.error("timeout", "authenticate has not returned within %g s", self._timeout_s)
            raise HandshakeRefused(503, "Authentication takes too long") from None
        except Exception:  # noqa: BLE001 - logged
            self._log.exception("fault", "authenticate has failed")
            raise HandshakeRefused(500, "Internal Server Error") from None
        if not question.is_answered:
            raise HandshakeRefused(refusal.status, refusal.detail, refusal.headers)
        return question.identity

    async def verify(self, handshake: Handshake, token: str | None) -> AppIdentity | None:
        """Return whose `token` is, which came in a message of the client that sent `handshake`.

        It is shown to the application as a bearer token. Without one, the handshake's own
        credentials count. None if the application refuses it.
        """
        if token is not None:
            handshake = handshake._replace(head=_with_token(handshake.head, token))
        try:
            return await self.identify(handshake)
        except HandshakeRefused:
            return None

    def _scope(self, handshake: Handshake) -> Scope:
        head, peer, reception = handshake
        _, _, query_string = head.url.partition(b"?")
        path = reception.root_path + self._path
        protocols = head.values("sec-websocket-protocol")
        return {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": reception.scheme,
            "server": None,
            "client": None if peer is None else (peer, 0),
            "root_path": reception.root_path,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query_string,
            "headers": [
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in head.headers.items()
            ],
            "subprotocols": list(protocols),
            # A copy, as servers make: what middleware notes of one client is for no other one.
            "state": dict(reception.state),
            "extensions": {"websocket.http.response": {}},
        }


class _Connecting:
    """A client that has sent its handshake, and nothing more."""

    def __init__(self) -> None:
        self._has_connected = False

    async def receive(self) -> Message:
        if self._has_connected:
            await asyncio.Event().wait()
        self._has_connected = True
        return {"type": "websocket.connect"}


def _with_token(head: RequestHead, token: str) -> RequestHead:
    """Return `head` with `token` as its only credential: the application may know others."""
    shown = RequestHead(is_encrypted=head.is_encrypted)
    shown.url, _, _ = head.url.partition(b"?")
    shown.headers = {
        name: value
        for name, value in head.headers.items()
        if name not in ("authorization", "cookie", "sec-websocket-protocol")
    }
    shown.headers["authorization"] = f"Bearer {token}"
    return shown
