"""`ConnectionManager`: who is connected, who is subscribed to what, and sending to them.

Plain in-memory logic. It reaches a client through the `Connection` protocol and tells the outside
through `Interest` what the clients as a whole want from the relay.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

from edge.core.access import Identity, may_receive
from relay.wire.topics import Pattern

K = TypeVar("K")


class Connection(Protocol):
    """One client as the manager sees it. Sending never waits and never fails."""

    identity: Identity

    def send(self, frame: bytes) -> None:
        """Send a frame that must arrive, in order."""

    def send_live(self, topic: str, frame: bytes) -> None:
        """Send a frame that a newer one on the same topic may replace while it waits."""


class Interest(Protocol):
    """Told when the first client wants a selector and when the last one ceases to."""

    def wanted(self, selector: Pattern) -> None:
        """The first client subscribed to `selector`."""

    def unwanted(self, selector: Pattern) -> None:
        """No client is subscribed to `selector` any more."""


class ConnectionManager:
    """Connections by user and by subscription.

    Finding the receivers of a topic costs a look-up for each length that a prefix has, and what
    is found; not the connections nor the subscriptions there are.
    """

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._by_user: dict[str, set[Connection]] = {}
        self._task_receivers: dict[str, set[Connection]] = {}
        """By user: the connections that get what is sent to their user."""
        self._by_topic: dict[str, set[Connection]] = {}
        self._by_prefix: dict[str, set[Connection]] = {}
        self._prefix_lengths: Counter[int] = Counter()
        """How many prefixes there are of each length."""
        self._subscriptions: dict[Connection, dict[Pattern, tuple[Pattern, ...]]] = {}
        """Of each connection: what it asked for, and the selectors that stand for it."""
        self._selector_uses: dict[Connection, Counter[Pattern]] = {}
        self.messages_sent = 0
        """Messages to single clients: replies, positions, snapshots, gaps."""

    def __len__(self) -> int:
        return len(self._subscriptions)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._subscriptions))

    @property
    def users(self) -> Collection[str]:
        """The names of the users who are connected."""
        return self._by_user.keys()

    @property
    def subscription_count(self) -> int:
        """Subscriptions of all connections together."""
        return sum(map(len, self._subscriptions.values()))

    def connections_of(self, username: str) -> Collection[Connection]:
        """The connections of one user."""
        return self._by_user.get(username, ())

    def task_receivers(self, username: str) -> Collection[Connection]:
        """The connections of one user that get what is sent to that user."""
        return self._task_receivers.get(username, ())

    def subscriptions(self, connection: Connection) -> Mapping[Pattern, tuple[Pattern, ...]]:
        """What `connection` asked for and is subscribed to, and the selectors that stand for it."""
        return self._subscriptions[connection]

    def connect(self, connection: Connection) -> None:
        """Add an authenticated connection."""
        self._subscriptions[connection] = {}
        self._selector_uses[connection] = Counter()
        self._by_user.setdefault(connection.identity.username, set()).add(connection)

    def receive_tasks(self, connection: Connection) -> None:
        """From now on the connection gets what is sent to its user."""
        self._task_receivers.setdefault(connection.identity.username, set()).add(connection)

    def disconnect(self, connection: Connection) -> None:
        """Remove a connection and its subscriptions. Unknown ones are ignored."""
        if connection not in self._subscriptions:
            return
        for pattern in tuple(self._subscriptions[connection]):
            self.unsubscribe(connection, pattern)
        del self._subscriptions[connection], self._selector_uses[connection]
        _discard(self._by_user, connection.identity.username, connection)
        _discard(self._task_receivers, connection.identity.username, connection)

    def subscribe(
        self, connection: Connection, pattern: Pattern, selectors: tuple[Pattern, ...]
    ) -> None:
        """Subscribe to `pattern`, for which `selectors` stand (see `access.selectors`).

        Subscribing again replaces the selectors.
        """
        subscriptions = self._subscriptions[connection]
        previous = subscriptions.get(pattern, ())
        subscriptions[pattern] = selectors
        for selector in selectors:
            self._use(connection, selector)
        for selector in previous:
            self._release(connection, selector)

    def unsubscribe(self, connection: Connection, pattern: Pattern) -> None:
        """Undo `subscribe`. Not being subscribed is not an error."""
        for selector in self._subscriptions[connection].pop(pattern, ()):
            self._release(connection, selector)

    def receivers(self, topic: str) -> Collection[Connection]:
        """The connections that are subscribed to `topic`, each once."""
        matching = list(self._matching(topic))
        if len(matching) == 1:
            return matching[0]
        return set().union(*matching) if matching else ()

    def send_to_client(self, connection: Connection, frame: bytes) -> None:
        """Send `frame` to one connection."""
        self.messages_sent += 1
        connection.send(frame)

    def show_to_client(self, connection: Connection, topic: str, frame: bytes) -> None:
        """Send one connection the value that a live topic has."""
        self.messages_sent += 1
        connection.send_live(topic, frame)

    def broadcast_to_topic(
        self, topic: str, frame: bytes, *, addressed_to: str | None = None, live: bool = False
    ) -> int:
        """Send `frame` to all who are subscribed to `topic`; return how many that are.

        With `addressed_to`, only to that user's connections among them. Live frames may be
        replaced by newer ones where they have to wait.
        """
        receivers: Iterable[Connection] = self.receivers(topic)
        if addressed_to is not None:
            receivers = [
                connection
                for connection in receivers
                if may_receive(connection.identity, addressed_to)
            ]
        count = 0
        if live:
            for connection in receivers:
                connection.send_live(topic, frame)
                count += 1
        else:
            for connection in receivers:
                connection.send(frame)
                count += 1
        return count

    def send_to_user(self, username: str, frame: bytes) -> int:
        """Send `frame` to every connection of `username` that is ready for it.

        Returns how many that are.
        """
        connections = self._task_receivers.get(username, ())
        for connection in connections:
            connection.send(frame)
        return len(connections)

    def _matching(self, topic: str) -> Iterator[set[Connection]]:
        if connections := self._by_topic.get(topic):
            yield connections
        for length in self._prefix_lengths:
            if length <= len(topic) and (connections := self._by_prefix.get(topic[:length])):
                yield connections

    def _use(self, connection: Connection, selector: Pattern) -> None:
        uses = self._selector_uses[connection]
        uses[selector] += 1
        if uses[selector] > 1:
            return
        index = self._by_topic if selector.exact else self._by_prefix
        connections = index.setdefault(selector.prefix, set())
        connections.add(connection)
        if len(connections) == 1:
            if not selector.exact:
                self._prefix_lengths[len(selector.prefix)] += 1
            self._interest.wanted(selector)

    def _release(self, connection: Connection, selector: Pattern) -> None:
        uses = self._selector_uses[connection]
        _decrement(uses, selector)
        if selector in uses:
            return
        index = self._by_topic if selector.exact else self._by_prefix
        if _discard(index, selector.prefix, connection):
            if not selector.exact:
                _decrement(self._prefix_lengths, len(selector.prefix))
            self._interest.unwanted(selector)


def _decrement(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _discard(index: dict[str, set[Connection]], key: str, connection: Connection) -> bool:
    """Remove `connection` under `key`; return whether it was the last one there."""
    connections = index.get(key)
    if connections is None:
        return False
    connections.discard(connection)
    if connections:
        return False
    del index[key]
    return True
