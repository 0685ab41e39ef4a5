"""`ConnectionManager` against a naive model: everyone is asked about every topic, at once.

It keeps the record of each connection: all that it was sent, in the order of arrival.
"""

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from edge.core.hub import connections
from edge.core.hub.audience import MAX_BATCH_BYTES, Connection, FrameBatch
from edge.core.hub.connections import MAX_GATHERED_BYTES, ConnectionManager
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.recorders import RecordingConnection, RecordingObserver

TOPICS = ("event:a", "event:ab", "event:b", "task:1", "task:10", "live:a")
PATTERNS = [
    parse_pattern(text)
    for text in ("*", "event:*", "event:a", "event:a*", "event:ab", "task:1", "task:1*", "live:a")
]
selector_sets = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True).map(tuple)


class ManagerMachine(RuleBasedStateMachine):
    """The model is two dictionaries: connection → pattern → selectors, and connection → record."""

    connections = Bundle("connections")

    def __init__(self) -> None:
        super().__init__()
        self.observer = RecordingObserver()
        self.manager = ConnectionManager(self.observer)
        self.model: dict[RecordingConnection, dict[Pattern, tuple[Pattern, ...]]] = {}
        self.ready: set[RecordingConnection] = set()
        """Connections that receive their user's tasks."""
        self.expected: dict[RecordingConnection, list[tuple[str | None, bytes]]] = {}
        """The frames each must have received after a flush, also those that have left."""
        self.sent = 0

    @rule(target=connections, username=st.sampled_from(["alice", "bob"]))
    def connect(self, username: str) -> RecordingConnection:
        connection = RecordingConnection(username)
        self.manager.connect(connection)
        self.model[connection] = {}
        self.expected[connection] = []
        return connection

    @rule(connection=connections)
    def receive_personal(self, connection: RecordingConnection) -> None:
        self.manager.receive_personal(connection)
        self.ready.add(connection)

    @rule(connection=consumes(connections), again=st.booleans())
    def disconnect(self, connection: RecordingConnection, again: bool) -> None:
        self.manager.disconnect(connection)
        if again:
            self.manager.disconnect(connection)
        del self.model[connection]
        self.ready.discard(connection)
        assert connection.record == self.expected[connection], "what had arrived is sent first"

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
        for connection in expected:
            self.expected[connection].append((topic if live else None, frame))
        if addressed_to is not None:
            self._all_of_them_have_all(expected)

    @rule(topics=st.lists(st.sampled_from(TOPICS), max_size=6), live=st.booleans())
    def broadcast_some(self, topics: list[str], live: bool) -> None:
        for topic in topics:
            self.broadcast(topic, None, live)

    @rule(username=st.sampled_from(["alice", "bob", "nobody"]))
    def send_to_user(self, username: str) -> None:
        frame = self._new_frame()
        expected = {
            item for item in self.model if item.identity.username == username and item in self.ready
        }
        assert self.manager.send_to_user(username, frame) == len(expected)
        for connection in expected:
            self.expected[connection].append((None, frame))
        self._all_of_them_have_all(expected)

    @rule(connection=connections)
    def send_to_client(self, connection: RecordingConnection) -> None:
        before = self.manager.messages_sent
        frame = self._new_frame()
        self.manager.send_to_client(connection, frame)
        assert self.manager.messages_sent == before + 1
        self.expected[connection].append((None, frame))
        self._all_of_them_have_all({connection})

    @rule(connection=connections, topic=st.sampled_from(TOPICS))
    def show_to_client(self, connection: RecordingConnection, topic: str) -> None:
        frame = self._new_frame()
        self.manager.show_to_client(connection, topic, frame)
        self.expected[connection].append((topic, frame))
        self._all_of_them_have_all({connection})

    @rule()
    def flush(self) -> None:
        self.manager.flush()
        self._all_of_them_have_all(set(self.model))

    @invariant()
    def what_was_sent_is_the_beginning_of_what_was_to_be_sent(self) -> None:
        """Whether sent at once or gathered: nothing else, nothing twice, nothing out of order."""
        for connection, expected in self.expected.items():
            assert connection.record == expected[: len(connection.record)]
            assert connection in self.model or len(connection.record) == len(expected)

    @invariant()
    def what_is_not_sent_yet_is_known_to_wait(self) -> None:
        assert self.manager.waiting == sum(
            len(self.expected[connection]) - len(connection.record) for connection in self.model
        )

    @invariant()
    def wanted_is_what_anybody_selects(self) -> None:
        """`RecordingObserver` itself fails when a selector is wanted or unwanted twice."""
        assert self.observer.selectors == {
            selector
            for subscriptions in self.model.values()
            for selectors in subscriptions.values()
            for selector in selectors
        }

    @invariant()
    def a_topic_is_wanted_if_anybody_is_subscribed_to_it(self) -> None:
        for topic in TOPICS:
            assert self.manager.is_wanted(topic) == bool(self._subscribed(topic))

    @invariant()
    def the_books_agree(self) -> None:
        assert len(self.manager) == len(self.model)
        assert set(self.manager) == set(self.model)
        assert set(self.manager.users) == {item.identity.username for item in self.model}
        assert self.manager.quota.count == sum(map(len, self.model.values()))
        for connection, subscriptions in self.model.items():
            assert set(self.manager.subscriptions(connection)) == set(subscriptions)
            assert connection in self.manager.connections_of(connection.identity.username)

    def teardown(self) -> None:
        """When all have left, nothing is wanted and nobody is known."""
        for connection in tuple(self.model):
            self.manager.disconnect(connection)
        self._all_of_them_have_all(set(self.expected))
        self.manager.flush()
        self._all_of_them_have_all(set(self.expected))
        assert self.observer.selectors == set()
        assert len(self.manager) == self.manager.quota.count == 0
        assert self.manager.quota.size_bytes == 0
        assert not self.manager.users
        assert not any(self.manager.is_wanted(topic) for topic in TOPICS)

    def _all_of_them_have_all(self, connections: set[RecordingConnection]) -> None:
        for connection in connections:
            assert connection.record == self.expected[connection]

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
TestManagerAgainstModel.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def manager(observer: RecordingObserver) -> ConnectionManager:
    return ConnectionManager(observer)


