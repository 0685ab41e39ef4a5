"""`ConnectionManager`: who is connected, who is subscribed to what, and sending to them.

Plain in-memory logic. It reaches a client through the `Connection` protocol and tells the outside
through `Interest` what the clients as a whole want from the relay.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Protocol

from edge.core.hub.audience import Audience, Connection, Deliver, deliver_to_each
from edge.core.identity.access import may_receive
from relay.wire.topics import Pattern


class Interest(Protocol):
    """Told when the first client wants a selector and when the last one ceases to."""

    def wanted(self, selector: Pattern) -> None:
        """The first client subscribed to `selector`."""

    def unwanted(self, selector: Pattern) -> None:
        """No client is subscribed to `selector` any more."""


class _Member:
    """What is known of one connection."""

    __slots__ = ("audience", "subscriptions")

    def __init__(self) -> None:
        self.subscriptions: dict[Pattern, tuple[Pattern, ...]] = {}
        """What it asked for, and the selectors that stand for it."""
        self.audience: Audience | None = None
        """None while it is subscribed to nothing."""


class ConnectionManager:
    """Connections by user and by subscription.

    Finding the audiences of a topic costs a look-up for each length that a prefix has, and what is
    found; not the connections nor the subscriptions there are. What is sent to topics is gathered
    until `flush`; what is sent to one connection or user goes to it at once, behind what was
    gathered for it.
    """

    def __init__(self, interest: Interest, deliver: Deliver = deliver_to_each) -> None:
        self._interest = interest
        self._deliver = deliver
        self._members: dict[Connection, _Member] = {}
        self._by_user: dict[str, tuple[Connection, ...]] = {}
        self._task_receivers: dict[str, tuple[Connection, ...]] = {}
        """By user: the connections that get what is sent to their user."""
        self._audiences: dict[frozenset[Pattern], Audience] = {}
        self._by_topic: dict[str, set[Audience]] = {}
        self._by_prefix: dict[str, set[Audience]] = {}
        self._prefix_lengths: Counter[int] = Counter()
        """How many prefixes there are of each length."""
        self._pending: list[Audience] = []
        """Something is gathered for them."""
        self.messages_sent = 0
        """Messages to single clients: replies, positions, snapshots, gaps."""

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._members))

    @property
    def users(self) -> Collection[str]:
        """The names of the users who are connected."""
        return self._by_user.keys()

    @property
    def subscription_count(self) -> int:
        """Subscriptions of all connections together."""
        return sum(len(member.subscriptions) for member in self._members.values())

    def connections_of(self, username: str) -> Collection[Connection]:
        """The connections of one user."""
        return self._by_user.get(username, ())

    def task_receivers(self, username: str) -> Collection[Connection]:
        """The connections of one user that get what is sent to that user."""
        return self._task_receivers.get(username, ())

    def subscriptions(self, connection: Connection) -> Mapping[Pattern, tuple[Pattern, ...]]:
        """What `connection` asked for and is subscribed to, and the selectors that stand for it."""
        return self._members[connection].subscriptions

    def selectors(self, connection: Connection) -> frozenset[Pattern]:
        """The selectors of all subscriptions of `connection`."""
        audience = self._members[connection].audience
        return frozenset() if audience is None else audience.selectors

    def connect(self, connection: Connection) -> None:
        """Add an authenticated connection."""
        self._members[connection] = _Member()
        _add(self._by_user, connection.identity.username, connection)

    def receive_tasks(self, connection: Connection) -> None:
        """From now on the connection gets what is sent to its user."""
        if connection not in self.task_receivers(connection.identity.username):
            _add(self._task_receivers, connection.identity.username, connection)

    def disconnect(self, connection: Connection) -> None:
        """Remove a connection and its subscriptions. Unknown ones are ignored."""
        member = self._members.get(connection)
        if member is None:
            return
        self._move(connection, member, frozenset())
        del self._members[connection]
        _discard(self._by_user, connection.identity.username, connection)
        _discard(self._task_receivers, connection.identity.username, connection)

    def subscribe(
        self, connection: Connection, pattern: Pattern, selectors: tuple[Pattern, ...]
    ) -> None:
        """Subscribe to `pattern`, for which `selectors` stand (see `access.selectors`).

        Subscribing again replaces the selectors.
        """
        member = self._members[connection]
        member.subscriptions[pattern] = selectors
        self._regroup(connection, member)

    def unsubscribe(self, connection: Connection, pattern: Pattern) -> None:
        """Undo `subscribe`. Not being subscribed is not an error."""
        member = self._members[connection]
        if member.subscriptions.pop(pattern, ()):
            self._regroup(connection, member)

    def is_wanted(self, topic: str) -> bool:
        """Whether somebody is subscribed to `topic`."""
        return next(self._matching(topic), None) is not None

    def receivers(self, topic: str) -> list[Connection]:
        """The connections that are subscribed to `topic`, each once."""
        return [
            connection for audience in self._audiences_of(topic) for connection in audience.members
        ]

    def send_to_client(self, connection: Connection, frame: bytes) -> None:
        """Send `frame`, which is no event, to one connection."""
        self.messages_sent += 1
        self.forward_to_client(connection, frame)

    def show_to_client(self, connection: Connection, topic: str, frame: bytes) -> None:
        """Send one connection the value that a live topic has."""
        self.messages_sent += 1
        self._catch_up(connection)
        connection.send_live(topic, frame)

    def forward_to_client(self, connection: Connection, frame: bytes) -> None:
        """Send the frame of an event to one connection."""
        self._catch_up(connection)
        connection.send(frame)

    def broadcast_to_topic(
        self, topic: str, frame: bytes, *, addressed_to: str | None = None, live: bool = False
    ) -> int:
        """Send `frame` to all who are subscribed to `topic`; return how many that are.

        With `addressed_to`, only to that user's connections among them. Live frames may be
        replaced by newer ones where they have to wait. It is sent when `flush` is called.
        """
        audiences = self._audiences_of(topic)
        if addressed_to is not None:
            return self._send_addressed(audiences, topic, frame, addressed_to, live)
        replaceable = topic if live else None
        count = 0
        for audience in audiences:
            if not audience.is_pending:
                self._pending.append(audience)
            audience.gather(frame, replaceable)
            count += len(audience)
        return count

    def send_to_user(self, username: str, frame: bytes) -> int:
        """Send `frame` to every connection of `username` that is ready for it.

        Returns how many that are.
        """
        connections = self._task_receivers.get(username, ())
        for connection in connections:
            self.forward_to_client(connection, frame)
        return len(connections)

    @property
    def waiting(self) -> int:
        """How many frames are gathered and not sent, of all connections together."""
        return sum(audience.waiting for audience in self._pending)

    def flush(self) -> int:
        """Send what was gathered; return how many frames a connection got at most."""
        most = 0
        while self._pending:
            most = max(most, self._pending.pop().flush(self._deliver))
        return most

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
            self._catch_up(connection)
            if live:
                connection.send_live(topic, frame)
            else:
                connection.send(frame)
            count += 1
        return count

    def _catch_up(self, connection: Connection) -> None:
        member = self._members.get(connection)
        if member is not None and member.audience is not None:
            member.audience.catch_up(connection)

    def _audiences_of(self, topic: str) -> Collection[Audience]:
        """The audiences that are subscribed to `topic`, each once."""
        matching = list(self._matching(topic))
        if len(matching) == 1:
            return matching[0]
        return set().union(*matching) if matching else ()

    def _matching(self, topic: str) -> Iterator[set[Audience]]:
        if audiences := self._by_topic.get(topic):
            yield audiences
        for length in self._prefix_lengths:
            if length <= len(topic) and (audiences := self._by_prefix.get(topic[:length])):
                yield audiences

    def _regroup(self, connection: Connection, member: _Member) -> None:
        """Let the connection be in the audience that its subscriptions make."""
        self._move(
            connection, member, frozenset(chain.from_iterable(member.subscriptions.values()))
        )

    def _move(self, connection: Connection, member: _Member, selectors: frozenset[Pattern]) -> None:
        old = member.audience
        if old is not None and old.selectors == selectors:
            return
        new = self._audiences.get(selectors)
        if new is None and old is not None and len(old) == 1 and selectors:
            self._change(old, selectors)
            return
        if new is None and selectors:
            new = self._audiences[selectors] = Audience(selectors)
            self._index(new, selectors)
        member.audience = new
        if new is not None:
            new.add(connection)
        if old is not None:
            old.remove(connection)
            if not old:
                del self._audiences[old.selectors]
                self._remove_from_index(old, old.selectors)

    def _change(self, audience: Audience, selectors: frozenset[Pattern]) -> None:
        """Change the selectors of an audience whose only member has changed its subscriptions."""
        before = audience.selectors
        del self._audiences[before]
        self._audiences[selectors] = audience
        audience.selectors = selectors
        self._index(audience, selectors - before)
        self._remove_from_index(audience, before - selectors)

    def _index(self, audience: Audience, selectors: frozenset[Pattern]) -> None:
        for selector in selectors:
            index = self._by_topic if selector.exact else self._by_prefix
            audiences = index.get(selector.prefix)
            if audiences is not None:
                audiences.add(audience)
                continue
            index[selector.prefix] = {audience}
            if not selector.exact:
                self._prefix_lengths[len(selector.prefix)] += 1
            self._interest.wanted(selector)

    def _remove_from_index(self, audience: Audience, selectors: frozenset[Pattern]) -> None:
        for selector in selectors:
            index = self._by_topic if selector.exact else self._by_prefix
            audiences = index[selector.prefix]
            audiences.remove(audience)
            if audiences:
                continue
            del index[selector.prefix]
            if not selector.exact:
                length = len(selector.prefix)
                self._prefix_lengths[length] -= 1
                if not self._prefix_lengths[length]:
                    del self._prefix_lengths[length]
            self._interest.unwanted(selector)


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
