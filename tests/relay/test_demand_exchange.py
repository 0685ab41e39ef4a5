"""Edges, relay and emitters agree on the watched topics, whatever is lost, doubled or overtaken."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from edge.core.hub.demand_log import DemandLog
from emitters.core.watched_topics import WatchedTopics
from relay.core.demand import LEASE_S, Demand
from relay.demand_service import DemandService
from relay.wire.demand import pack_digests, topic_digest
from relay.wire.demand_messages import DemandReply, DemandRequest, WatchedReply, WatchedRequest
from relay.wire.notices import DemandNotice, unpack_notice

TOPICS = [f"live:{number}" for number in range(12)]
DIGESTS = {topic_digest(topic): topic for topic in TOPICS}
STEP_S = 0.3
FATES = st.sampled_from(["arrives", "lost", "doubled"])


@dataclass
class Peer:
    """A connection on which messages may be lost, doubled, and overtaken by others."""

    identity: bytes
    requests: list[tuple[int, object]] = field(default_factory=list)
    answers: list[tuple[int, object]] = field(default_factory=list)
    number: int = 0
    """Of the last request. The shells ignore the replies to all others."""

    def ask(self, request: object) -> None:
        self.number += 1
        self.requests.append((self.number, request))

    def send(self, now: float) -> None:
        """Send what is due."""
        raise NotImplementedError

    def receive(self, number: int, message: object, now: float) -> None:
        """Take a reply or a notice."""
        raise NotImplementedError


class EdgePeer(Peer):
    """A worker of an edge."""

    def __init__(self, number: int) -> None:
        super().__init__(bytes([number]) * 16)
        self.log = DemandLog()
        self.watched: set[str] = set()

    def send(self, now: float) -> None:
        report = self.log.report(now)
        if report is not None:
            self.ask(
                DemandRequest(
                    id=self.number,
                    edge=self.identity,
                    after=report.after,
                    version=report.version,
                    watch=pack_digests(report.watch),
                    unwatch=pack_digests(report.unwatch),
                )
            )

    def receive(self, number: int, message: object, now: float) -> None:
        assert isinstance(message, DemandReply)
        if number == self.number:
            self.log.take_reply(message.version, now)


class EmitterPeer(Peer):
    """A connected emitter that needs the demand."""

    def __init__(self, number: int) -> None:
        super().__init__(b"emitter-%d" % number)
        self.topics = WatchedTopics()
        self.topics.names("live:0")

    def send(self, now: float) -> None:
        question = self.topics.question(now)
        if question is not None:
            epoch, after, cursor = question.epoch, question.after, question.cursor
            self.ask(WatchedRequest(id=self.number, epoch=epoch, after=after, cursor=cursor))

    def receive(self, number: int, message: object, now: float) -> None:
        if isinstance(message, DemandNotice):
            self.topics.take_notice(message, now)
        elif number == self.number:
            assert isinstance(message, WatchedReply)
            self.topics.take_reply(message, now)

    @property
    def watched(self) -> set[str]:
        return {topic for topic in TOPICS if self.topics.names(topic)}


class Exchange(RuleBasedStateMachine):
    """Two edges, a relay and two emitters."""

    @initialize(kept_changes=st.sampled_from([1, 3, 1000]), page_topics=st.integers(1, 20))
    def begin(self, kept_changes: int, page_topics: int) -> None:
        """With few kept changes and small pages, emitters often need all topics, page by page."""
        self.kept_changes, self.page_topics = kept_changes, page_topics
        self.now = 100.0
        self.edges = [EdgePeer(number) for number in (1, 2)]
        self.emitters = [EmitterPeer(number) for number in (1, 2)]
        self.killed = 2
        self.epoch = 0
        self.start_relay()

    @property
    def peers(self) -> list[EdgePeer | EmitterPeer]:
        return [*self.edges, *self.emitters]

    def start_relay(self) -> None:
        self.epoch += 1
        demand = Demand(self.epoch, self.kept_changes)
        self.service = DemandService(demand, self.tell, self.now, self.page_topics)

    def tell(self, identity: bytes, frame: bytes) -> bool:
        notice = unpack_notice(frame)
        for emitter in self.emitters:
            if emitter.identity == identity:
                emitter.answers.append((0, notice))
        return True

    @rule(which=st.integers(0, 1), topics=st.sets(st.sampled_from(TOPICS), min_size=1))
    def toggle(self, which: int, topics: set[str]) -> None:
        edge = self.edges[which]
        edge.watched ^= topics
        for topic in topics:
            if topic in edge.watched:
                edge.log.watch(topic)
            else:
                edge.log.unwatch(topic)

    @rule(which=st.integers(0, 1), seldom=st.integers(0, 3))
    def edge_is_killed_and_another_one_starts(self, which: int, seldom: int) -> None:
        if not seldom:
            self.killed += 1
            self.edges[which] = EdgePeer(self.killed)

    @rule(seldom=st.integers(0, 5), is_noticed=st.booleans())
    def relay_is_restarted(self, seldom: int, is_noticed: bool) -> None:
        if seldom:
            return
        self.start_relay()
        for edge in self.edges if is_noticed else ():
            edge.log.begin_anew()

    @rule(which=st.integers(0, 1), seldom=st.integers(0, 3))
    def emitter_loses_the_relay(self, which: int, seldom: int) -> None:
        if not seldom:
            self.emitters[which].topics.relay_lost()

    @rule(steps=st.integers(1, 4))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            self.now += STEP_S
            self.service.tick(self.now)

    @rule(steps=st.integers(1, 3))
    def everything_arrives(self, steps: int) -> None:
        for _ in range(steps):
            self.time_passes(1)
            for peer in self.peers:
                self.serve(peer)

    def serve(self, peer: "EdgePeer | EmitterPeer") -> None:
        """All messages of one peer arrive."""
        peer.send(self.now)
        for _ in range(4):
            while peer.requests:
                self.answer(peer, *peer.requests.pop(0))
            while peer.answers:
                self.take(peer, *peer.answers.pop(0))
            peer.send(self.now)

    @rule(which=st.integers(0, 3))
    def send(self, which: int) -> None:
        self.peers[which].send(self.now)

    @rule(
        which=st.integers(0, 3),
        fate=FATES,
        at=st.integers(0, 5),
    )
    def request(self, which: int, fate: str, at: int) -> None:
        peer = self.peers[which]
        self.meet(peer.requests, fate, at, lambda *message: self.answer(peer, *message))

    @rule(
        which=st.integers(0, 3),
        fate=FATES,
        at=st.integers(0, 5),
    )
    def reply(self, which: int, fate: str, at: int) -> None:
        peer = self.peers[which]
        self.meet(peer.answers, fate, at, lambda *message: self.take(peer, *message))

    def take(self, peer: "EdgePeer | EmitterPeer", number: int, message: object) -> None:
        peer.receive(number, message, self.now)

    def meet(
        self,
        messages: list[tuple[int, object]],
        fate: str,
        at: int,
        deliver: Callable[[int, object], None],
    ) -> None:
        """A message of the first few meets its fate."""
        if not messages:
            return
        index = at % len(messages)
        message = messages[index] if fate == "doubled" else messages.pop(index)
        if fate != "lost":
            deliver(*message)

    def answer(self, peer: Peer, number: int, request: object) -> None:
        match request:
            case DemandRequest():
                peer.answers.append((number, self.service.report(request, self.now)))
            case WatchedRequest():
                peer.answers.append((number, self.service.answer(peer.identity, request)))
            case _:
                raise AssertionError(request)
        self.service.tick(self.now)

    def teardown(self) -> None:
        if hasattr(self, "service"):
            self.settle()

    def settle(self) -> None:
        """When messages arrive again, everybody agrees within the lease and a few seconds."""
        self.everything_arrives(int((LEASE_S + 8) / STEP_S))
        watched = set[str]().union(*(edge.watched for edge in self.edges))
        for emitter in self.emitters:
            assert emitter.watched == watched


TestExchange = Exchange.TestCase
TestExchange.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
