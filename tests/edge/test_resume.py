"""Clients that come, go and resume while events arrive: nothing missing, nothing twice, in order.

The real fan-out and the real subscriptions, with a journal in memory in place of the relay. What
takes time in a running edge, the steps of a pass and the relay's answers, happens here when the
test says so.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.access import Identity
from edge.core.frames import frame_payload
from edge.core.ports import CatchingUp
from edge.core.record import Record
from edge.core.requests import Subscribe, TaskPosition, Unsubscribe
from edge.core.resume import Fetch, Fetched
from edge.core.subscriptions import Subscriptions
from edge.fanout import Fanout
from edge.stats import EdgeStats
from relay.wire.control import Heartbeat
from relay.wire.header import Stamp, pack_stamp
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.journal import Journal
from tests.edge.recorders import RecordingConnection

EPOCH = 7
TOPICS = ["event:a", "event:b", "event:bb", "task:1"]
PATTERNS = ["event:a", "event:b*", "event:bb", "event:*", "*"]
USERS = ["alice", "bob"]


class World:
    """A relay's journals and an edge that follows them."""

    def __init__(self, history_bytes: int = 2**30, before: int = 0) -> None:
        self.journals = {"event": Journal(), "task": Journal()}
        for kind, topic, user in (("event", "event:a", None), ("task", "task:1", "alice")):
            for _ in range(before):
                self.journals[kind].append(topic, user)
        self.history_bytes = history_bytes
        self.epoch = EPOCH
        self.fanout = self.new_edge()

    def new_edge(self) -> Fanout:
        """An edge that has just begun, and remembers nothing."""
        self.fanout = Fanout(EdgeStats(), history_bytes=self.history_bytes)
        self.synchronize()
        return self.fanout

    def synchronize(self) -> None:
        self.fanout.synchronize(self.epoch, self.heartbeat())

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(
            tips={kind: journal.tip for kind, journal in self.journals.items()},
            low={kind: journal.low for kind, journal in self.journals.items()},
            started_at=1,
            journaling=True,
        )

    def emit(self, topic: str, username: str | None = None) -> None:
        """An event is committed and arrives."""
        kind = topic.partition(":")[0]
        added = self.journals[kind].append(topic, username)
        stamp = pack_stamp(Stamp(self.epoch, added.offset, 0))
        self.fanout.take_event([topic.encode(), stamp, added.payload])

    def retire(self, low: int) -> None:
        self.journals["event"].retire(low)
        self.fanout.hear(self.heartbeat())

    def fetch(self, fetch: Fetch) -> Fetched:
        """The relay answers, as `Fanout.fetch` takes it."""
        stream = self.fanout.streams.get(fetch.stream)
        assert stream is not None
        journal = self.journals[fetch.stream]
        records = journal.replay(fetch.after, fetch.limit)
        stream.history.low = max(stream.history.low, journal.low)
        stream.history.install(records)
        return Fetched(fetch.stream, records)


