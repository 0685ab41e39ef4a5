"""`ConnectionManager`: the connections of a worker, their subscriptions, and sending to them.

Plain in-memory logic. It reaches a client through the `Connection` protocol, and reports through
`SelectorObserver` which selectors at least one client has.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Protocol

from edge.core.hub.audience import Audience, Connection, Deliver, deliver_to_each
from edge.core.hub.subscription_quota import QuotaExcess, SubscriptionQuota
from edge.core.identity.access import may_receive
from relay.shared.prefix_index import PrefixIndex
from relay.wire.topics import PERSONAL_KINDS, Pattern

MAX_GATHERED_BYTES = 4 * 1024 * 1024
"""Frames gathered for all audiences; with more, they are sent at once."""
MAX_GATHERED_FRAMES = 1024 * 1024
"""Entries of frames in all audiences, about 16 bytes each; with more, they are sent at once."""


class SelectorObserver(Protocol):
    """Learns when the first client has a selector, and when the last one has given it up."""

    def wanted(self, selector: Pattern, username: str) -> None:
        """The first client has subscribed to `selector`: one of the user `username`."""

    def unwanted(self, selector: Pattern) -> None:
        """No client is subscribed to `selector` any more."""


class MembershipObserver(Protocol):
    """Learns which connections there are and what they are subscribed to. Called at once."""

    def connected(self, connection: Connection) -> None:
        """An authenticated connection was added."""

    def disconnected(self, connection: Connection) -> None:
        """A connection was removed; `unsubscribed` was called for each of its patterns before."""

    def subscribed(self, connection: Connection, pattern: Pattern) -> None:
        """A connection has a new subscription."""

    def unsubscribed(self, connection: Connection, pattern: Pattern) -> None:
        """A connection has lost a subscription."""


class _Member:
    """The subscriptions of one connection."""

    __slots__ = ("audience", "subscriptions")

    def __init__(self) -> None:
        self.subscriptions: dict[Pattern, tuple[Pattern, ...]] = {}
        """Each subscribed pattern, and the selectors into which access rules translate it."""
        self.audience: Audience | None = None
        """None without subscriptions."""


class ConnectionManager:
    """Connections by user and by selector.

    Finding the audiences of a topic is O(distinct prefix lengths + matches), independent of the
    number of connections. Frames for topics are gathered until `flush`; when they exceed
    `MAX_GATHERED_BYTES` or `MAX_GATHERED_FRAMES`, they are flushed at once. A frame for one
    connection or user is sent at once, after the frames that were gathered for it.
    """

    def __init__(
        self,
        observer: SelectorObserver,
        deliver: Deliver = deliver_to_each,
        quota: SubscriptionQuota | None = None,
        members: MembershipObserver | None = None,
    ) -> None:
        self._observer = observer
        self._member_observer = members
        self._deliver = deliver
        self.quota = SubscriptionQuota() if quota is None else quota
        """The subscriptions that users may have, and have."""
        self._members: dict[Connection, _Member] = {}
        self._by_user: dict[str, tuple[Connection, ...]] = {}
        self._personal_receivers: dict[str, tuple[Connection, ...]] = {}
        """By user: the connections that receive the user's personal events."""
        self._audiences: dict[frozenset[Pattern], Audience] = {}
        self._by_topic: dict[str, set[Audience]] = {}
        self._by_prefix: PrefixIndex[str, set[Audience]] = PrefixIndex()
        self._pending: list[Audience] = []
        """Audiences with gathered frames."""
        self._gathered_bytes = 0
        self._gathered_frames = 0
        self._most_frames = 0
        """The most frames that one connection was sent since `flush` was called last."""
        self.messages_sent = 0
        """Frames that are no events, sent to single clients: replies, positions, states, gaps."""
        self.given_up_selectors = 0
        """How often the last client of a selector has given it up."""

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._members))

    def __contains__(self, connection: object) -> bool:
        return connection in self._members

    @property
    def users(self) -> Collection[str]:
        """The names of the connected users."""
        return self._by_user.keys()

    @property
    def waiting(self) -> int:
        """Number of frames that were gathered and not sent, summed over all connections."""
        return sum(audience.waiting for audience in self._pending)

    def connections_of(self, username: str) -> Collection[Connection]:
        """Return the connections of one user."""
        return self._by_user.get(username, ())

    def personal_receivers(self, username: str) -> Collection[Connection]:
        """Return the connections of one user that receive the user's personal events."""
        return self._personal_receivers.get(username, ())

    def subscriptions(self, connection: Connection) -> Mapping[Pattern, tuple[Pattern, ...]]:
        """Return the patterns to which `connection` is subscribed, each with its selectors."""
        return self._members[connection].subscriptions

    def selectors(self, connection: Connection) -> frozenset[Pattern]:
        """Return the selectors of all subscriptions of `connection`."""
        audience = self._members[connection].audience
        return frozenset() if audience is None else audience.selectors

    def follows(self, connection: Connection, stream: str) -> bool:
        """Whether `connection` receives events of `stream` live."""
        if stream in PERSONAL_KINDS:
            return connection in self.personal_receivers(connection.identity.username)
        return any(selector.concerns(stream) for selector in self.selectors(connection))

    def connect(self, connection: Connection) -> None:
        """Add an authenticated connection."""
        self._members[connection] = _Member()
        _add(self._by_user, connection.identity.username, connection)
        if self._member_observer is not None:
            self._member_observer.connected(connection)

    def receive_personal(self, connection: Connection) -> None:
        """Let the connection receive its user's personal events from now on."""
        if connection not in self.personal_receivers(connection.identity.username):
            _add(self._personal_receivers, connection.identity.username, connection)

    def disconnect(self, connection: Connection) -> None:
        """Remove a connection and its subscriptions. Unknown ones are ignored."""
        member = self._members.get(connection)
        if member is None:
            return
        self._move(connection, member, frozenset())
        self.quota.remove(connection.identity.username, member.subscriptions.keys())
        del self._members[connection]
        _discard(self._by_user, connection.identity.username, connection)
        _discard(self._personal_receivers, connection.identity.username, connection)
        if self._member_observer is not None:
            for pattern in member.subscriptions:
                self._member_observer.unsubscribed(connection, pattern)
            self._member_observer.disconnected(connection)

    def subscribe(
        self, connection: Connection, pattern: Pattern, selectors: tuple[Pattern, ...]
    ) -> None:
        """Subscribe to `pattern`, which access rules translate into `selectors`.

        Subscribing again replaces the selectors. The caller has asked `excess` before.
        """
        member = self._members[connection]
        is_new = pattern not in member.subscriptions
        if is_new:
            self.quota.add(connection.identity.username, pattern)
        member.subscriptions[pattern] = selectors
        self._regroup(connection, member)
        if is_new and self._member_observer is not None:
            self._member_observer.subscribed(connection, pattern)

    def unsubscribe(self, connection: Connection, pattern: Pattern) -> None:
        """Undo `subscribe`. Not being subscribed is not an error."""
        member = self._members[connection]
        if pattern in member.subscriptions:
            del member.subscriptions[pattern]
            self.quota.remove(connection.identity.username, (pattern,))
            self._regroup(connection, member)
            if self._member_observer is not None:
                self._member_observer.unsubscribed(connection, pattern)

    def excess(self, connection: Connection, pattern: Pattern) -> QuotaExcess | None:
        """Return the bound that another subscription would pass, None if there is room."""
        return self.quota.excess(connection.identity.username, pattern)

    def is_wanted(self, topic: str) -> bool:
        """Whether a connection is subscribed to `topic`."""
        if topic in self._by_topic:
            return True
        return next(self._by_prefix.matching(topic), None) is not None

    def send_to_client(self, connection: Connection, frame: bytes) -> None:
        """Send one connection a frame that is no event."""
        self.messages_sent += 1
        self.forward_to_client(connection, frame)

    def show_to_client(self, connection: Connection, topic: str, frame: bytes) -> None:
        """Send one connection the last value of a live topic."""
        self.messages_sent += 1
        self._flush_to(connection)
        connection.send_live(topic, frame)

    def forward_to_client(self, connection: Connection, frame: bytes) -> None:
        """Send one connection the frame of an event."""
        self._flush_to(connection)
        connection.send(frame)

    def broadcast_to_topic(
        self, topic: str, frame: bytes, *, addressed_to: str | None = None, live: bool = False
    ) -> int:
        """Gather `frame` for all connections subscribed to `topic`; return their number.

        With `addressed_to`, only that user's connections among them receive it, at once. A live
        frame may be replaced by a newer one while it waits for a slow client.
        """
        audiences = self._audiences_of(topic)
        if addressed_to is not None:
            return self._send_addressed(audiences, topic, frame, addressed_to, live)
        if not audiences:
            return 0
        replaceable = topic if live else None
        count = 0
        for audience in audiences:
            if audience.gather(frame, replaceable):
                self._pending.append(audience)
            count += len(audience.members)
        self._gathered_bytes += len(frame)
        self._gathered_frames += len(audiences)
        # The flush throttle may rest while events keep coming: memory must not wait for it.
        if self._gathered_bytes > MAX_GATHERED_BYTES or self._gathered_frames > MAX_GATHERED_FRAMES:
            self._send_gathered()
        return count

    def send_to_user(self, username: str, frame: bytes) -> int:
        """Send `frame` to those connections of `username` that receive personal events.

        Returns their number.
        """
        connections = self._personal_receivers.get(username, ())
        for connection in connections:
            self.forward_to_client(connection, frame)
        return len(connections)

    def flush(self) -> int:
        """Send the gathered frames.

        Returns the most frames that one connection was sent since the last call.
        """
        if self._pending:
            self._send_gathered()
        elif not self._most_frames:
            return 0
        most, self._most_frames = self._most_frames, 0
        return most

    def _send_gathered(self) -> None:
        self._gathered_bytes = self._gathered_frames = 0
        most = 0
        while self._pending:
            most = max(most, self._pending.pop().flush(self._deliver))
        self._most_frames += most

    def _send_addressed(
        self,
        audiences: Collection[Audience],
        topic: str,
        frame: bytes,
        username: str,
        live: bool,
    ) -> int:
        count = 0
        for connection in self._by_user.get(username, ()):
            if self._members[connection].audience not in audiences:
                continue
            if not may_receive(connection.identity, username):
                continue
            self._flush_to(connection)
            if live:
                connection.send_live(topic, frame)
            else:
                connection.send(frame)
            count += 1
        return count

    def _flush_to(self, connection: Connection) -> None:
        """Send a connection its gathered frames, because a frame of its own follows."""
        member = self._members.get(connection)
        if member is not None and member.audience is not None:
            member.audience.flush_to(connection)

    def _audiences_of(self, topic: str) -> Collection[Audience]:
        """Return the audiences that are subscribed to `topic`, each once."""
        exact = self._by_topic.get(topic)
        matching = [audiences for _, audiences in self._by_prefix.matching(topic)]
        if exact is not None:
            matching.append(exact)
        if len(matching) == 1:
            return matching[0]
        # An audience with overlapping selectors is found under several of them.
        return set().union(*matching) if matching else ()

    def _regroup(self, connection: Connection, member: _Member) -> None:
        """Move the connection into the audience that its subscriptions make."""
        self._move(
            connection, member, frozenset(chain.from_iterable(member.subscriptions.values()))
        )

    def _move(self, connection: Connection, member: _Member, selectors: frozenset[Pattern]) -> None:
        old = member.audience
        if old is not None and old.selectors == selectors:
            return
        new = self._audiences.get(selectors)
        if new is None and old is not None and len(old) == 1 and selectors:
            self._change(old, selectors, connection.identity.username)
            return
        # The new audience is entered before the old one is left, so that a selector which both
        # have never counts as given up in between.
        if new is None and selectors:
            new = self._audiences[selectors] = Audience(selectors)
            self._index(new, selectors, connection.identity.username)
        member.audience = new
        if new is not None:
            new.add(connection)
        if old is not None:
            old.remove(connection)
            if not old:
                del self._audiences[old.selectors]
                self._remove_from_index(old, old.selectors)

    def _change(self, audience: Audience, selectors: frozenset[Pattern], username: str) -> None:
        """Change the selectors of an audience whose only member has changed its subscriptions."""
        before = audience.selectors
        del self._audiences[before]
        self._audiences[selectors] = audience
        audience.selectors = selectors
        self._index(audience, selectors - before, username)
        self._remove_from_index(audience, before - selectors)

    def _index(self, audience: Audience, selectors: frozenset[Pattern], username: str) -> None:
        for selector in selectors:
            audiences = self._find(selector)
            if audiences is not None:
                audiences.add(audience)
                continue
            if selector.exact:
                self._by_topic[selector.prefix] = {audience}
            else:
                self._by_prefix.set(selector.prefix, {audience})
            self._observer.wanted(selector, username)

    def _remove_from_index(self, audience: Audience, selectors: frozenset[Pattern]) -> None:
        for selector in selectors:
            audiences = self._find(selector)
            assert audiences is not None, "every selector of an audience is indexed"
            audiences.remove(audience)
            if audiences:
                continue
            if selector.exact:
                del self._by_topic[selector.prefix]
            else:
                self._by_prefix.discard(selector.prefix)
            self.given_up_selectors += 1
            self._observer.unwanted(selector)

    def _find(self, selector: Pattern) -> set[Audience] | None:
        index = self._by_topic if selector.exact else self._by_prefix
        return index.get(selector.prefix)


def _add(index: dict[str, tuple[Connection, ...]], key: str, connection: Connection) -> None:
    # A tuple of one takes a quarter of a set's memory, and most users have one connection.
    index[key] = (*index.get(key, ()), connection)


def _discard(index: dict[str, tuple[Connection, ...]], key: str, connection: Connection) -> None:
    """Remove `connection` under `key`, if it is there."""
    rest = tuple(each for each in index.get(key, ()) if each is not connection)
    if rest:
        index[key] = rest
    else:
        index.pop(key, None)
