"""`HostClients`: the conversations of all clients with the application in which the edge is."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from edge.client_actions import OwnActions
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.request_head import RequestHead
from edge.core.protocol.requests import MethodCall, Publish
from edge.core.session import Session, Visitor
from edge.host.authentication import Handshake
from edge.host.connection import ClientConnection
from edge.host.conversation import HostConversation
from edge.host.decisions import Decisions
from edge.host.functions import AppFunction, AppIdentity, call
from edge.host.hooks import Hooks
from edge.websocket.client import Client
from edge.websocket.reception import Reception
from relay.wire.topics import Pattern, Topic

LAST_HOOKS_S = 2.0
"""Seconds for the last hooks when the worker ends."""


class HostClients:
    """Takes part in what `ClientEndpoint` and `ConnectionManager` do, for the application."""

    def __init__(self, decisions: Decisions, hooks: Hooks, own: OwnActions) -> None:
        """`own` has the application's functions for what clients publish and request."""
        self._own = own
        self._decisions = decisions
        self._hooks = hooks
        self._manager: ConnectionManager | None = None
        self._conversations: dict[Connection, HostConversation] = {}
        self._ending: set[HostConversation] = set()
        """Those of closed connections, whose last hooks are still to be called."""

    def connection_of(self, connection: Connection) -> ClientConnection | None:
        """Return a client as the application sees it, None if it is gone."""
        conversation = self._conversations.get(connection)
        return None if conversation is None else conversation.connection

    def with_id(self, client_id: str) -> ClientConnection | None:
        """Return the client with this id, None if it is not here."""
        connections = (each.connection for each in self._conversations.values())
        return next((each for each in connections if each.id == client_id), None)

    def begin(self, manager: ConnectionManager) -> None:
        """The worker begins to serve the connections of `manager`."""
        self._manager = manager

    async def end(self) -> None:
        """The worker has closed all connections: wait for their last hooks for a while."""
        waits = [each.wait_end() for each in (*self._ending, *self._conversations.values())]
        if waits:
            await asyncio.wait(map(asyncio.ensure_future, waits), timeout=LAST_HOOKS_S)

    def of_user(self, username: str) -> list[Client]:
        """Return the clients of one user on this worker."""
        return [
            each.client
            for each in self._conversations.values()
            if each.session.identity is not None and each.session.identity.username == username
        ]

    # As `Application` of the endpoint.

    async def visitor(self, head: RequestHead, peer: str | None, reception: Reception) -> Visitor:
        """Return the claims of a handshake from the address `peer`. Raises `HandshakeRefused`."""
        return await self._decisions.visitor(Handshake(head, peer, reception))

    def known_visitor(self, handshake: Handshake, identity: AppIdentity | None) -> Visitor:
        """Return the claims of a handshake whose sender the application has identified.

        Raises `HandshakeRefused`.
        """
        return self._decisions.known_visitor(handshake, identity)

    def opened(self, client: Client, session: Session, visitor: Visitor) -> None:
        """A client is there, and is about to be admitted."""
        assert self._manager is not None
        connection = ClientConnection(client, self._manager)
        self._conversations[client] = HostConversation(
            client, session, connection, visitor.handshake, self._decisions, self._hooks
        )

    def message(self, client: Client, text: str) -> None:
        """A client has sent a message."""
        self._conversations[client].take(text)

    def recheck(self, client: Client) -> None:
        """Ask the application again what a client may see; end the other subscriptions."""
        self._conversations[client].recheck()

    def lost(self, client: Client) -> None:
        """A client is gone, and the manager has been told so."""
        conversation = self._conversations.pop(client, None)
        if conversation is not None and not conversation.is_idle:
            self._ending.add(conversation)
            conversation.on_end(partial(self._ending.discard, conversation))

    # As `OwnActions`.

    def takes(self, topic: Topic) -> bool:
        """Whether there is a function for what clients publish on `topic`."""
        return self._own.takes(topic)

    def answers(self, method: str) -> bool:
        """Whether there is a function for `method`."""
        return self._own.answers(method)

    async def publish(self, connection: Connection, request: Publish) -> Any:
        """Return what the function for the event returns. Raises `ActionRefused`."""
        return await self._own.publish(connection, request)

    async def call(self, connection: Connection, request: MethodCall) -> Any:
        """Return what the function for the method returns. Raises `ActionRefused`."""
        return await self._own.call(connection, request)

    # As `MembershipObserver`.

    def connected(self, connection: Connection) -> None:
        """Call the hooks."""
        self._tell(connection, self._hooks.connect)

    def disconnected(self, connection: Connection) -> None:
        """Call the hooks."""
        self._tell(connection, self._hooks.disconnect)

    def subscribed(self, connection: Connection, pattern: Pattern) -> None:
        """Call the hooks."""
        self._tell(connection, self._hooks.subscribe, str(pattern))

    def unsubscribed(self, connection: Connection, pattern: Pattern) -> None:
        """Call the hooks."""
        self._tell(connection, self._hooks.unsubscribe, str(pattern))

    def _tell(self, connection: Connection, hooks: Iterable[AppFunction], *args: str) -> None:
        conversation = self._conversations.get(connection)
        if conversation is not None:
            for hook in hooks:
                conversation.tell(partial(call, hook, conversation.connection, *args))