class Viewer:
    """A user who keeps a position, as a browser does, and resumes from it."""

    def __init__(self, world: World, username: str, patterns: Sequence[str] = ()) -> None:
        self.world = world
        self.username = username
        self.patterns = [parse_pattern(text) for text in patterns]
        self.seen: dict[str, list[int]] = {"event": [], "task": []}
        self.gaps: list[tuple[int, int]] = []
        self.recovered: list[bool] = []
        self.replies: list[dict[str, Any]] = []
        self.positions: dict[str, int] = {}
        self.connection: RecordingConnection | None = None
        self.pending: list[CatchingUp] = []
        self.fetch: Fetch | None = None

    def connect(self, role: str = "user") -> None:
        self.connection = RecordingConnection(self.username, role)
        self.subscriptions = Subscriptions(
            self.connection,
            self.world.fanout.manager,
            self.world.fanout.streams,
            self.world.fanout,
            self.pending.append,
            100,
        )
        task = self.positions.get("task")
        self.subscriptions.open(None if task is None else TaskPosition(EPOCH, task))

    def subscribe_all(self) -> None:
        since = {"event": self.positions["event"]} if "event" in self.positions else None
        for pattern in self.patterns:
            self.subscriptions.take(Subscribe(pattern, since=since, epoch=EPOCH))
        self.subscriptions.end_gathering()

    def disconnect(self) -> None:
        if self.connection is not None:
            self.read()
            self.world.fanout.manager.disconnect(self.connection)
            self.connection, self.pending, self.fetch = None, [], None

    def step(self) -> bool:
        """Let the pass go on; return whether there was one."""
        if not self.pending:
            return False
        fetched = None if self.fetch is None else self.world.fetch(self.fetch)
        outcome = self.pending[0].step(fetched)
        self.fetch = outcome.fetch
        if outcome.awaits_streams:
            self.pending[0].give_up_waiting()
        if outcome.is_complete:
            self.pending.pop(0).finish()
        return True

    def settle(self) -> None:
        for _ in range(10_000):
            if not self.step():
                self.read()
                return
        raise AssertionError("a pass does not come to an end")

    def read(self) -> None:
        """Take down what came, moving the position only as a careful client may."""
        assert self.connection is not None
        frames, self.connection.frames = self.connection.frames, []
        for frame in frames:
            message = json.loads(frame_payload(frame))
            if message.get("retained"):
                continue
            if "offset" in message:
                kind = message["topic"].partition(":")[0]
                assert message["data"]["n"] == message["offset"]
                self.seen[kind].append(message["offset"])
                self.positions[kind] = message["offset"]
            elif message.get("type") == "gap":
                self.gaps.append((message["from"], message["to"]))
                self.positions[message["stream"]] = message["to"]
            elif message.get("type") == "position":
                self.positions |= message["position"]
            else:
                self.replies.append(message)
                assert message["status"] == "success", message
                self.positions |= message.get("position", {})
                if "recovered" in message:
                    self.recovered.append(message["recovered"])


def permitted(
    journal: Journal, username: str, patterns: Sequence[Pattern], after: int = 0
) -> list[int]:
    """The offsets that a user with these subscriptions may see."""
    return [
        each.offset
        for each in journal.records[after:]
        if user_of(each) in (None, username)
        and any(pattern.matches(each.topic.text) for pattern in patterns)
    ]


def user_of(record: Record) -> str | None:
    """Whom it is addressed to, decoded apart from what the edge decoded."""
    fresh = Record(record.topic, record.offset, 0, record.payload)
    return fresh.open().username


moves = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), st.sampled_from(TOPICS), st.sampled_from([None, *USERS])),
        st.tuples(st.just("emit"), st.sampled_from(TOPICS), st.sampled_from([None, *USERS])),
        st.tuples(st.just("burst"), st.sampled_from(TOPICS), st.integers(1, 300)),
        st.tuples(st.just("leave"), st.integers(0, 2), st.none()),
        st.tuples(st.just("come"), st.integers(0, 2), st.none()),
        st.tuples(st.just("step"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("step"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("retire"), st.integers(1, 900), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3), min_size=3, max_size=3),
    st.sampled_from([2**30, 200_000, 5_000]),
    st.integers(0, 300),
    moves,
)
def test_whatever_happens_each_client_gets_what_it_may_see_once_and_in_order(
    pattern_sets: list[list[str]], history_bytes: int, before: int, steps: list[Any]
) -> None:
    world = World(history_bytes, before)
    viewers = [
        Viewer(world, user, patterns)
        for user, patterns in zip(["alice", "bob", "alice"], pattern_sets, strict=True)
    ]
    for viewer in viewers:
        viewer.connect()
        viewer.subscribe_all()
        viewer.settle()
        assert viewer.positions == {"event": before, "task": before}
    for move, what, how in steps:
        if move == "emit":
            world.emit(what, how or ("alice" if what == "task:1" else None))
        elif move == "burst":
            for _ in range(how):
                world.emit(what, "bob" if what == "task:1" else None)
        elif move == "retire":
            world.retire(what)
        elif move == "restart":
            for viewer in viewers:
                viewer.disconnect()
            world.new_edge()
        elif move == "leave":
            viewers[what].disconnect()
        elif move == "come" and viewers[what].connection is None:
            viewers[what].connect()
            viewers[what].subscribe_all()
        elif move == "step":
            for _ in range(how):
                viewers[what].step()
    for viewer in viewers:
        if viewer.connection is None:
            viewer.connect()
            viewer.subscribe_all()
        viewer.settle()
        lost = {n for first, last in viewer.gaps for n in range(first, last + 1)}
        events = permitted(world.journals["event"], viewer.username, viewer.patterns, before)
        assert viewer.seen["event"] == [n for n in events if n not in lost]
        assert all(n < world.journals["event"].low for n in lost)
        everything = [Pattern("", exact=False)]
        tasks = permitted(world.journals["task"], viewer.username, everything, before)
        assert viewer.seen["task"] == tasks
        assert all(viewer.recovered) or viewer.gaps