def test_a_topic_is_wanted_with_the_first_and_unwanted_with_the_last_subscriber(
    manager: ConnectionManager, observer: RecordingObserver
) -> None:
    pattern = parse_pattern("live:a")
    first, second = RecordingConnection(), RecordingConnection("bob")
    for connection in (first, second):
        manager.connect(connection)
        manager.subscribe(connection, pattern, (pattern,))
    manager.disconnect(first)
    assert observer.changes == [("wanted", pattern)]
    manager.unsubscribe(second, pattern)
    assert observer.changes == [("wanted", pattern), ("unwanted", pattern)]


def test_subscribing_again_does_not_let_go_of_the_topic_in_between(
    manager: ConnectionManager, observer: RecordingObserver
) -> None:
    connection, pattern = RecordingConnection(), parse_pattern("live:a")
    manager.connect(connection)
    manager.subscribe(connection, pattern, (pattern,))
    manager.subscribe(connection, pattern, (pattern,))
    assert observer.changes == [("wanted", pattern)]


def test_overlapping_subscriptions_deliver_once(manager: ConnectionManager) -> None:
    connection = RecordingConnection()
    manager.connect(connection)
    for pattern in PATTERNS:
        manager.subscribe(connection, pattern, (pattern,))
    assert manager.broadcast_to_topic("event:ab", b"frame") == 1
    manager.flush()
    assert connection.frames == [b"frame"]


def test_an_addressed_event_does_not_reach_an_administrator(manager: ConnectionManager) -> None:
    administrator, everything = RecordingConnection("root", "admin"), parse_pattern("*")
    manager.connect(administrator)
    manager.subscribe(administrator, everything, (everything,))
    assert manager.broadcast_to_topic("task:1", b"frame", addressed_to="alice") == 0
    manager.flush()
    assert administrator.frames == []


def test_who_has_left_gets_nothing(manager: ConnectionManager) -> None:
    connection, pattern = RecordingConnection(), parse_pattern("event:a")
    manager.connect(connection)
    manager.subscribe(connection, pattern, (pattern,))
    manager.disconnect(connection)
    manager.disconnect(connection)
    assert manager.broadcast_to_topic("event:a", b"frame") == 0
    assert manager.send_to_user("alice", b"frame") == 0
    manager.flush()
    assert connection.frames == []


def subscriber(
    manager: ConnectionManager, *topics: str, username: str = "alice"
) -> RecordingConnection:
    connection = RecordingConnection(username)
    manager.connect(connection)
    for topic in topics:
        manager.subscribe(connection, parse_pattern(topic), (parse_pattern(topic),))
    return connection


