"""One client's side of the conversation on `/ws` (protocol section 7).

A `Session` takes the text of each client message and answers through the connection. It returns
a `Close` when the connection must end. It decides who the client is and whether a message is
understood. `Subscriptions` performs the requests, and an `Access` decides which events the client
may receive.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import orjson

from edge.core.catch_up.subscriptions import RunCatchUp, Subscriptions
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import Access, Identity
from edge.core.identity.tokens import InvalidToken, TokenVerifier
from edge.core.protocol import messages, replies
from edge.core.protocol.requests import (
    InvalidRequest,
    PersonalPosition,
    Unsubscribe,
    parse_subscribe,
)
from edge.core.rate_limit import TokenBucket
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import Streams
from edge.core.websocket import close_codes
from edge.core.websocket.close_codes import Close, CloseCode
from relay.wire.errors import InvalidTopic
from relay.wire.topics import Pattern, parse_pattern

MAX_REQUEST_ID_CHARS = 255
MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Memory of the requests and replies of one client that wait for a catch-up."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The limits of one client."""

    messages_per_s: float
    message_burst: int
    max_subscriptions: int
    max_connections_per_user: int


class Visitor(NamedTuple):
    """The claims of one WebSocket handshake."""

    identity: Identity | None
    """None if the client authenticates with its first message."""
    cookies: tuple[str, ...]
    """The tokens in cookies, if the handshake's origin is allowed."""
    personal_since: PersonalPosition | None
    """The last personal events that the client has."""
    handshake: object = None
    """For the application in which the edge is, to identify the client again."""


@dataclass(frozen=True, slots=True)
class SessionServices:
    """The objects that all sessions of a worker share."""

    manager: ConnectionManager
    streams: Streams
    snapshots: Snapshots
    access: Access
    tokens: TokenVerifier
    limits: SessionLimits


