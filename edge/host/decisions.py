"""`Decisions`: who a client is and what it may do, by the functions of the application.

The core asks at once and waits for nobody. So `HostConversation` has the application answer first,
and the answers are ready when the core asks: identities in `PreparedTokens`, permissions in the
identity itself.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edge.core.identity.access import Identity
from edge.core.identity.credentials import CredentialRules
from edge.core.identity.tokens import InvalidToken, NotKnownYet, TokenVerifier
from edge.core.protocol.requests import PersonalPosition
from edge.core.session import Visitor
from edge.host.authentication import AppAuthentication, Handshake
from edge.host.authorization import Authorization, asked_about, own
from edge.host.functions import AppIdentity
from edge.websocket.identification import Identification
from relay.wire.calls import is_method
from relay.wire.errors import InvalidTopic
from relay.wire.topics import Pattern, Topic, parse_pattern, parse_topic

HANDSHAKE = "handshake"
"""Stands for the credentials of the handshake, where the core expects a token."""


class PreparedTokens:
    """The identities of the message that is acted on now; a `TokenVerifier`."""

    def __init__(self) -> None:
        self._prepared: Mapping[str, AppIdentity] = {}

    @contextlib.contextmanager
    def prepared(self, identities: Mapping[str, AppIdentity]) -> Iterator[None]:
        """Know `identities`, by their token, during the body, which waits for nothing."""
        self._prepared = identities
        try:
            yield
        finally:
            self._prepared = {}

    def first_valid(self, tokens: Iterable[str], now: float) -> Identity:
        """Return the identity of the first known token. Raises `InvalidToken`."""
        for token in tokens:
            identity = self._prepared.get(token)
            if identity is not None and identity.expires_at > now:
                return identity
        raise InvalidToken("refused by the application")


class AnsweredAccess:
    """Permissions as `authorize` has answered; an `Access`."""

    def selectors(self, identity: Identity, pattern: Pattern) -> tuple[Pattern, ...]:
        """Return `pattern` itself if the application allows it, else nothing."""
        is_allowed = isinstance(identity, AppIdentity) and identity.allowed.get(pattern, False)
        return (pattern,) if is_allowed else ()

    def refusal(self, identity: Identity, pattern: Pattern) -> str:
        """Return "": the application alone knows why."""
        return ""

    def may_publish(self, identity: Identity, topic: Topic) -> bool:
        """Return whether the application allows it."""
        return isinstance(identity, AppIdentity) and identity.may_publish.get(topic.text, False)

    def may_call(self, identity: Identity, method: str) -> bool:
        """Return whether the application allows it."""
        return isinstance(identity, AppIdentity) and identity.may_call.get(method, False)


class Decisions:
    """The application's `authenticate` and `authorize`, each if there is one."""

    def __init__(
        self,
        authentication: AppAuthentication | None,
        authorization: Authorization | None,
        rules: CredentialRules,
        verifier: TokenVerifier | None,
        timeout_s: float,
    ) -> None:
        """Without `authentication`, `verifier` knows whose the tokens are.

        `authorize` may take `timeout_s` seconds.
        """
        self.tokens = PreparedTokens()
        self._authentication = authentication
        self._authorization = authorization
        self._verifier = self.tokens if verifier is None else verifier
        self._identification = Identification(rules, self._verifier)

    async def visitor(self, handshake: Handshake) -> Visitor:
        """Return the claims of a handshake. Raises `HandshakeRefused`."""
        if self._authentication is None:
            visitor = self._identification(handshake.head, handshake.peer)
            return visitor._replace(
                identity=own(visitor.identity),
                by_cookie=own(visitor.by_cookie),
                handshake=handshake,
            )
        since = self._refuse_wrong(handshake)
        identity = await self._authentication.identify(handshake)
        return Visitor(identity, (HANDSHAKE,), since, handshake=handshake)

    def known_visitor(self, handshake: Handshake, identity: AppIdentity | None) -> Visitor:
        """Return the claims of a handshake whose sender the application has identified.

        Raises `HandshakeRefused`.
        """
        since = self._refuse_wrong(handshake)
        return Visitor(identity, (HANDSHAKE,), since, handshake=handshake)

    async def verify(self, handshake: Handshake, token: Any) -> tuple[str, AppIdentity] | None:
        """Return the user whose token came in a message, and the token as the core will show it.

        Without a token the credentials of the handshake count. None for an invalid one. Raises
        `NotKnownYet`.
        """
        shown = token if isinstance(token, str) and token else None
        if self._authentication is not None:
            identity = await self._authentication.verify(handshake, shown)
            return None if identity is None else (shown or HANDSHAKE, identity)
        cookies = self._identification.cookies(handshake.head, handshake.peer)
        for each in (shown,) if shown else cookies:
            try:
                identity = own(self._verifier.first_valid((each,), time.time()))
                return None if identity is None else (each, identity)
            except NotKnownYet:
                raise
            except InvalidToken:
                continue
        return None

    def _refuse_wrong(self, handshake: Handshake) -> PersonalPosition | None:
        """Return the position in a handshake. Raises `HandshakeRefused` for one of another site."""
        self._identification.refuse_foreign_page(handshake.head, handshake.peer)
        return self._identification.personal_position(handshake.head)

    async def ask_subscribe(self, identity: Identity, topic: Any) -> None:
        """Have the application answer whether `identity` may subscribe to `topic`."""
        if self._authorization is None or not isinstance(identity, AppIdentity):
            return
        try:
            pattern = asked_about(parse_pattern(topic))
        except (InvalidTopic, AttributeError):
            # The core says what is wrong with it.
            return
        identity.allowed[pattern] = await self.is_allowed(identity, "subscribe", str(pattern))

    async def ask_publish(self, identity: Identity, topic: Any) -> None:
        """Have the application answer whether `identity` may publish on `topic`, just now."""
        if self._authorization is None or not isinstance(identity, AppIdentity):
            return
        try:
            parsed = parse_topic(topic)
        except (InvalidTopic, AttributeError):
            return
        identity.may_publish.clear()
        identity.may_publish[parsed.text] = await self.is_allowed(identity, "publish", parsed.shown)

    async def ask_call(self, identity: Identity, method: Any) -> None:
        """Have the application answer whether `identity` may call `method`, just now."""
        if self._authorization is None or not isinstance(identity, AppIdentity):
            return
        if isinstance(method, str) and is_method(method):
            identity.may_call.clear()
            identity.may_call[method] = await self.is_allowed(identity, "request", method)

    async def is_allowed(self, identity: AppIdentity, action: str, topic: str) -> bool:
        """Return the answer of `authorize`; a failure of it counts as no."""
        if self._authorization is None:
            return False
        return await self._authorization.is_allowed(identity, action, topic)
