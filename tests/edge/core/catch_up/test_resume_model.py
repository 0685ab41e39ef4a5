"""Clients subscribe, resume, change roles and unsubscribe in any order, against a plain model.

The model knows the journals, the requests of each client and the events that it has received.
Every reply and every event is checked against it when it is read.
"""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.core.catch_up.connection_catch_up import CatchUpState, ConnectionCatchUp, JournalRange
from edge.core.catch_up.subscriptions import Subscriptions
from edge.core.identity.access import Identity
from edge.core.protocol.requests import PersonalPosition, Subscribe, Unsubscribe
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.journal import Journal
from tests.edge.recorders import RecordingConnection
from tests.edge.world import USERS, World, permitted, user_of

PATTERNS = [parse_pattern(text) for text in ("event:a", "event:b*", "event:*", "*", "secret:*")]
EMITTED = ["event:a", "event:b", "event:bb", "secret:a"]
ROLES = ["user", "admin"]
SELDOM = st.sampled_from([False] * 5 + [True])
STREAMS = ("event", "secret", "task")
MAX_SUBSCRIPTIONS = 4
STATES = CatchUpState
STEPS = {
    STATES.SEARCHING: {STATES.SEARCHING, STATES.REPLAYING, STATES.ABANDONED},
    STATES.REPLAYING: {*STATES} - {STATES.SEARCHING},
    STATES.AWAITING_STREAMS: {*STATES} - {STATES.SEARCHING},
}
"""The state of a catch-up, and the states in which one step may leave it."""


class Client:
    """A connection, and the model's knowledge of it."""

    def __init__(self, world: World, user: str, role: str, tasks_since: int | None) -> None:
        self.world = world
        self.connection = RecordingConnection(user, role)
        self.catch_ups: list[ConnectionCatchUp] = []
        """The one that is under way."""
        self.missing: JournalRange | None = None
        self.replayed: dict[str, int] = {}
        """Stream to the last offset that the catch-up under way has sent."""
        self.unanswered: dict[int, Subscribe | Unsubscribe] = {}
        self.may_have_missed: set[int] = set()
        """Requests whose reply may say that not everything was recovered."""
        self.waiting: set[int] = set()
        """Requests that came during a catch-up."""
        self.asked: set[Pattern] = set()
        """Subscribed patterns, without those whose events must have ended."""
        self.repeats = 0
        """How often an event may come again.

        A search for the newest events repeats them; and what an ended subscription has brought is
        sent again to a client that resumes another one from before it.
        """
        self.seen: dict[str, list[int]] = {stream: [] for stream in STREAMS}
        """Events of this epoch by stream, in the order of their arrival."""
        self.is_shown_task_states = False
        """Whether the updates of tasks between two positions may have been shown as states."""
        self.tasks_after = world.journals["task"].tip if tasks_since is None else tasks_since
        edge = world.edge
        self.subscriptions = Subscriptions(
            self.connection,
            edge,
            self.catch_ups.append,
            MAX_SUBSCRIPTIONS,
        )
        position = (
            None if tasks_since is None else PersonalPosition(world.epoch, {"task": tasks_since})
        )
        self.subscriptions.open(position)

    @property
    def identity(self) -> Identity:
        """The user, with the present role."""
        return self.connection.identity

    @property
    def live(self) -> dict[Pattern, tuple[Pattern, ...]]:
        """The live subscriptions."""
        return dict(self.world.edge.manager.subscriptions(self.connection))

    def may_see(self, stream: str, pattern: Pattern, after: int, until: int) -> set[int]:
        """The offsets of `pattern` in `(after, until]` that the client may see."""
        allowed = self.world.edge.access.selectors(self.identity, pattern)
        offsets = permitted(self.world.journals[stream], self.identity.username, allowed, after)
        return {offset for offset in offsets if offset <= until}

    def read(self) -> list[tuple[str, int]]:
        """Check the messages that have arrived; return the events among them."""
        events = []
        for message in self.connection.take():
            if message.get("retained") or message.get("type") == "position":
                continue
            if "offset" in message:
                events.append(self.check_event(message))
            elif message.get("type") == "gap":
                self.check_gap(message)
            elif "id" in message:
                self.check_reply(message)
            else:
                assert message["code"] == "forbidden", "a role ended a subscription"
        return events

    def check_event(self, message: dict[str, Any]) -> tuple[str, int]:
        stream, offset = message["topic"].partition(":")[0], message["offset"]
        seen = self.seen[stream]
        assert seen.count(offset) <= self.repeats, "an event comes once"
        seen.append(offset)
        everything = [Pattern("task:", exact=False)]
        patterns = everything if stream == "task" else self.asked
        allowed = [each for each in patterns if self.is_permitted(stream, each, offset)]
        assert allowed, f"{message} was not asked for, or is not permitted"
        return stream, offset

    def is_permitted(self, stream: str, pattern: Pattern, offset: int) -> bool:
        allowed = (
            (pattern,)
            if stream == "task"
            else self.world.edge.access.selectors(self.identity, pattern)
        )
        record = self.world.journals[stream].records[offset - 1]
        return any(each.matches(record.topic.text) for each in allowed) and (
            user_of(record) in (None, self.identity.username)
        )

    def check_gap(self, message: dict[str, Any]) -> None:
        assert message["to"] < self.world.journals[message["stream"]].low, "it was there"
        assert (
            set(self.seen[message["stream"]]).isdisjoint(range(message["from"], message["to"] + 1))
            or self.unanswered
        ), "lost and received"
        self.may_have_missed.update(self.unanswered)

    def check_reply(self, message: dict[str, Any]) -> None:
        identifier = message["id"]
        assert identifier == next(iter(self.unanswered)), "replies come in the order of requests"
        request = self.unanswered.pop(identifier)
        if message["status"] == "error":
            assert isinstance(request, Subscribe)
            assert message["code"] in ("forbidden", "bad_request")
        elif isinstance(request, Subscribe):
            assert ("recovered" in message) == request.asks_for_the_past
            assert message.get("recovered") in (None, True) or identifier in self.may_have_missed
            if message.get("recovered") and request.pattern in self.live:
                for stream, reached in message["position"].items():
                    since = (request.since or {}).get(stream, reached)
                    due = self.may_see(stream, request.pattern, since, reached)
                    assert due <= set(self.seen[stream]), "recovered, but not everything came"

    def step(self) -> None:
        """Step the catch-up under way, if any."""
        if not self.catch_ups:
            return
        catch_up, before = self.catch_ups[0], self.catch_ups[0].state
        records = () if self.missing is None else self.world.fetch(self.missing)
        result = catch_up.step(records)
        self.missing = result.missing
        assert result.state in STEPS[before]
        assert result.state is catch_up.state
        if result.state.is_final:
            self.catch_ups.remove(catch_up)
        events = self.read()
        assert len(events) == result.deliveries
        for stream, offset in events:
            assert offset > self.replayed.get(stream, 0), "a stream is replayed in its order"
            self.replayed[stream] = offset
        if result.state.is_final:
            self.replayed = {}

    def forget_epoch(self) -> None:
        self.read()
        receivers = self.world.edge.manager.personal_receivers(self.identity.username)
        if self.connection not in receivers:
            # Its task catch-up is abandoned: states are shown to it, in place of updates.
            self.is_shown_task_states = True
        self.seen = {stream: [] for stream in STREAMS}
        self.may_have_missed.update(self.unanswered)
        self.replayed = {}
        self.tasks_after = 0


