"""One client's side of the conversation on `/ws` (protocol section 7).

A `Session` takes the text of each client message and answers through the connection. It returns
a `Close` when the connection must end. It decides who the client is and whether a message is
understood. `Subscriptions` performs the requests, and an `Access` decides which events the client
may receive.
"""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeGuard

from edge.core.catch_up.subscriptions import RunCatchUp, Subscriptions
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import Access, Identity
from edge.core.identity.revocations import Revocations
from edge.core.identity.tokens import InvalidToken, NotKnownYet, TokenVerifier
from edge.core.protocol import messages, replies
from edge.core.protocol.reading import Unreadable, is_request_id, read_message
from edge.core.protocol.requests import (
    InvalidRequest,
    MethodCall,
    PersonalPosition,
    Publish,
    Unsubscribe,
    parse_call,
    parse_publish,
    parse_subscribe,
)
from edge.core.rate_limit import TokenBucket
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import Streams
from edge.core.websocket import close_codes
from edge.core.websocket.close_codes import Close, CloseCode
from relay.wire.errors import InvalidTopic
from relay.wire.topics import Pattern, Topic, parse_pattern, parse_topic

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Memory of the requests and replies of one client that wait for a catch-up."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The limits of one client."""

    messages_per_s: float
    message_burst: int
    max_subscriptions: int
    max_connections_per_user: int
    bytes_per_s: float = 4.0 * 1024 * 1024
    byte_burst: int = 32 * 1024 * 1024
    max_json_depth: int = 64


class Visitor(NamedTuple):
    """The claims of one WebSocket handshake."""

    identity: Identity | None
    """None without a valid token in header, URL or subprotocols."""
    cookies: tuple[str, ...]
    """The tokens in cookies, if the handshake's origin is allowed."""
    personal_since: PersonalPosition | None
    """The last personal events that the client has."""
    by_cookie: Identity | None = None
    """The identity in the cookies, if `identity` is None: a token in the first message wins."""
    handshake: object = None
    """For the application in which the edge is, to identify the client again."""
    refusal: Close | None = None
    """With what the client is sent away, if nobody can say yet whether its token is valid."""


class Actions(Protocol):
    """Events and calls of clients, which take their time. The reply is sent when there is one."""

    def takes(self, topic: Topic) -> bool:
        """Whether the application itself takes what clients publish on `topic`."""

    def answers(self, method: str) -> bool:
        """Whether the application itself answers `method`."""

    def publish(self, connection: Connection, request: Publish) -> None:
        """Let the application take the event, or emit it."""

    def call(self, connection: Connection, request: MethodCall) -> None:
        """Have the method answered."""


@dataclass(frozen=True, slots=True)
class SessionServices:
    """The objects that all sessions of a worker share."""

    manager: ConnectionManager
    streams: Streams
    snapshots: Snapshots
    access: Access
    tokens: TokenVerifier
    limits: SessionLimits
    actions: Actions
    revocations: Revocations | None = None
    """The tokens that are revoked, if any can be."""
    refused: Counter[str] = field(default_factory=Counter)
    """Messages that could not be read, by reason."""