requests = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), st.sampled_from(TOPICS[:3]), st.sampled_from([None, *USERS])),
        st.tuples(st.just("plain"), st.sampled_from(PATTERNS), st.none()),
        st.tuples(st.just("since"), st.sampled_from(PATTERNS), st.integers(0, 40)),
        st.tuples(st.just("more"), st.sampled_from(PATTERNS), st.integers(0, 40)),
        st.tuples(st.just("last"), st.sampled_from(PATTERNS), st.integers(1, 20)),
        st.tuples(st.just("step"), st.none(), st.none()),
        st.tuples(st.just("role"), st.sampled_from(["user", "admin"]), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([2**30, 3_000]), requests)
def test_a_message_of_several_subscriptions_arrives_once_also_across_resumes(
    history_bytes: int, steps: list[Any]
) -> None:
    world = World(history_bytes)
    for number in range(30):
        world.emit(TOPICS[number % 3])
    journal = world.journals["event"]
    viewer = Viewer(world, "alice")
    viewer.connect()
    asked: list[tuple[Pattern, int]] = []
    for move, what, how in steps:
        if move == "emit":
            world.emit(what, how)
        elif move == "step":
            viewer.step()
        elif move == "role":
            assert viewer.connection is not None
            viewer.connection.identity = Identity("alice", what, 10**10)
            viewer.subscriptions.renew()
        else:
            pattern = parse_pattern(what)
            since = {"event": min(how, journal.tip)} if move in ("since", "more") else None
            last = how if move == "last" else None
            epoch = None if since is None else EPOCH
            viewer.subscriptions.take(Subscribe(pattern, since=since, epoch=epoch, last=last))
            if since is not None:
                asked.append((pattern, since["event"]))
            if move != "more":
                viewer.subscriptions.end_gathering()
    viewer.subscriptions.end_gathering()
    viewer.settle()
    seen = viewer.seen["event"]
    assert len(seen) == len(set(seen)), "nothing comes twice"
    for pattern, after in asked:
        missing = set(permitted(journal, "alice", [pattern], after)) - set(seen)
        assert missing == set(), f"{pattern} since {after}"
    assert set(seen) <= set(permitted(journal, "alice", viewer_patterns(viewer)))


def viewer_patterns(viewer: Viewer) -> Sequence[Pattern]:
    assert viewer.connection is not None
    return list(viewer.world.fanout.manager.subscriptions(viewer.connection))


# Single cases, each of them a way to go wrong.


@pytest.fixture
def world() -> World:
    world = World()
    for number in range(20):
        world.emit(TOPICS[number % 3])
    return world


@pytest.fixture
def alice(world: World) -> Viewer:
    viewer = Viewer(world, "alice")
    viewer.connect()
    viewer.read()
    return viewer