class ResumeModel(RuleBasedStateMachine):
    """Up to three clients of one edge."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[Client] = []
        self.next_id = 0

    @initialize(
        history_bytes=st.sampled_from([2**30, 60_000, 3_000]), before=st.sampled_from([0, 5, 300])
    )
    def begin(self, history_bytes: int, before: int) -> None:
        self.world = World(history_bytes)
        self.world.journals["secret"] = Journal()
        self.world.synchronize()
        for number in range(before):
            self.world.emit(EMITTED[number % 4])
            self.world.emit("task:1", USERS[number % 2])

    # The world.

    @rule(topic=st.sampled_from([*EMITTED, "task:1"]), user=st.sampled_from([None, *USERS]))
    def emit(self, topic: str, user: str | None) -> None:
        stream = topic.partition(":")[0]
        user = user or ("alice" if stream == "task" else None)
        due = [client for client in self.clients if self.is_due_live(client, topic, user)]
        self.world.emit(topic, user)
        event = stream, self.world.journals[stream].tip
        for client in self.clients:
            assert client.read() == [event] * (client in due)

    def is_due_live(self, client: Client, topic: str, user: str | None) -> bool:
        if user not in (None, client.identity.username):
            return False
        if topic.startswith("task:"):
            return client.connection in self.world.edge.manager.personal_receivers(user or "")
        return any(each.matches(topic) for live in client.live.values() for each in live)

    @rule(topic=st.sampled_from(EMITTED), count=st.sampled_from([20, 600]))
    def emit_many(self, topic: str, count: int) -> None:
        for _ in range(count):
            self.emit(topic, None)

    @rule(part=st.floats(0, 1), seldom=SELDOM)
    def retire(self, part: float, seldom: bool) -> None:
        """Retention takes a part of the events; the edge may still remember them."""
        if seldom:
            self.world.retire(int(self.world.journals["event"].tip * part))

    @rule(seldom=SELDOM)
    def begin_epoch(self, seldom: bool) -> None:
        if not seldom:
            return
        for client in self.clients:
            client.read()
        self.world.journals = {stream: Journal() for stream in STREAMS}
        self.world.epoch += 1
        self.world.synchronize()
        for client in self.clients:
            client.forget_epoch()

    # The clients.

    @precondition(lambda self: len(self.clients) < 3)
    @rule(
        user=st.sampled_from(USERS),
        role=st.sampled_from(ROLES),
        behind=st.none() | st.integers(0, 30),
    )
    def connect(self, user: str, role: str, behind: int | None) -> None:
        since = None if behind is None else max(0, self.world.journals["task"].tip - behind)
        self.clients.append(Client(self.world, user, role, since))
        self.clients[-1].read()

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 2), seldom=SELDOM)
    def leave(self, which: int, seldom: bool) -> None:
        if not seldom:
            return
        client = self.clients.pop(which % len(self.clients))
        self.world.edge.manager.disconnect(client.connection)

    @precondition(lambda self: self.clients)
    @rule(
        which=st.integers(0, 2),
        pattern=st.sampled_from(PATTERNS),
        asks=st.sampled_from(["now", "now", "since", "since", "since", "last"]),
        behind=st.sampled_from([0, 3, 30, 10_000, -2]),
        more=st.booleans(),
        steps=st.integers(0, 4),
    )
    def subscribe(
        self, which: int, pattern: Pattern, asks: str, behind: int, more: bool, steps: int
    ) -> None:
        client = self.clients[which % len(self.clients)]
        since, last = None, 5 if asks == "last" else None
        if asks == "since":
            tips = {stream: self.world.journals[stream].tip for stream in ("event", "secret")}
            since = {stream: max(0, tip - behind) for stream, tip in tips.items()}
        epoch = None if since is None else self.world.epoch
        request = Subscribe(pattern, self.new_id(), since, epoch, last)
        client.asked.add(pattern)
        client.repeats += last is not None
        self.ask(client, request)
        if behind < 0:
            client.may_have_missed.add(self.next_id)
        if not more:
            client.subscriptions.end_gathering()
        client.read()
        self.step(which, steps)

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 2), pattern=st.sampled_from(PATTERNS))
    def unsubscribe(self, which: int, pattern: Pattern) -> None:
        client = self.clients[which % len(self.clients)]
        is_waiting = any(
            client.unanswered[each].pattern == pattern
            for each in client.waiting & client.unanswered.keys()
        )
        client.repeats += 1
        # What is withdrawn before it was sent is not recovered.
        client.may_have_missed.update(
            number for number, each in client.unanswered.items() if each.pattern == pattern
        )
        acts_at_once = bool(client.catch_ups) or not client.subscriptions.is_catching_up
        self.ask(client, Unsubscribe(pattern, self.new_id()))
        if acts_at_once and not is_waiting:
            client.asked.discard(pattern)
            assert pattern not in client.live
        client.read()

    def ask(self, client: Client, request: Subscribe | Unsubscribe) -> None:
        client.unanswered[self.next_id] = request
        if client.catch_ups:
            client.waiting.add(self.next_id)
        client.subscriptions.take(request)

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 2), role=st.sampled_from(ROLES))
    def change_role(self, which: int, role: str) -> None:
        client = self.clients[which % len(self.clients)]
        client.read()
        client.connection.identity = Identity(client.identity.username, role, 10**10)
        client.repeats += 1
        client.subscriptions.renew()
        client.may_have_missed.update(client.unanswered)
        client.read()

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 2), count=st.integers(1, 4))
    def step(self, which: int, count: int) -> None:
        for _ in range(count):
            self.clients[which % len(self.clients)].step()

    @invariant()
    def a_client_has_a_position_only_when_nothing_is_pending(self) -> None:
        for client in self.clients:
            if client.catch_ups:
                assert client.subscriptions.is_catching_up
            if not client.subscriptions.is_catching_up:
                assert client.subscriptions.waiting == (0, 0)
                assert client.unanswered == {}

    def teardown(self) -> None:
        for client in self.clients:
            client.subscriptions.end_gathering()
            for _ in range(10_000):
                if not client.catch_ups:
                    break
                client.step()
                if client.catch_ups and client.catch_ups[0].state is STATES.AWAITING_STREAMS:
                    self.emit("event:a", None)
                    self.emit("secret:a", None)
            client.read()
            assert client.unanswered == {}
            assert client.live.keys() <= client.asked, "it has unsubscribed"
            assert max(Counter(client.seen["task"]).values(), default=1) == 1
            user = client.identity.username
            tasks = permitted(
                self.world.journals["task"], user, [Pattern("", exact=False)], client.tasks_after
            )
            if client.is_shown_task_states:
                tasks = tasks[len(tasks) - len(client.seen["task"]) :]
            assert client.seen["task"] == tasks


TestResumeModel = ResumeModel.TestCase
TestResumeModel.settings = settings(
    max_examples=40,
    phases=[Phase.reuse, Phase.generate],
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
