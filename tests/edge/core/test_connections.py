"""`ConnectionManager` against a naive model: everyone is asked about every topic."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from edge.core.connections import ConnectionManager
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.recorders import RecordingConnection, RecordingInterest

TOPICS = ("event:a", "event:ab", "event:b", "task:1", "task:10", "live:a")
PATTERNS = [
    parse_pattern(text)
    for text in ("*", "event:*", "event:a", "event:a*", "event:ab", "task:1", "task:1*", "live:a")
]
selector_sets = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True).map(tuple)


class ManagerMachine(RuleBasedStateMachine):
    """The model is a dictionary: connection → pattern → selectors."""

    connections = Bundle("connections")

    def __init__(self) -> None:
        super().__init__()
        self.interest = RecordingInterest()
        self.manager = ConnectionManager(self.interest)
        self.model: dict[RecordingConnection, dict[Pattern, tuple[Pattern, ...]]] = {}
        self.ready: set[RecordingConnection] = set()
        """They get what is sent to their user."""
        self.sent = 0

    @rule(target=connections, username=st.sampled_from(["alice", "bob"]))
    def connect(self, username: str) -> RecordingConnection:
        connection = RecordingConnection(username)
        self.manager.connect(connection)
        self.model[connection] = {}
        return connection

    @rule(connection=connections)
    def receive_tasks(self, connection: RecordingConnection) -> None:
        self.manager.receive_tasks(connection)
        self.ready.add(connection)

    @rule(connection=consumes(connections), again=st.booleans())
    def disconnect(self, connection: RecordingConnection, again: bool) -> None:
        self.manager.disconnect(connection)
        if again:
            self.manager.disconnect(connection)
        del self.model[connection]
        self.ready.discard(connection)

    @rule(connection=connections, pattern=st.sampled_from(PATTERNS), selectors=selector_sets)
    def subscribe(
        self,
        connection: RecordingConnection,
        pattern: Pattern,
        selectors: tuple[Pattern, ...],
    ) -> None:
        self.manager.subscribe(connection, pattern, selectors)
        self.model[connection][pattern] = selectors

    @rule(connection=connections, pattern=st.sampled_from(PATTERNS))
    def subscribe_as_it_stands(self, connection: RecordingConnection, pattern: Pattern) -> None:
        self.subscribe(connection, pattern, (pattern,))

    @rule(connection=connections, pattern=st.sampled_from(PATTERNS))
    def unsubscribe(self, connection: RecordingConnection, pattern: Pattern) -> None:
        self.manager.unsubscribe(connection, pattern)
        self.model[connection].pop(pattern, None)

    @rule(
        topic=st.sampled_from(TOPICS),
        addressed_to=st.sampled_from([None, "alice", "bob", "nobody"]),
        live=st.booleans(),
    )
    def broadcast(self, topic: str, addressed_to: str | None, live: bool) -> None:
        frame = self._new_frame()
        expected = {
            connection
            for connection in self._subscribed(topic)
            if addressed_to in (None, connection.identity.username)
        }
        count = self.manager.broadcast_to_topic(topic, frame, addressed_to=addressed_to, live=live)
        assert count == len(expected)
        for connection in self.model:
            got_live = connection.live.count((topic, frame))
            assert got_live == (live and connection in expected)
            assert connection.frames.count(frame) == (not live and connection in expected)

    @rule(username=st.sampled_from(["alice", "bob", "nobody"]))
    def send_to_user(self, username: str) -> None:
        frame = self._new_frame()
        expected = [
            item for item in self.model if item.identity.username == username and item in self.ready
        ]
        assert self.manager.send_to_user(username, frame) == len(expected)
        for connection in self.model:
            assert connection.frames.count(frame) == (connection in expected)

    @rule(connection=connections)
    def send_to_client(self, connection: RecordingConnection) -> None:
        frame = self._new_frame()
        self.manager.send_to_client(connection, frame)
        assert [item for item in self.model if frame in item.frames] == [connection]

    @invariant()
    def wanted_is_what_anybody_selects(self) -> None:
        """`RecordingInterest` itself fails when a selector is wanted or unwanted twice."""
        assert self.interest.selectors == {
            selector
            for subscriptions in self.model.values()
            for selectors in subscriptions.values()
            for selector in selectors
        }

    @invariant()
    def receivers_are_those_who_match(self) -> None:
        for topic in TOPICS:
            receivers = list(self.manager.receivers(topic))
            assert len(receivers) == len(set(receivers))
            assert set(receivers) == self._subscribed(topic)

    @invariant()
    def the_books_agree(self) -> None:
        assert len(self.manager) == len(self.model)
        assert set(self.manager) == set(self.model)
        assert set(self.manager.users) == {item.identity.username for item in self.model}
        assert self.manager.subscription_count == sum(map(len, self.model.values()))
        for connection, subscriptions in self.model.items():
            assert set(self.manager.subscriptions(connection)) == set(subscriptions)
            assert connection in self.manager.connections_of(connection.identity.username)

    def teardown(self) -> None:
        """When all have left, nothing is wanted and nobody is known."""
        for connection in tuple(self.model):
            self.manager.disconnect(connection)
        assert self.interest.selectors == set()
        assert len(self.manager) == self.manager.subscription_count == 0
        assert not self.manager.users
        assert not any(self.manager.receivers(topic) for topic in TOPICS)

    def _subscribed(self, topic: str) -> set[RecordingConnection]:
        return {
            connection
            for connection, subscriptions in self.model.items()
            if any(
                selector.matches(topic)
                for selectors in subscriptions.values()
                for selector in selectors
            )
        }

    def _new_frame(self) -> bytes:
        self.sent += 1
        return b"frame %d" % self.sent


TestManagerAgainstModel = ManagerMachine.TestCase
TestManagerAgainstModel.settings = settings(max_examples=60, deadline=None)


@pytest.fixture
def interest() -> RecordingInterest:
    return RecordingInterest()


@pytest.fixture
def manager(interest: RecordingInterest) -> ConnectionManager:
    return ConnectionManager(interest)


def test_a_topic_is_wanted_with_the_first_and_unwanted_with_the_last_subscriber(
    manager: ConnectionManager, interest: RecordingInterest
) -> None:
    pattern = parse_pattern("live:a")
    first, second = RecordingConnection(), RecordingConnection("bob")
    for connection in (first, second):
        manager.connect(connection)
        manager.subscribe(connection, pattern, (pattern,))
    manager.disconnect(first)
    assert interest.changes == [("wanted", pattern)]
    manager.unsubscribe(second, pattern)
    assert interest.changes == [("wanted", pattern), ("unwanted", pattern)]


def test_subscribing_again_does_not_let_go_of_the_topic_in_between(
    manager: ConnectionManager, interest: RecordingInterest
) -> None:
    connection, pattern = RecordingConnection(), parse_pattern("live:a")
    manager.connect(connection)
    manager.subscribe(connection, pattern, (pattern,))
    manager.subscribe(connection, pattern, (pattern,))
    assert interest.changes == [("wanted", pattern)]


def test_overlapping_subscriptions_deliver_once(manager: ConnectionManager) -> None:
    connection = RecordingConnection()
    manager.connect(connection)
    for pattern in PATTERNS:
        manager.subscribe(connection, pattern, (pattern,))
    assert manager.broadcast_to_topic("event:ab", b"frame") == 1
    assert connection.frames == [b"frame"]


def test_an_addressed_event_does_not_reach_an_administrator(manager: ConnectionManager) -> None:
    administrator, everything = RecordingConnection("root", "admin"), parse_pattern("*")
    manager.connect(administrator)
    manager.subscribe(administrator, everything, (everything,))
    assert manager.broadcast_to_topic("task:1", b"frame", addressed_to="alice") == 0
    assert administrator.frames == []


def test_who_has_left_gets_nothing(manager: ConnectionManager) -> None:
    connection, pattern = RecordingConnection(), parse_pattern("event:a")
    manager.connect(connection)
    manager.subscribe(connection, pattern, (pattern,))
    manager.disconnect(connection)
    manager.disconnect(connection)
    assert manager.broadcast_to_topic("event:a", b"frame") == 0
    assert manager.send_to_user("alice", b"frame") == 0
    assert connection.frames == []