def test_those_who_are_subscribed_to_the_same_are_sent_the_same_batch_at_once(
    observer: RecordingObserver,
) -> None:
    """In any order of subscribing. It makes fan-out cheap."""
    delivered: list[tuple[set[Connection], list[bytes]]] = []

    def deliver(connections: Iterable[Connection], batch: FrameBatch) -> None:
        delivered.append((set(connections), batch.frames))

    manager = ConnectionManager(observer, deliver)
    one, two = subscriber(manager, "event:a", "live:*"), subscriber(manager, "live:*", "event:a")
    other = subscriber(manager, "event:a")
    for topic, frame in (("event:a", b"1"), ("live:x", b"2"), ("event:a", b"3")):
        manager.broadcast_to_topic(topic, frame)
    assert delivered == []
    manager.flush()
    assert len(delivered) == 2
    assert ({one, two}, [b"1", b"2", b"3"]) in delivered
    assert ({other}, [b"1", b"3"]) in delivered
    manager.flush()
    assert len(delivered) == 2, "there is nothing more"


def test_who_changes_subscriptions_has_first_what_arrived_before(
    manager: ConnectionManager,
) -> None:
    """Also if it joins an audience with other frames gathered."""
    mover, stayer = subscriber(manager, "event:a"), subscriber(manager, "event:a", "event:b")
    manager.broadcast_to_topic("event:a", b"1")
    manager.broadcast_to_topic("event:b", b"2")
    manager.subscribe(mover, parse_pattern("event:b"), (parse_pattern("event:b"),))
    manager.broadcast_to_topic("event:b", b"3")
    manager.unsubscribe(mover, parse_pattern("event:a"))
    manager.broadcast_to_topic("event:a", b"4")
    manager.broadcast_to_topic("event:b", b"5")
    manager.unsubscribe(mover, parse_pattern("event:b"))
    manager.broadcast_to_topic("event:b", b"6")
    assert mover.frames == [b"1", b"3", b"5"]
    manager.flush()
    assert mover.frames == [b"1", b"3", b"5"]
    assert stayer.frames == [b"1", b"2", b"3", b"4", b"5", b"6"]


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([1, 2], [2]),
        ([MAX_BATCH_BYTES - 1, 1], [2]),
        ([MAX_BATCH_BYTES, 1], [1, 1]),
        ([1, MAX_BATCH_BYTES + 1, 1, 1], [1, 1, 2]),
        ([100_000] * 5, [2, 2, 1]),
        ([MAX_BATCH_BYTES, MAX_BATCH_BYTES - 1, 1], [1, 2]),
    ],
)
def test_what_is_joined_is_not_larger_than_one_write_should_be(
    observer: RecordingObserver, sizes: list[int], batches: list[int]
) -> None:
    counts: list[int] = []

    def deliver(connections: Iterable[Connection], batch: FrameBatch) -> None:
        counts.append(batch.count)
        for connection in connections:
            connection.send_batch(batch)

    manager = ConnectionManager(observer, deliver)
    connection = subscriber(manager, "event:a", "live:a")
    frames = [b"%d" % index + b"x" * (size - 1) for index, size in enumerate(sizes)]
    for index, frame in enumerate(frames):
        manager.broadcast_to_topic("live:a" if index % 2 else "event:a", frame, live=index % 2 == 1)
    manager.flush()
    assert counts == batches
    assert connection.record == [
        ("live:a" if index % 2 else None, frame) for index, frame in enumerate(frames)
    ]


def test_gathered_frames_of_a_mebibyte_are_sent_before_they_are_many(
    manager: ConnectionManager,
) -> None:
    """The flush throttle may rest meanwhile: memory does not wait for it."""
    connection = subscriber(manager, "event:a")
    frame = bytes(1024 * 1024)
    for number in range(20):
        manager.broadcast_to_topic("event:a", frame)
        assert (manager.waiting - 1) * len(frame) < MAX_GATHERED_BYTES
        assert manager.waiting + len(connection.frames) == number + 1
    assert manager.flush() == 20, "the throttle learns of them all the same"
    assert len(connection.frames) == 20
    assert manager.flush() == 0


def test_gathered_frames_are_bounded_in_count_over_all_audiences(
    manager: ConnectionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_GATHERED_FRAMES", 30)
    subscribers = [subscriber(manager, "event:a", f"live:{number}") for number in range(10)]
    for _ in range(10):
        manager.broadcast_to_topic("event:a", b"")
        assert manager.waiting <= 30
    manager.flush()
    assert [len(each.frames) for each in subscribers] == [10] * 10


@pytest.mark.parametrize(
    ("topics", "stream", "follows"),
    [
        (["event:a"], "event", True),
        (["live:a"], "event", False),
        (["*"], "event", True),
        (["task:1"], "task", False),
    ],
)
def test_a_connection_follows_the_streams_of_its_selectors_and_its_own_tasks(
    manager: ConnectionManager, topics: list[str], stream: str, follows: bool
) -> None:
    connection = subscriber(manager, *topics)
    assert manager.follows(connection, stream) == follows
    manager.receive_personal(connection)
    assert manager.follows(connection, "task")
