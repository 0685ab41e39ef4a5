"""One client's side of the conversation on `/ws` (protocol section 7).

A `Session` takes the text of each client message and answers through the connection. It returns
a `Close` when the connection must end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from edge.core import close_codes, messages
from edge.core.access import Identity, selectors
from edge.core.close_codes import Close, CloseCode
from edge.core.connections import Connection, ConnectionManager
from edge.core.streams import StreamPositions
from edge.core.tokens import InvalidToken, Tokens
from relay.wire.errors import InvalidTopic
from relay.wire.topics import Pattern, parse_pattern

MAX_SHOWN_CHARS = 300
MAX_REQUEST_ID_CHARS = 255


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one client may do."""

    messages_per_s: float
    message_burst: int
    max_subscriptions: int
    max_connections_per_user: int


class Snapshots(Protocol):
    """What a client is shown at once instead of waiting for the next event."""

    def unfinished_tasks(self, username: str) -> Iterable[bytes]:
        """Frames with the latest state of each unfinished task of `username`."""

    def last_values(
        self, identity: Identity, patterns: tuple[Pattern, ...]
    ) -> Iterable[tuple[str, bytes]]:
        """Topic and frame of the live values that `patterns` select."""


class Session:
    """From handshake to close, whatever the transport."""

    def __init__(
        self,
        connection: Connection,
        manager: ConnectionManager,
        positions: StreamPositions,
        snapshots: Snapshots,
        tokens: Tokens,
        limits: SessionLimits,
        *,
        cookie: str | None,
        now: float,
    ) -> None:
        """`cookie` is the token in the handshake's cookie, if its origin is allowed."""
        self._connection = connection
        self._manager = manager
        self._positions = positions
        self._snapshots = snapshots
        self._tokens = tokens
        self._limits = limits
        self._cookie = cookie
        self._allowance = float(limits.message_burst)
        self._allowance_at = now
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity | None:
        """Whom the client is, once authenticated."""
        return self._identity

    def admit(self, identity: Identity) -> Close | None:
        """The client is `identity`: let events reach it, and show its unfinished tasks."""
        others = len(self._manager.connections_of(identity.username))
        if others >= self._limits.max_connections_per_user:
            return CloseCode.TOO_MANY_CONNECTIONS.close()
        self._identity = identity
        self._connection.identity = identity
        self._manager.connect(self._connection)
        for frame in self._snapshots.unfinished_tasks(identity.username):
            self._send(frame)
        return None

    def is_expired(self, now: float) -> bool:
        """Whether the token that the client presented last is no longer valid."""
        return self._identity is not None and self._identity.expires_at <= now

    def receive(self, text: str, now: float) -> Close | None:
        """Act on one message. `now` is Unix time in seconds."""
        if not self._is_within_rate(now):
            return CloseCode.TOO_MANY_MESSAGES.close()
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            return self._refuse("invalid_json", "Invalid JSON.")
        if not isinstance(message, dict):
            return self._refuse("bad_request", "A JSON object is required.")
        request_id = message.get("id")
        if not _is_request_id(request_id):
            return self._refuse("bad_request", "An id is text or a number.")
        action = message.get("action")
        if action == "authenticate":
            return self._authenticate(message, request_id, now)
        if self._identity is None:
            return close_codes.MISSING_AUTHENTICATION
        topic = message.get("topic")
        if not (isinstance(action, str) and action and isinstance(topic, str) and topic):
            return self._refuse("bad_request", "Action and topic are required.", request_id)
        if action not in ("subscribe", "unsubscribe"):
            text = f"Unknown action: '{_shown(action)}'"
            return self._refuse("unknown_action", text, request_id)
        try:
            pattern = parse_pattern(topic)
        except InvalidTopic:
            text = f"Invalid topic: '{_shown(topic)}'"
            return self._refuse("invalid_topic", text, request_id)
        if action == "subscribe":
            self._subscribe(self._identity, pattern, message, request_id)
        else:
            self._unsubscribe(pattern, request_id)
        return None

    def _refuse(
        self, code: messages.ErrorCode, text: str, request_id: object = None
    ) -> Close | None:
        """Answer with an error; before authentication there is no conversation to keep."""
        if self._identity is None:
            return close_codes.MISSING_AUTHENTICATION
        self._send(messages.error(code, text, request_id))
        return None

    def _authenticate(
        self, message: dict[str, Any], request_id: object, now: float
    ) -> Close | None:
        token = message.get("token")
        if token == "":
            token = self._cookie
        if not token:
            return close_codes.MISSING_TOKEN
        try:
            identity = self._tokens.verify(token if isinstance(token, str) else "", now)
        except InvalidToken:
            return close_codes.INVALID_TOKEN
        previous = self._identity
        if previous is not None and previous.username != identity.username:
            return close_codes.INVALID_TOKEN
        self._send(
            messages.success(
                "authenticate",
                "Authenticated successfully",
                request_id,
                username=identity.username,
                expires_at=identity.expires_at,
            )
        )
        if previous is None:
            return self.admit(identity)
        self._renew(identity)
        return None

    def _renew(self, identity: Identity) -> None:
        """Go on with a newer token; a role that grants less loses subscriptions."""
        self._identity = identity
        self._connection.identity = identity
        for pattern in tuple(self._manager.subscriptions(self._connection)):
            if allowed := selectors(identity.role, pattern):
                self._manager.subscribe(self._connection, pattern, allowed)
                continue
            self._manager.unsubscribe(self._connection, pattern)
            self._send(_forbidden(pattern))

    def _subscribe(
        self, identity: Identity, pattern: Pattern, message: dict[str, Any], request_id: object
    ) -> None:
        allowed = selectors(identity.role, pattern)
        if not allowed:
            self._send(_forbidden(pattern, request_id))
            return
        current = self._manager.subscriptions(self._connection)
        if pattern not in current and len(current) >= self._limits.max_subscriptions:
            most = self._limits.max_subscriptions
            self._refuse("bad_request", f"At most {most} subscriptions are allowed.", request_id)
            return
        self._manager.subscribe(self._connection, pattern, allowed)
        # Without a journal nothing can be recovered, and a client that asks is told so.
        asked = {"recovered": False} if "since" in message or "last" in message else {}
        self._send(
            messages.success(
                "subscribe",
                f"Subscribed to topic '{pattern}'",
                request_id,
                topic=str(pattern),
                epoch=self._positions.epoch,
                position=self._positions.concerning(allowed),
                **asked,
            )
        )
        for topic, frame in self._snapshots.last_values(identity, allowed):
            self._connection.send_live(topic, frame)

    def _unsubscribe(self, pattern: Pattern, request_id: object) -> None:
        self._manager.unsubscribe(self._connection, pattern)
        self._send(
            messages.success(
                "unsubscribe",
                f"Unsubscribed from topic '{pattern}'",
                request_id,
                topic=str(pattern),
            )
        )

    def _send(self, frame: bytes) -> None:
        self._manager.send_to_client(self._connection, frame)

    def _is_within_rate(self, now: float) -> bool:
        """A token bucket: `message_burst` at once, `messages_per_s` in the long run."""
        elapsed = max(0.0, now - self._allowance_at)
        self._allowance_at = now
        self._allowance = min(
            float(self._limits.message_burst),
            self._allowance + elapsed * self._limits.messages_per_s,
        )
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


def _forbidden(pattern: Pattern, request_id: object = None) -> bytes:
    text = f"Not allowed to subscribe to topic '{pattern}'"
    return messages.error("forbidden", text, request_id)


def _is_request_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_REQUEST_ID_CHARS
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _shown(text: str) -> str:
    """A client's own words in an error message, at a bounded length."""
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
