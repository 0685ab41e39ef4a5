"""One client's side of the conversation on `/ws` (protocol section 7).

A `Session` takes the text of each client message and answers through the connection. It returns
a `Close` when the connection must end.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from edge.core.catch_up.ports import CatchUp
from edge.core.catch_up.subscriptions import Subscriptions
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import Identity
from edge.core.identity.tokens import InvalidToken, Tokens
from edge.core.protocol import messages
from edge.core.protocol.requests import InvalidRequest, TaskPosition, Unsubscribe, parse_subscribe
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import Streams
from edge.core.websocket import close_codes
from edge.core.websocket.close_codes import Close, CloseCode
from relay.wire.errors import InvalidTopic
from relay.wire.topics import parse_pattern

MAX_SHOWN_CHARS = 300
MAX_REQUEST_ID_CHARS = 255


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one client may do."""

    messages_per_s: float
    message_burst: int
    max_subscriptions: int
    max_connections_per_user: int


class Visitor(NamedTuple):
    """The claims of one WebSocket handshake."""

    identity: Identity | None
    """None if the client authenticates with its first message."""
    cookie: str | None
    """The token in the cookie, if the handshake's origin is allowed."""
    tasks_since: TaskPosition | None
    """The last task update that the client has."""


@dataclass(frozen=True, slots=True)
class SessionServices:
    """What all sessions of a worker share."""

    manager: ConnectionManager
    streams: Streams
    snapshots: Snapshots
    tokens: Tokens
    limits: SessionLimits


class Session:
    """From handshake to close, whatever the transport."""

    __slots__ = (
        "_allowance",
        "_allowance_at",
        "_connection",
        "_cookie",
        "_identity",
        "_limits",
        "_manager",
        "_snapshots",
        "_streams",
        "_subscriptions",
        "_tasks_since",
        "_tokens",
    )

    def __init__(
        self,
        connection: Connection,
        services: SessionServices,
        catch_up: CatchUp,
        visitor: Visitor,
        now: float,
    ) -> None:
        """`catch_up` runs this connection's catch-ups; `now` is Unix time in seconds."""
        limits = services.limits
        self._connection = connection
        self._manager = services.manager
        self._streams = services.streams
        self._snapshots = services.snapshots
        self._subscriptions = Subscriptions(
            connection,
            services.manager,
            services.streams,
            services.snapshots,
            catch_up,
            limits.max_subscriptions,
        )
        self._tasks_since = visitor.tasks_since
        self._tokens = services.tokens
        self._limits = limits
        self._cookie = visitor.cookie
        self._allowance = float(limits.message_burst)
        self._allowance_at = now
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity | None:
        """Whom the client is, once authenticated."""
        return self._identity

    def tell_position(self) -> None:
        """Send the client its position; during a catch-up it has none, and gets the epoch alone."""
        if self._identity is None:
            return
        position = (
            {}
            if self._subscriptions.is_catching_up
            else self._snapshots.position_of(self._connection)
        )
        frame = messages.position(self._streams.epoch, position)
        self._manager.send_to_client(self._connection, frame)

    def admit(self, identity: Identity) -> Close | None:
        """The client is `identity`: let its tasks reach it."""
        others = len(self._manager.connections_of(identity.username))
        if others >= self._limits.max_connections_per_user:
            return CloseCode.TOO_MANY_CONNECTIONS.close()
        self._identity = identity
        self._connection.identity = identity
        self._subscriptions.open(self._tasks_since)
        return None

    def is_expired(self, now: float) -> bool:
        """Whether the token that the client presented last is no longer valid."""
        return self._identity is not None and self._identity.expires_at <= now

    def count_message(self, now: float) -> Close | None:
        """A message or a ping has come. `now` is Unix time in seconds."""
        if not self._is_within_rate(now) or self._has_too_much_waiting():
            return CloseCode.TOO_MANY_MESSAGES.close()
        return None

    def receive(self, text: str, now: float) -> Close | None:
        """Count one message and act on it. `now` is Unix time in seconds."""
        return self.count_message(now) or self.act_on(text, now)

    def act_on(self, text: str, now: float) -> Close | None:
        """Act on one message that was counted."""
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            return self._refuse("invalid_json", "Invalid JSON.")
        if not isinstance(message, dict):
            return self._refuse("bad_request", "A JSON object is required.")
        request_id = message.get("id")
        if not _is_request_id(request_id):
            return self._refuse("bad_request", "An id is text or a number.")
        if message.get("action") == "authenticate":
            return self._authenticate(message, request_id, now)
        if self._identity is None:
            return close_codes.MISSING_AUTHENTICATION
        close = self._act(message, request_id)
        if message.get("action") == "subscribe" and message.get("more") is not True:
            self._subscriptions.end_gathering()
        return close

    def _act(self, message: dict[str, Any], request_id: object) -> Close | None:
        action, topic = message.get("action"), message.get("topic")
        if not (isinstance(action, str) and action and isinstance(topic, str) and topic):
            return self._refuse("bad_request", "Action and topic are required.", request_id)
        if action not in ("subscribe", "unsubscribe"):
            text = f"Unknown action: '{_shown(action)}'"
            return self._refuse("unknown_action", text, request_id)
        try:
            pattern = parse_pattern(topic)
            if action == "subscribe":
                self._subscriptions.take(parse_subscribe(message, pattern))
            else:
                self._subscriptions.take(Unsubscribe(pattern, request_id))
        except InvalidTopic:
            text = f"Invalid topic: '{_shown(topic)}'"
            return self._refuse("invalid_topic", text, request_id)
        except InvalidRequest as error:
            return self._refuse("bad_request", str(error), request_id)
        return None

    def _refuse(
        self, code: messages.ErrorCode, text: str, request_id: object = None
    ) -> Close | None:
        """Answer with an error; before authentication there is no conversation to keep."""
        if self._identity is None:
            return close_codes.MISSING_AUTHENTICATION
        self._answer(messages.error(code, text, request_id))
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
        self._answer(
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
        self._identity = identity
        self._connection.identity = identity
        self._subscriptions.renew()
        return None

    def _answer(self, frame: bytes) -> None:
        self._subscriptions.answer(frame)

    def _has_too_much_waiting(self) -> bool:
        # A request may wait as two entries.
        return self._subscriptions.waiting_count > 2 * self._limits.message_burst

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


def _is_request_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_REQUEST_ID_CHARS
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _shown(text: str) -> str:
    """A client's own words in an error message, at a bounded length."""
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
