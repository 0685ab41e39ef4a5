"""The client against a model of the edge, while connections are lost at any moment: each sink gets
its events once and in order, and misses none after its first."""

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from edge.client.core.conversation import ClientRequest
from edge.client.core.subscriptions import ClientSubscription, topic_matches
from tests.edge.client.scripted import EPOCH, Recorder, ScriptedEdge

TOPICS = ("event:a", "event:b", "event:ab")
PATTERNS = (*TOPICS, "event:a*", "event:*", "*")
STEPS = 120


class CatchUp:
    """A subscription that is brought from an offset to the head."""

    def __init__(self, request: ClientRequest, after: int) -> None:
        self.request, self.after, self.covered = request, after, after


class ModelEdge(ScriptedEdge):
    """One stream of events, resumed as in docs/protocol.md. It acts in small steps."""

    def __init__(self) -> None:
        super().__init__()
        self.topics: list[str] = []
        self.began_after: dict[str, int] = {}
        self.welcome()

    @property
    def tip(self) -> int:
        return len(self.topics)

    @property
    def is_idle(self) -> bool:
        return not self.read() and not self._pass

    def welcome(self) -> None:
        """Accept a new connection."""
        self._live: dict[str, int] = {}
        self._gathered: list[CatchUp] = []
        self._pass: list[CatchUp] = []
        self.open()
        self.answer(username="alice")

    def append(self, topic: str) -> None:
        """Publish an event."""
        self.topics.append(topic)
        if any(topic_matches(pattern, topic) for pattern in self._live):
            self.event(topic, self.tip)

    def tell_position(self) -> None:
        """Send `position`, unless a catch-up runs."""
        if not self._pass and not self._gathered:
            self.say(type="position", epoch=EPOCH, position={"event": self.tip})

    def step(self) -> None:
        """Advance a catch-up by one offset, or take the next request."""
        if self._pass:
            self._go_on()
        elif self.read():
            self._take(self.requests.pop(0))

    def _take(self, request: ClientRequest) -> None:
        pattern = request["topic"]
        if request["action"] == "unsubscribe":
            self._live.pop(pattern, None)
            self.say(status="success", id=request["id"])
            return
        if "since" in request:
            after = request["since"]["event"]
        else:
            after = self._before_newest(pattern, request["last"]) if "last" in request else self.tip
        self._gathered.append(CatchUp(request, after))
        if not request.get("more"):
            self._pass, self._gathered = self._gathered, []
            self._finish_if_done()

    def _before_newest(self, pattern: str, last: int) -> int:
        matching = [n for n in range(self.tip) if topic_matches(pattern, self.topics[n])]
        return 0 if len(matching) < last else matching[-last]

    def _go_on(self) -> None:
        offset = min(each.after for each in self._pass) + 1
        topic = self.topics[offset - 1]
        eager = [each for each in self._pass if each.after == offset - 1]
        was_sent = any(
            offset > after and topic_matches(pattern, topic)
            for pattern, after in self._live.items()
        )
        for each in eager:
            each.after = offset
        if any(topic_matches(each.request["topic"], topic) for each in eager) and not was_sent:
            self.event(topic, offset)
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if any(each.after < self.tip for each in self._pass):
            return
        finished, self._pass = self._pass, []
        for each in finished:
            self._live[each.request["topic"]] = each.covered
        for each in finished:
            if "since" not in each.request:
                self.began_after[each.request["topic"]] = self.tip
            position = {"event": self.tip}
            self.say(status="success", id=each.request["id"], epoch=EPOCH, position=position)


class Round:
    """One life of a client."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.edge = ModelEdge()
        self.heard: dict[str, tuple[ClientSubscription, Recorder]] = {}

    def run(self) -> None:
        for _ in range(STEPS):
            self._act()
        if self.edge.talk.state.name == "waiting":
            self.edge.welcome()
        while not self.edge.is_idle:
            self.edge.step()
        assert self.edge.talk.state.name == "live"
        for topic in TOPICS:
            self.edge.append(topic)

    def _act(self) -> None:
        is_offline = self.edge.talk.state.name == "waiting"
        acts: list[tuple[float, Callable[[], object]]] = [
            (0.35, lambda: self.edge.append(self.random.choice(TOPICS))),
            (0.45, self._listen),
            (0.48, self._stop),
            (0.55, self.edge.welcome if is_offline else self.edge.drop),
            (0.60, lambda: None if is_offline else self.edge.tell_position()),
            (1.00, self.edge.welcome if is_offline else self.edge.step),
        ]
        chance = self.random.random()
        next(act for below, act in acts if chance < below)()

    def _listen(self) -> None:
        pattern = self.random.choice(PATTERNS)
        if pattern not in self.heard:
            sink = Recorder()
            last = self.random.choice([None, self.random.randint(1, 5)])
            self.heard[pattern] = self.edge.talk.subscribe(pattern, sink, last), sink

    def _stop(self) -> None:
        pattern = self.random.choice(PATTERNS)
        if pattern in self.heard:
            self.edge.talk.unsubscribe(*self.heard.pop(pattern))


@given(st.integers(0, 2**32))
def test_each_event_once_and_in_order_whatever_is_lost(seed: int) -> None:
    life = Round(seed)
    life.run()
    for pattern, (_, sink) in life.heard.items():
        began_after = life.edge.began_after.get(pattern, 0)
        topics = enumerate(life.edge.topics, 1)
        wanted = [n for n, topic in topics if n > began_after and topic_matches(pattern, topic)]
        offsets = [offset or 0 for offset in sink.offsets]
        history = sorted({offset for offset in offsets if offset <= began_after})
        assert offsets == [*history, *wanted], pattern
        assert sink.errors == []