def ask(viewer: Viewer, topic: str, since: Mapping[str, int] | None = None, **more: Any) -> None:
    request = Subscribe(parse_pattern(topic), since=since, epoch=EPOCH, **more)
    viewer.subscriptions.take(request)
    viewer.subscriptions.end_gathering()


def test_what_is_unsubscribed_meanwhile_is_replayed_no_further(world: World, alice: Viewer) -> None:
    for _ in range(1000):
        world.emit("event:a")
    ask(alice, "event:a", {"event": 0}, id=1)
    alice.step()
    alice.read()
    so_far = len(alice.seen["event"])
    assert 0 < so_far < 1000
    alice.subscriptions.take(Unsubscribe(parse_pattern("event:a"), 2))
    alice.settle()
    world.emit("event:a")
    alice.read()
    assert len(alice.seen["event"]) == so_far
    assert [reply["id"] for reply in alice.replies] == [1, 2]
    assert viewer_patterns(alice) == []


def test_what_a_lower_role_may_not_see_ends_in_the_middle_of_its_replay(world: World) -> None:
    world.journals["secret"] = Journal()
    world.synchronize()
    root = Viewer(world, "root")
    root.seen["secret"] = []
    root.connect("admin")
    for _ in range(1000):
        world.emit("secret:x")
    ask(root, "secret:*", {"secret": 0}, id=1)
    root.step()
    root.read()
    so_far = len(root.seen["secret"])
    assert 0 < so_far < 1000
    assert root.connection is not None
    root.connection.identity = Identity("root", "user", 10**10)
    root.subscriptions.renew()
    for _ in range(20):
        root.step()
    messages = root.connection.take()
    assert messages[-1] == {
        "status": "error",
        "message": "Not allowed to subscribe to topic 'secret:*'",
        "code": "forbidden",
        "id": 1,
    }
    assert len(messages) == 1


def test_in_a_new_epoch_nothing_of_the_old_one_is_recovered(world: World, alice: Viewer) -> None:
    for _ in range(1000):
        world.emit("event:a")
    ask(alice, "event:a", {"event": 0})
    alice.step()
    world.journals = {"event": Journal(), "task": Journal()}
    world.epoch += 1
    world.synchronize()
    alice.settle()
    assert alice.recovered == [False]
    alice.seen["event"] = []
    world.emit("event:a")
    alice.read()
    assert alice.seen["event"] == [1]
    # What the live subscription has brought in the new epoch does not come again.
    viewer_request = Subscribe(parse_pattern("event:*"), since={"event": 0}, epoch=EPOCH + 1)
    alice.subscriptions.take(viewer_request)
    alice.subscriptions.end_gathering()
    alice.settle()
    assert alice.seen["event"] == [1]


def test_a_client_that_is_ahead_waits_for_the_stream(world: World, alice: Viewer) -> None:
    ask(alice, "event:*", {"event": 22})
    (catching_up,) = alice.pending
    assert catching_up.step().awaits_streams
    for _ in range(4):
        world.emit("event:a")
    outcome = catching_up.step()
    assert (outcome.is_complete, outcome.deliveries) == (True, 2)
    catching_up.finish()
    alice.read()
    assert (alice.seen["event"], alice.recovered) == ([23, 24], [True])


def test_the_newest_events_are_found_however_far_back_within_reach(
    world: World, alice: Viewer
) -> None:
    for number in range(3000):
        world.emit("event:bb" if number % 500 == 0 else "event:a")
    ask(alice, "event:bb", last=3)
    alice.settle()
    rare = permitted(world.journals["event"], "alice", [parse_pattern("event:bb")])
    assert alice.seen["event"] == rare[-3:]
    ask(alice, "event:nothing", last=3)
    alice.settle()
    assert alice.seen["event"] == rare[-3:]
    assert alice.recovered == [True, True]