class Session:
    """The conversation with one client, from handshake to close, whatever the transport."""

    __slots__ = (
        "_bucket",
        "_by_cookie",
        "_bytes",
        "_catch_up",
        "_connection",
        "_cookies",
        "_expires_at",
        "_identity",
        "_limits",
        "_manager",
        "_personal_since",
        "_services",
        "_snapshots",
        "_streams",
        "_subscriptions",
        "_tokens",
        "_was_heard",
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
        self._limits = limits
        self._services = services
        self._catch_up = catch_up
        self._subscriptions = self._no_subscriptions()
        self._personal_since = visitor.personal_since
        self._tokens = services.tokens
        self._cookies = visitor.cookies
        self._by_cookie = visitor.by_cookie
        self._was_heard = False
        """Whether a message of the client has come."""
        self._bucket = TokenBucket(limits.messages_per_s, limits.message_burst, now)
        self._bytes = TokenBucket(limits.bytes_per_s, limits.byte_burst, now)
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
        if self._is_revoked(identity):
            return close_codes.TOKEN_REVOKED
        others = len(self._manager.connections_of(identity.username))
        if others >= self._limits.max_connections_per_user:
            return CloseCode.TOO_MANY_CONNECTIONS.close()
        self._become(identity, now, unix_now)
        self._subscriptions.open(self._personal_since)
        return None

    def admit_by_cookie(self, now: float, unix_now: float) -> Close | None:
        """The client is the user of its cookie, unless it has authenticated in another way.

        `now` is monotonic, `unix_now` Unix time, both in seconds.
        """
        if self._identity is not None or self._by_cookie is None:
            return None
        return self.admit(self._by_cookie, now, unix_now)

    def recheck(self) -> None:
        """The answers of the access may be others: end what they no longer allow."""
        if self._identity is not None:
            self._subscriptions.renew()

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

    def count_bytes(self, size: int, now: float) -> Close | None:
        """Count bytes that have arrived. `now` is monotonic, in seconds."""
        if self._bytes.take(now, size):
            return None
        return CloseCode.TOO_MANY_MESSAGES.close("too many bytes")

    def act_on(self, text: str, now: float, unix_now: float) -> Close | None:
        """Act on one message that was counted.

        `now` is monotonic, `unix_now` Unix time, both in seconds.
        """
        is_first, self._was_heard = not self._was_heard, True
        message = self.read(text)
        if isinstance(message, Unreadable):
            self._services.refused[message.reason] += 1
        if isinstance(message, dict) and _is_authentication(message):
            return self._authenticate(message, is_first, now, unix_now)
        if close := self.admit_by_cookie(now, unix_now):
            return close
        if self._identity is None:
            # Before authentication there is no conversation that an error could keep.
            return close_codes.MISSING_AUTHENTICATION
        if isinstance(message, Unreadable):
            self._subscriptions.answer(message.reply)
            return None
        self._act(message)
        if message.get("action") == "subscribe" and message.get("more") is not True:
            # Also if this one was refused: those before it must not wait for ever.
            self._subscriptions.end_gathering()
        return None

    def read(self, text: str) -> dict[str, Any] | Unreadable:
        """Return the object in a message of the client."""
        return read_message(text, self._limits.max_json_depth)

    def _act(self, message: dict[str, Any]) -> None:
        answer, request_id = self._subscriptions.answer, message.get("id")
        action, topic = message.get("action"), message.get("topic")
        if not is_request_id(request_id):
            answer(replies.invalid_id())
        elif action == "request":
            self._call(message)
        elif not (isinstance(action, str) and action and isinstance(topic, str) and topic):
            answer(replies.bad_request("Action and topic are required.", request_id))
        elif action not in ("subscribe", "unsubscribe", "publish"):
            answer(replies.unknown_action(action, request_id))
        else:
            try:
                if action == "subscribe":
                    self._subscriptions.take(parse_subscribe(message, parse_pattern(topic)))
                elif action == "unsubscribe":
                    self._subscriptions.take(Unsubscribe(parse_pattern(topic), request_id))
                else:
                    self._publish(parse_publish(message, parse_topic(topic)))
            except InvalidTopic:
                answer(replies.invalid_topic(topic, request_id))
            except InvalidRequest as error:
                answer(replies.bad_request(str(error), request_id))

    def _publish(self, request: Publish) -> None:
        actions, access = self._services.actions, self._services.access
        assert self._identity is not None
        if actions.takes(request.topic) or access.may_publish(self._identity, request.topic):
            actions.publish(self._connection, request)
        else:
            self._subscriptions.answer(replies.may_not_publish(request.topic, request.id))

    def _call(self, message: dict[str, Any]) -> None:
        actions, access = self._services.actions, self._services.access
        assert self._identity is not None
        try:
            call = parse_call(message)
        except InvalidRequest as error:
            self._subscriptions.answer(replies.bad_request(str(error), message.get("id")))
            return
        if actions.answers(call.method) or access.may_call(self._identity, call.method):
            actions.call(self._connection, call)
        else:
            self._subscriptions.answer(replies.may_not_call(call.method, call.id))

    def _authenticate(
        self, message: dict[str, Any], is_first: bool, now: float, unix_now: float
    ) -> Close | None:
        token = message.get("token")
        tokens = (token,) if token else self._cookies
        if not any(tokens):
            return close_codes.MISSING_TOKEN
        try:
            identity = self._tokens.first_valid(filter(_is_text, tokens), unix_now)
        except NotKnownYet as error:
            return close_codes.try_again(str(error), 1)
        except InvalidToken:
            return close_codes.INVALID_TOKEN
        if self._is_revoked(identity):
            return close_codes.INVALID_TOKEN
        previous = self._identity
        if previous is not None and previous.username != identity.username:
            if not (is_first and self._may_change_user):
                # The connection's tasks and addressed events belong to the first user.
                return close_codes.INVALID_TOKEN
            self._leave_user()
            previous = None
        self._subscriptions.answer(replies.authenticated(identity, unix_now, message.get("id")))
        if previous is None:
            return self.admit(identity, now, unix_now)
        self._become(identity, now, unix_now)
        self._subscriptions.renew()
        return None

    def _is_revoked(self, identity: Identity) -> bool:
        # Asked again: it was verified when the client came, and may be revoked since.
        revocations = self._services.revocations
        return revocations is not None and revocations.refuses(identity)

    @property
    def _may_change_user(self) -> bool:
        """Whether the client was taken for the user of its cookie, and has asked for nothing.

        It holds that user's cookie, so it has got nothing that is not its own.
        """
        # A catch-up would go on with events of that user.
        return self._by_cookie is not None and not self._subscriptions.is_catching_up

    def _leave_user(self) -> None:
        self._manager.disconnect(self._connection)
        self._subscriptions = self._no_subscriptions()
        self._identity = None

    def _no_subscriptions(self) -> Subscriptions:
        return Subscriptions(
            self._connection, self._services, self._catch_up, self._limits.max_subscriptions
        )

    def _become(self, identity: Identity, now: float, unix_now: float) -> None:
        self._identity = identity
        self._expires_at = now + identity.expires_at - unix_now
        self._connection.identity = identity

    @property
    def _has_too_much_waiting(self) -> bool:
        count, size_bytes = self._subscriptions.waiting
        # A subscribe may wait as two entries, itself and the end of the gathering.
        return count > 2 * self._limits.message_burst or size_bytes > MAX_WAITING_BYTES


def _is_authentication(message: dict[str, Any]) -> bool:
    return message.get("action") == "authenticate" and is_request_id(message.get("id"))


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)
