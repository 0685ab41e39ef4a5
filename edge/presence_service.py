"""`PresenceService`: the clock and the sockets of `edge.core.presence`."""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from edge.channel import Teamwork
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.presence import frames
from edge.core.presence.members import OwnMembers, members_bytes
from edge.core.presence.peers import BEAT_S, MISSING_AFTER_S, Peers
from edge.core.presence.values import Members, StateName, beat_value, bucket_value
from edge.core.presence.view import PresenceCount, PresenceView, PresentUser
from edge.core.stats import EdgeStats
from edge.core.streams.relay_state import RelayState
from edge.upstream.connection import RelayConnection
from relay.wire.topics import EDGE_STATE, PRESENCE, Pattern

GRACE_S = 2.0
"""Seconds for which a user without a connection has not left yet."""
TICK_S = 0.2
"""Changes are published, and told to clients, together."""
LATE_TICK_S = 1.0
"""A tick that comes later shows that this process itself stood still."""
MAX_PUBLISHED_BYTES_PER_S = 1024 * 1024
AFTER_RELAY_S = 10.0
"""Seconds for the other workers to be heard again, after this one has found the relay."""

logger = logging.getLogger(__name__)


class Upstream(NamedTuple):
    """The relay, as the service needs it."""

    connection: RelayConnection
    state: RelayState


class PresenceService:
    """Knows who is subscribed to the topics of some kinds; a `MembershipObserver`.

    Begins with `begin` and ends with `close`. Topics are as clients write them.
    """

    def __init__(self, teamwork: Teamwork, upstream: Upstream, stats: EdgeStats) -> None:
        self._kinds = teamwork.presence_kinds
        self._channel = teamwork.channel
        self._upstream = upstream
        self._stats = stats.presence
        self._worker = secrets.token_hex(8)
        self._view = PresenceView(GRACE_S)
        self._members = OwnMembers(self._worker, self._view)
        self._peers = Peers(self._worker, self._view)
        self._watchers: dict[str, dict[Connection, None]] = {}
        """By topic: the connections that are told of its presence."""
        self._states: dict[str, bytes] = {}
        """By topic: the message with its present state, until that changes."""
        self._manager: ConnectionManager | None = None
        self._ticking: asyncio.Handle | None = None
        self._ticked_at = self._beat_at = self._publish_at = 0.0

    def begin(self, manager: ConnectionManager) -> None:
        """Listen to the other workers, and speak to them and to the connections of `manager`."""
        self._manager = manager
        self._upstream.connection.events.subscribe(f"{EDGE_STATE}:".encode())
        loop = asyncio.get_running_loop()
        self._ticked_at = loop.time()
        self._ticking = loop.call_soon(self._tick)

    def close(self) -> None:
        """Tell the other workers that this one ends."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._channel.publish_state(str(StateName(self._worker, None)), beat_value(None))

    # For the application, and for HTTP.

    def has(self, topic: str) -> bool:
        """Return whether the presence of `topic` is known."""
        return topic.partition(":")[0] in self._kinds

    def users(self, topic: str) -> list[PresentUser]:
        """Return the users who are subscribed to `topic`, in the order of their names."""
        return self._view.users(topic)

    def counts(self, selectors: Iterable[Pattern]) -> dict[str, PresenceCount]:
        """Return how many are at each topic that a selector matches, in the order of topics."""
        wanted = tuple(selectors)
        return {
            topic: self._view.count(topic)
            for topic in sorted(self._view.topics())
            if any(each.matches(topic if ":" in topic else f"{topic}:") for each in wanted)
        }

    def state(self, topic: str) -> bytes:
        """Return the message with the present state of `topic`."""
        found = self._states.get(topic)
        if found is None:
            users, count = self._view.users(topic), self._view.count(topic)
            found = self._states[topic] = frames.state(topic, users, count, _now_ms())
        return found

    def take(self, name: str, value: Any, *, is_live: bool) -> None:
        """Take a value of a worker, published or retained. Raises `InvalidEnvelope`."""
        now = asyncio.get_running_loop().time()
        self._peers.take(name, value, now, is_live=is_live)

    # As `MembershipObserver`.

    def connected(self, connection: Connection) -> None:
        """Do nothing: only subscriptions count."""

    def disconnected(self, connection: Connection) -> None:
        """Do nothing: its subscriptions have ended."""

    def subscribed(self, connection: Connection, pattern: Pattern) -> None:
        """Count a connection to a topic with presence, or to the presence of one."""
        if pattern.exact:
            kind, _, name = pattern.prefix.partition(":")
            if kind in self._kinds:
                self._members.join(str(pattern), connection.identity.username, _now_ms())
            elif kind == PRESENCE:
                self._watchers.setdefault(name, {})[connection] = None

    def unsubscribed(self, connection: Connection, pattern: Pattern) -> None:
        """Undo `subscribed`."""
        if pattern.exact:
            kind, _, name = pattern.prefix.partition(":")
            if kind in self._kinds:
                self._members.leave(str(pattern), connection.identity.username)
            elif kind == PRESENCE and (watchers := self._watchers.get(name)) is not None:
                del watchers[connection]
                if not watchers:
                    del self._watchers[name]
                    self._states.pop(name, None)

    # By time.

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._ticking = loop.call_later(TICK_S, self._tick)
        try:
            if now - self._ticked_at > LATE_TICK_S:
                # Messages may wait in the socket that nobody has read.
                self._peers.forgive(now + MISSING_AFTER_S)
            if not self._upstream.state.is_alive:
                self._peers.forgive(now + AFTER_RELAY_S)
            self._publish(now)
            self._peers.expire(now)
            for worker in self._peers.take_lacking():
                selector = Pattern(f"{EDGE_STATE}:{worker}:", exact=False)
                self._upstream.connection.requests.request_last_values(selector)
            self._tell_changes(now)
        except Exception:
            # One fault of ours must not end presence for good.
            logger.exception("presence failed")
        self._ticked_at = now

    def _publish(self, now: float) -> None:
        if now >= self._publish_at:
            published = sum(self._publish_bucket(*each) for each in self._members.take_changed())
            self._publish_at = now + published / MAX_PUBLISHED_BYTES_PER_S
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            if (again := self._members.next_again()) is not None:
                self._publish_bucket(*again)
            beat = beat_value(self._members.versions)
            self._channel.publish_state(str(StateName(self._worker, None)), beat)
            self._stats.seats = self._members.listed
            self._stats.unlisted = self._members.unlisted
            self._stats.left_out = self._peers.left_out

    def _publish_bucket(self, number: int, version: int, members: Members) -> int:
        """Publish a bucket; return about its size in bytes."""
        name = str(StateName(self._worker, number))
        self._channel.publish_state(name, bucket_value(version, members))
        return members_bytes(members)

    def _tell_changes(self, now: float) -> None:
        assert self._manager is not None
        for change in self._view.take_changes(now):
            self._states.pop(change.topic, None)
            watchers = self._watchers.get(change.topic)
            if watchers:
                for frame in frames.changes(change, _now_ms()):
                    for connection in tuple(watchers):
                        self._manager.send_to_client(connection, frame)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