def test_the_newest_events_end_where_the_journal_begins_and_no_gap_is_named(
    world: World,
) -> None:
    for _ in range(600):
        world.emit("event:b")
    world.retire(500)
    world.new_edge()
    alice = Viewer(world, "alice")
    alice.connect()
    ask(alice, "event:*", last=400)
    alice.settle()
    assert alice.seen["event"] == list(range(500, 621))
    assert (alice.gaps, alice.recovered) == ([], [True])


def test_many_requests_behind_a_pass_are_done_in_their_order(world: World, alice: Viewer) -> None:
    """Each of them begins and ends a pass of its own, and none within another."""
    ask(alice, "event:*", {"event": 22}, id=0)
    for number in range(1, 1500):
        ask(alice, "event:a", {"event": 20}, id=number)
    alice.settle()
    assert [reply["id"] for reply in alice.replies] == list(range(1500))


def test_an_event_that_cannot_be_read_is_skipped_and_counted_once(world: World) -> None:
    stream = world.fanout.streams.get("event")
    assert stream is not None
    broken = world.journals["event"].append("event:a")
    broken.payload = b"\xc1"
    world.fanout.take_event(
        [b"event:a", pack_stamp(Stamp(EPOCH, broken.offset, 0)), broken.payload]
    )
    world.emit("event:a")
    for _ in range(2):
        viewer = Viewer(world, "alice")
        viewer.connect()
        ask(viewer, "event:*", {"event": 20})
        viewer.settle()
        assert viewer.seen["event"] == [22]
    assert world.fanout.stats.malformed == {"invalid_envelope": 1}


@pytest.mark.parametrize("live", ["*", "e*"])
def test_a_live_subscription_that_changes_with_the_role_covers_what_it_brings_and_no_more(
    world: World, live: str
) -> None:
    """As a user `*` goes on with fewer topics, and `e*` ends.

    Events that come during the pass are sent live by the one, and left to the pass by the other.
    """
    root = Viewer(world, "root")
    root.connect("admin")
    ask(root, live)
    for _ in range(1000):
        world.emit("event:a")
    ask(root, "event:a", {"event": 0})
    root.step()
    assert root.connection is not None
    root.connection.identity = Identity("root", "user", 10**10)
    root.subscriptions.renew()
    for _ in range(5):
        world.emit("event:a")
    for _ in range(20):
        root.step()
    seen = [message["offset"] for message in root.connection.take() if "offset" in message]
    expected = permitted(world.journals["event"], "root", [parse_pattern("event:a")])
    assert sorted(seen) == expected


def test_what_was_brought_live_in_this_epoch_is_not_replayed_in_it(
    world: World, alice: Viewer
) -> None:
    ask(alice, "event:a")
    world.journals = {"event": Journal(), "task": Journal()}
    world.epoch += 1
    world.synchronize()
    world.emit("event:a")
    world.emit("event:b")
    alice.subscriptions.take(
        Subscribe(parse_pattern("event:*"), since={"event": 0}, epoch=world.epoch)
    )
    alice.subscriptions.end_gathering()
    alice.settle()
    assert alice.seen["event"] == [1, 2]


def test_a_gap_ends_where_the_edge_remembers_more_than_the_relay(world: World) -> None:
    world.new_edge()
    for _ in range(100):
        world.emit("event:b")
    world.retire(100)
    alice = Viewer(world, "alice")
    alice.connect()
    ask(alice, "event:*", {"event": 5})
    alice.settle()
    assert alice.gaps == [(6, 20)]
    assert alice.seen["event"] == list(range(21, 121))


def test_only_those_subscriptions_are_not_recovered_that_the_gap_concerns(world: World) -> None:
    world.retire(15)
    world.new_edge()
    alice = Viewer(world, "alice")
    alice.connect()
    for topic, since in (("event:a", 5), ("event:b", 14), ("event:bb", 13)):
        alice.subscriptions.take(
            Subscribe(parse_pattern(topic), since={"event": since}, epoch=EPOCH)
        )
    alice.subscriptions.end_gathering()
    alice.settle()
    assert alice.gaps == [(6, 14)]
    assert alice.recovered == [False, True, False]