class Session:
    """The conversation with one client, from handshake to close, whatever the transport."""

    __slots__ = (
        "_bucket",
        "_connection",
        "_cookies",
        "_expires_at",
        "_identity",
        "_limits",
        "_manager",
        "_personal_since",
        "_snapshots",
        "_streams",
        "_subscriptions",
        "_tokens",
    )

    def __init__(
        self,
        connection: Connection,
        services: SessionServices,
        catch_up: RunCatchUp,
        visitor: Visitor,
        now: float,
    ) -> None:
        """`catch_up` runs this connection's catch-ups; `now` is monotonic, in seconds."""
        limits = services.limits
        self._connection = connection
        self._manager = services.manager
        self._streams = services.streams
        self._snapshots = services.snapshots
        self._subscriptions = Subscriptions(
            connection, services, catch_up, limits.max_subscriptions
        )
        self._personal_since = visitor.personal_since
        self._tokens = services.tokens
        self._limits = limits
        self._cookies = visitor.cookies
        self._bucket = TokenBucket(limits.messages_per_s, limits.message_burst, now)
        self._identity: Identity | None = None
        self._expires_at = math.inf
        """When the token expires, by the monotonic clock: a jump of the other ends no session."""

    @property
    def identity(self) -> Identity | None:
        """The user whose valid token the client presented, None before authentication."""
        return self._identity

    @property
    def patterns(self) -> Collection[Pattern] | None:
        """The patterns to which the client is subscribed; None while a request waits."""
        return () if self._identity is None else self._subscriptions.patterns

    def tell_position(self) -> None:
        """Send the client its position; during a catch-up the epoch alone.

        A client that took the heads for its position in the middle of a catch-up, and then lost its
        connection, would never ask again for the events that were still to be replayed.
        """
        if self._identity is None:
            return
        position = (
            {}
            if self._subscriptions.is_catching_up
            else self._snapshots.position_of(self._connection)
        )
        frame = messages.position(self._streams.epoch, position)
        self._manager.send_to_client(self._connection, frame)

    def admit(self, identity: Identity, now: float, unix_now: float) -> Close | None:
        """The client is `identity`: let that user's task updates reach it.

        `now` is monotonic, `unix_now` Unix time, both in seconds.
        """
        others = len(self._manager.connections_of(identity.username))
        if others >= self._limits.max_connections_per_user:
            return CloseCode.TOO_MANY_CONNECTIONS.close()
        self._become(identity, now, unix_now)
        self._subscriptions.open(self._personal_since)
        return None

    def is_expired(self, now: float) -> bool:
        """Whether the token that the client presented last is no longer valid.

        `now` is monotonic, in seconds.
        """
        return self._expires_at <= now

    def count_message(self, now: float) -> Close | None:
        """Count a message or a ping that has arrived. `now` is monotonic, in seconds."""
        if not self._bucket.take(now) or self._has_too_much_waiting:
            return CloseCode.TOO_MANY_MESSAGES.close()
        return None

    def act_on(self, text: str, now: float, unix_now: float) -> Close | None:
        """Act on one message that was counted.

        `now` is monotonic, `unix_now` Unix time, both in seconds.
        """
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            return self._refuse(replies.invalid_json())
        if not isinstance(message, dict):
            return self._refuse(replies.bad_request("A JSON object is required."))
        if message.get("action") == "authenticate" and _is_request_id(message.get("id")):
            return self._authenticate(message, now, unix_now)
        if self._identity is None:
            return close_codes.MISSING_AUTHENTICATION
        close = self._act(message)
        if message.get("action") == "subscribe" and message.get("more") is not True:
            # Also if this one was refused: those before it must not wait for ever.
            self._subscriptions.end_gathering()
        return close

    def _act(self, message: dict[str, Any]) -> Close | None:
        request_id = message.get("id")
        if not _is_request_id(request_id):
            return self._refuse(replies.bad_request("An id is text or a number."))
        action, topic = message.get("action"), message.get("topic")
        if not (isinstance(action, str) and action and isinstance(topic, str) and topic):
            text = "Action and topic are required."
            return self._refuse(replies.bad_request(text, request_id))
        if action not in ("subscribe", "unsubscribe"):
            return self._refuse(replies.unknown_action(action, request_id))
        try:
            pattern = parse_pattern(topic)
            if action == "subscribe":
                self._subscriptions.take(parse_subscribe(message, pattern))
            else:
                self._subscriptions.take(Unsubscribe(pattern, request_id))
        except InvalidTopic:
            return self._refuse(replies.invalid_topic(topic, request_id))
        except InvalidRequest as error:
            return self._refuse(replies.bad_request(str(error), request_id))
        return None

    def _refuse(self, reply: bytes) -> Close | None:
        """Answer with an error; before authentication there is no conversation to keep."""
        if self._identity is None:
            return close_codes.MISSING_AUTHENTICATION
        self._subscriptions.answer(reply)
        return None

    def _authenticate(self, message: dict[str, Any], now: float, unix_now: float) -> Close | None:
        token = message.get("token")
        tokens = self._cookies if token == "" else (token,)
        if not any(tokens):
            return close_codes.MISSING_TOKEN
        try:
            identity = self._tokens.first_valid(filter(_is_text, tokens), unix_now)
        except InvalidToken:
            return close_codes.INVALID_TOKEN
        previous = self._identity
        if previous is not None and previous.username != identity.username:
            # The connection's tasks and addressed events belong to the first user.
            return close_codes.INVALID_TOKEN
        self._subscriptions.answer(replies.authenticated(identity, unix_now, message.get("id")))
        if previous is None:
            return self.admit(identity, now, unix_now)
        self._become(identity, now, unix_now)
        self._subscriptions.renew()
        return None

    def _become(self, identity: Identity, now: float, unix_now: float) -> None:
        self._identity = identity
        self._expires_at = now + identity.expires_at - unix_now
        self._connection.identity = identity

    @property
    def _has_too_much_waiting(self) -> bool:
        count, size_bytes = self._subscriptions.waiting
        # A subscribe may wait as two entries, itself and the end of the gathering.
        return count > 2 * self._limits.message_burst or size_bytes > MAX_WAITING_BYTES


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _is_request_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_REQUEST_ID_CHARS
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
