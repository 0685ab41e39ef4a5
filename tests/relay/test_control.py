"""`ControlService` answers every frame, right or wrong."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.call_service import CallService
from relay.control import (
    MAX_COUNTER_NAME_CHARS,
    MAX_REPORTED_COUNTERS,
    MAX_REPORTS,
    MAX_REPORTS_BYTES,
    ControlService,
    PassingOn,
)
from relay.core.emitters import Cursor, KnownEmitter, SequenceVerdict
from relay.core.permission import UNLIMITED, PeerIdentity, PeerList, Rights
from relay.core.proofs import PROOF_BYTES
from relay.core.retained import task_key
from relay.core.retention import Limits
from relay.demand_service import DemandService
from relay.journal.batch import JournalBatch, Run
from relay.journal.journal import Journal
from relay.journal.replayer import PublishedJournal
from relay.replay import PIECE_EVENTS, Replay
from relay.state import SharedState
from relay.wire import control
from relay.wire.calls import CallRequest, ResultRequest, ServeRequest
from relay.wire.control import (
    MAX_REQUEST_ITEMS,
    PROTOCOL_VERSION,
    AccountReply,
    AccountRequest,
    ErrorReply,
    Heartbeat,
    HelloReply,
    HelloRequest,
    ReplayReply,
    ReplayRequest,
    Reply,
    Request,
    RetainedReply,
    RetainedRequest,
    StatsReply,
    StatsRequest,
    pack_message,
    unpack_reply,
)
from relay.wire.control_message import MAX_PAGE_BYTES, MAX_PROOF_BYTES
from relay.wire.demand_messages import DemandRequest, WatchedRequest
from relay.wire.header import Header, event_checksum, unpack_stamp
from relay.wire.peers import ListedPeer, PeerRole
from tests.relay.journal.journals import (
    EMITTER_ID,
    NOW_MS,
    batch,
    begin_epoch,
    event,
    open_journal,
)
from tests.relay.wire.strategies import frames_like
from tests.relay.wire.vectors import case_name, vectors

UPTIME_S = 12.3456789
STARTED_AT = 1_790_000_000_123
PEER = b"peer-1"


class RelayParts:
    """A control service with its state. The peers in `connected` are reached."""

    def __init__(self, journal: Journal) -> None:
        self._writable = journal
        self.journal = PublishedJournal(journal.path, journal.state, begin_epoch(journal))
        state = SharedState.of(self.journal, journal.cursors(), 30.0)
        self.retained = state.retained
        self.emitters = state.emitters
        self.counters = state.counters
        self.intake = state.intake
        self.connected: set[bytes] = set()
        demand = DemandService(state.demand, lambda peer, frame: True, 0.0)
        passing_on = PassingOn(demand, CallService(lambda peer, frame: True))
        self.service = ControlService(
            state, 0.5, STARTED_AT, lambda: UPTIME_S, self._reach, passing_on
        )

    def ask(self, request: Request, peer: bytes = PEER, rights: Rights = UNLIMITED) -> Reply:
        return self.answer(peer, pack_message(request), rights)

    def answer(self, peer: bytes, frame: bytes, rights: Rights = UNLIMITED) -> Reply:
        """As the loop does."""
        answer = self.service.answer(peer, frame, rights)
        while isinstance(answer, Replay):
            answer = self.service.go_on(answer) or answer
        return answer

    def append(self, batch: JournalBatch) -> None:
        """Events are journaled and published."""
        self._writable.append(batch)
        self.journal.update(self._writable.state)

    def retire_all(self) -> None:
        """Retention removes all rows but the newest."""
        self._writable.retire(Limits(0, 0), NOW_MS + 10**9)
        self.journal.update(self._writable.state)

    def forget_emitters(self) -> None:
        """Every emitter was silent for long."""
        assert self._writable.forget_silent_emitters(2**40)
        self.journal.update(self._writable.state)

    def stats(self) -> dict[str, Any]:
        reply = self.ask(StatsRequest(id=9))
        assert isinstance(reply, StatsReply)
        return reply.stats

    def _reach(self, emitter: KnownEmitter) -> bool:
        return emitter.peer in self.connected


@contextmanager
def parts_in(directory: Path, events: int = 0) -> Iterator[RelayParts]:
    """An parts whose journal has so many events, in rows of three."""
    with closing(open_journal(directory / "journal.db")) as journal:
        for first in range(1, events, 3):
            journal.append(batch(first, 3, relayed_at=NOW_MS + first))
        yield RelayParts(journal)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[RelayParts]:
    with parts_in(tmp_path) as parts:
        yield parts


def hello(
    epoch: int = 5, acknowledged: int | None = 0, emitter_id: bytes = EMITTER_ID, id: int = 3
) -> HelloRequest:
    return HelloRequest(
        id=id,
        role="emitter",
        name="manager-1",
        emitter_id=emitter_id,
        emitter_epoch=epoch,
        acknowledged=acknowledged,
    )


class TestRollback:
    """A peer that has received more than the journal holds proves a rollback: a new epoch."""

    @pytest.fixture
    def parts(self, tmp_path: Path) -> Iterator[RelayParts]:
        """Nine events in rows of three, in a journal that an earlier process began."""
        with parts_in(tmp_path, events=9):
            pass
        with parts_in(tmp_path) as parts:
            self.epoch = parts.journal.epoch
            yield parts

    def checksum(self, parts: RelayParts, offset: int) -> int:
        [(topic, stamp, envelope)] = parts.journal.read("event", offset - 1, 1, 1)
        return event_checksum(unpack_stamp(stamp).relayed_at, topic, envelope)

    def edge_says(self, parts: RelayParts, epoch: int, offset: int, checksum: int | None) -> int:
        """Say hello as an edge; return the epoch of the reply."""
        heads = {"event": (offset, checksum), "unknown": (5, 5)}
        request = HelloRequest(id=3, role="edge", name="edge-1", epoch=epoch, heads=heads)
        reply = parts.ask(request)
        assert isinstance(reply, HelloReply)
        return reply.epoch

    def test_an_edge_with_our_events_changes_nothing(self, parts: RelayParts) -> None:
        for offset in (1, 5, 9):
            for checksum in (self.checksum(parts, offset), None):
                assert self.edge_says(parts, self.epoch, offset, checksum) == self.epoch
        assert self.edge_says(parts, self.epoch, 0, None) == self.epoch

    @pytest.mark.parametrize(("offset", "checksum"), [(10, None), (2**63 - 1, 1), (9, 1), (4, 1)])
    def test_an_edge_with_other_events_proves_it(
        self, parts: RelayParts, offset: int, checksum: int | None
    ) -> None:
        epoch = self.edge_says(parts, self.epoch, offset, checksum)
        assert epoch > self.epoch
        beat = parts.service.heartbeat()
        assert (beat.previous, beat.began) == (self.epoch, {"event": 9, "task": 0})
        assert parts.stats()["rollbacks"] == 1
        assert self.edge_says(parts, self.epoch, 10, None) == epoch, "that epoch is over"

    def test_an_edge_of_another_epoch_proves_nothing(self, parts: RelayParts) -> None:
        assert self.edge_says(parts, self.epoch - 1, 10, None) == self.epoch

    def test_an_event_that_retention_removed_proves_nothing(self, parts: RelayParts) -> None:
        parts.retire_all()
        assert self.edge_says(parts, self.epoch, 4, 1) == self.epoch

    def claim(
        self,
        parts: RelayParts,
        request: HelloRequest,
        proven_under: int | None = None,
        epoch: int | None = None,
    ) -> HelloReply:
        """Say hello in `epoch`, with the proof that the relay has given in another one."""
        proof = None
        if proven_under is not None:
            assert request.emitter_id is not None
            assert request.emitter_epoch is not None
            assert request.acknowledged is not None
            proof = parts.journal.proofs.of(
                proven_under, request.emitter_id, request.emitter_epoch, request.acknowledged
            )
        reply = parts.ask(request.model_copy(update={"proof": proof, "epoch": epoch}))
        assert isinstance(reply, HelloReply)
        return reply

    @pytest.mark.parametrize("epoch_ago", [0, 1, None])
    def test_an_emitter_that_was_acknowledged_more_proves_it(
        self, parts: RelayParts, epoch_ago: int | None
    ) -> None:
        """Also if it names no epoch, or the one before, in which it has said hello."""
        epoch = None if epoch_ago is None else self.epoch - epoch_ago
        self.claim(parts, hello(acknowledged=9), self.epoch, epoch)
        assert parts.journal.epoch == self.epoch
        reply = self.claim(parts, hello(acknowledged=11), self.epoch, epoch)
        assert (reply.sequence, reply.epoch > self.epoch) == (11, True)
        again = self.claim(parts, hello(acknowledged=14), reply.epoch)
        assert again.epoch == reply.epoch, "its peers know already"
        assert parts.stats()["lost_by_rollback"] == 5

    @pytest.mark.parametrize("emitter_id", [EMITTER_ID, b"n" * 16])
    @pytest.mark.parametrize("emitter_epoch", [5, 6])
    @pytest.mark.parametrize("proof", [None, b"", bytes(PROOF_BYTES), b"x" * MAX_PROOF_BYTES])
    def test_who_has_no_proof_goes_on_and_proves_nothing(
        self,
        parts: RelayParts,
        emitter_id: bytes,
        emitter_epoch: int,
        proof: bytes | None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        request = hello(emitter_epoch, 11, emitter_id)
        for epoch in (self.epoch, self.epoch - 1, None):
            reply = parts.ask(request.model_copy(update={"proof": proof, "epoch": epoch}))
            assert isinstance(reply, HelloReply)
            assert (reply.sequence, reply.epoch) == (11, self.epoch)
            assert reply.proof is None, "nothing was committed up to there"
        assert (parts.stats()["lost_by_rollback"], parts.stats()["rollbacks"]) == (0, 0)
        assert parts.emitters.take_progress() == []
        header = Header(emitter_id, emitter_epoch, 12)
        assert parts.emitters.advance(header) is SequenceVerdict.TAKE
        [line] = [each for each in caplog.messages if "no proof" in each]
        assert "'manager-1' says that" in line
        assert parts.stats()["unproven"] == 1

    def test_a_proof_is_of_no_use_to_another_emitter_or_for_another_number(
        self, parts: RelayParts
    ) -> None:
        proof = parts.journal.proofs.of(self.epoch, EMITTER_ID, 5, 11)
        for request in (hello(5, 11, b"n" * 16), hello(5, 12), hello(6, 11)):
            update = {"proof": proof, "epoch": self.epoch}
            assert isinstance(parts.ask(request.model_copy(update=update)), HelloReply)
        assert parts.journal.epoch == self.epoch
        assert parts.stats()["lost_by_rollback"] == 0

    def test_a_reply_proves_what_the_journal_has(self, parts: RelayParts) -> None:
        reply = self.claim(parts, hello(acknowledged=4))
        assert reply.sequence == 9
        assert reply.proof == parts.journal.proofs.of(self.epoch, EMITTER_ID, 5, 9)

    @pytest.mark.parametrize(("epoch", "has_proof"), [(2**64 - 2, False), (6, True)])
    def test_an_epoch_of_the_future_has_no_proof(
        self, parts: RelayParts, epoch: int, has_proof: bool
    ) -> None:
        """With another clock its emitter may come back behind it, as if events were lost."""
        parts.ask(hello(epoch))
        parts.emitters.advance(Header(EMITTER_ID, epoch, 1))
        parts.emitters.commit(parts.emitters.take_progress())
        reply = parts.ask(hello(epoch, 1))
        assert isinstance(reply, HelloReply)
        assert (reply.sequence, reply.proof is not None) == (1, has_proof)

    def test_who_is_refused_loses_nothing(self, parts: RelayParts) -> None:
        parts.ask(hello(epoch=6))
        parts.connected.add(PEER)
        proof = parts.journal.proofs.of(self.epoch, EMITTER_ID, 7, 3)
        request = hello(7, 3).model_copy(update={"proof": proof, "epoch": self.epoch})
        for _ in range(2):
            assert isinstance(parts.ask(request, b"peer-2"), ErrorReply)
        assert parts.stats()["lost_by_rollback"] == 0
        assert parts.journal.epoch == self.epoch

    def test_listed_peers_have_a_proof_of_their_own_id(self, parts: RelayParts) -> None:
        [first, second] = [Rights(name, PeerRole.EMITTER) for name in ("first", "second")]
        proof = parts.journal.proofs.of(self.epoch, first.own_id(EMITTER_ID), 5, 11)
        request = hello(acknowledged=11).model_copy(update={"proof": proof})
        parts.service.answer(PEER, pack_message(request), second)
        assert parts.journal.epoch == self.epoch
        parts.service.answer(PEER, pack_message(request), first)
        assert parts.journal.epoch > self.epoch

    @pytest.mark.parametrize(
        ("emitter_id", "emitter_epoch"), [(b"n" * 16, 1), (EMITTER_ID, 6)], ids=["new", "restarted"]
    )
    def test_an_emitter_of_which_the_journal_has_nothing_proves_it(
        self, parts: RelayParts, emitter_id: bytes, emitter_epoch: int
    ) -> None:
        def say_hello(acknowledged: int, epoch: int) -> HelloReply:
            request = hello(emitter_epoch, acknowledged, emitter_id)
            return self.claim(parts, request, epoch, epoch)

        reply = say_hello(5, self.epoch)
        assert (reply.sequence, reply.epoch > self.epoch) == (5, True)
        assert parts.stats()["lost_by_rollback"] == 5
        assert say_hello(5, reply.epoch).epoch == reply.epoch
        [progress] = parts.emitters.take_progress()
        assert (progress.sequence, progress.has_moved) == (5, True), "to be known at the next start"

    @pytest.mark.parametrize(("acknowledged", "epoch_ago"), [(0, 0), (5, 1), (5, None)])
    def test_a_new_emitter_without_events_in_this_epoch_proves_nothing(
        self, parts: RelayParts, acknowledged: int, epoch_ago: int | None
    ) -> None:
        """One that does not know the epoch may have a spool from before another rollback."""
        epoch = None if epoch_ago is None else self.epoch - epoch_ago
        reply = self.claim(parts, hello(1, acknowledged, b"n" * 16), epoch, epoch)
        assert (reply.sequence, reply.epoch) == (acknowledged, self.epoch)

    def test_an_emitter_that_the_journal_may_have_forgotten_proves_nothing(
        self, parts: RelayParts
    ) -> None:
        parts.forget_emitters()
        reply = self.claim(parts, hello(1, 5, b"n" * 16), self.epoch, self.epoch)
        assert reply.epoch == self.epoch

    def test_an_emitter_that_was_acknowledged_in_another_epoch_begins_none(
        self, parts: RelayParts
    ) -> None:
        """This epoch has begun because its events were lost; they are counted."""
        earlier = self.epoch - 1
        assert self.claim(parts, hello(acknowledged=11), earlier, earlier).epoch == self.epoch
        assert parts.stats()["lost_by_rollback"] == 2

    def test_also_in_the_epoch_before_this_one_without_its_name(self, parts: RelayParts) -> None:
        present = self.edge_says(parts, self.epoch, 10, None)
        reply = self.claim(parts, hello(acknowledged=11), self.epoch, present)
        assert reply.epoch == present
        assert parts.stats()["lost_by_rollback"] == 2

    @pytest.mark.parametrize(
        ("role", "said"), [(None, "emitter"), ("edge", "edge"), ("edge", "emitter")]
    )
    def test_edges_and_unlisted_peers_may_have_heads(
        self, parts: RelayParts, role: str | None, said: str
    ) -> None:
        assert self.heads_of(parts, role, said).status == "success"
        assert parts.journal.epoch > self.epoch

    @pytest.mark.parametrize("role", ["emitter", "tool"])
    def test_another_peer_has_no_heads(self, parts: RelayParts, role: str) -> None:
        reply = self.heads_of(parts, role, role)
        assert isinstance(reply, ErrorReply)
        assert (reply.code, reply.message) == ("forbidden", "'peer' is no edge, and has no heads")
        assert parts.counters.control_requests["forbidden"] == 1
        assert parts.journal.epoch == self.epoch

    def heads_of(self, parts: RelayParts, role: str | None, said: str) -> Reply:
        """Say hello as `said`, with an event that the journal does not have."""
        heads = {"event": (10, None)}
        request = HelloRequest.model_validate(
            {"id": 3, "role": said, "name": "x", "epoch": self.epoch, "heads": heads}
        )
        rights = Rights("peer", None if role is None else PeerRole(role))
        return parts.answer(PEER, pack_message(request), rights)

    def test_it_begins_where_the_process_began(self, parts: RelayParts) -> None:
        """Offsets that this process has given out may be among those that were given out twice."""
        parts.append(batch(10, 3))
        self.edge_says(parts, self.epoch, 13, None)
        assert parts.service.heartbeat().began == {"event": 9, "task": 0}

    def test_the_next_process_keeps_the_epoch(self, parts: RelayParts, tmp_path: Path) -> None:
        epoch = self.edge_says(parts, self.epoch, 10, None)
        began = parts.service.heartbeat().began
        parts._writable.close()
        with parts_in(tmp_path) as again:
            beat = again.service.heartbeat()
            assert (again.journal.epoch, beat.previous, beat.began) == (epoch, self.epoch, began)


class TestHello:
    """The first request of every peer."""

    def test_the_reply_tells_an_edge_how_to_begin(self, tmp_path: Path) -> None:
        with parts_in(tmp_path, events=6) as parts:
            reply = parts.ask(HelloRequest(id=3, role="edge", name="edge-1"))
            assert reply == HelloReply(
                id=3,
                epoch=parts.journal.epoch,
                journaled_kinds=("event", "task"),
                tips={"event": 6, "task": 0},
                heartbeat_s=0.5,
            )
            [emitter] = parts.emitters
            assert emitter.peer is None, "an edge is no emitter"

    @pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1])
    def test_another_protocol_version_is_told_which_one_is_spoken(
        self, parts: RelayParts, version: int
    ) -> None:
        request = hello().model_copy(update={"protocol": version})
        assert parts.ask(request) == ErrorReply(
            id=3,
            code="unsupported_protocol",
            message=f"this relay speaks protocol {PROTOCOL_VERSION}, not {version}",
        )
        assert list(parts.emitters) == []

    @pytest.mark.parametrize(("acknowledged", "sequence"), [(None, 6), (0, 6), (6, 6), (9, 9)])
    def test_an_emitter_learns_how_far_the_journal_is(
        self, tmp_path: Path, acknowledged: int | None, sequence: int
    ) -> None:
        with parts_in(tmp_path, events=6) as parts:
            reply = parts.ask(hello(acknowledged=acknowledged))
            assert isinstance(reply, HelloReply)
            assert reply.sequence == sequence
            assert (
                parts.emitters.advance(Header(EMITTER_ID, 5, sequence + 1)) is SequenceVerdict.TAKE
            )
            [emitter] = parts.emitters
            assert emitter.peer == PEER

    def test_a_stale_process_is_refused(self, parts: RelayParts) -> None:
        parts.ask(hello(epoch=6))
        assert parts.ask(hello(epoch=5)) == ErrorReply(
            id=3,
            code="stale_epoch",
            message="a newer process has taken over the spool of 'manager-1'",
        )

    def test_a_second_process_is_refused_until_the_first_is_gone(self, parts: RelayParts) -> None:
        parts.ask(hello(epoch=5))
        parts.connected.add(PEER)
        second = hello(epoch=6)
        assert parts.ask(second, b"peer-2") == ErrorReply(
            id=3,
            code="emitter_in_use",
            message="another live process has the spool of 'manager-1'",
        )
        parts.connected.clear()
        assert isinstance(parts.ask(second, b"peer-2"), HelloReply)


class TestReplay:
    """Pages of the journal."""

    @pytest.mark.parametrize(
        ("after", "limit", "expected"),
        [(0, 4096, [1, 2, 3, 4, 5, 6]), (4, 4096, [5, 6]), (1, 2, [2, 3]), (6, 1, [])],
    )
    def test_it_brings_the_events_after_an_offset(
        self, tmp_path: Path, after: int, limit: int, expected: list[int]
    ) -> None:
        with parts_in(tmp_path, events=6) as parts:
            reply = parts.ask(ReplayRequest(id=8, stream="event", after=after, limit=limit))
            assert isinstance(reply, ReplayReply)
            assert [unpack_stamp(stamp).offset for _, stamp, _ in reply.items] == expected
            assert (reply.id, reply.epoch) == (8, parts.journal.epoch)
            assert (reply.low, reply.tip) == (1, 6)

    def test_low_tells_how_far_retention_has_come(self, tmp_path: Path) -> None:
        with parts_in(tmp_path, events=6) as parts:
            parts.retire_all()
            reply = parts.ask(ReplayRequest(id=8, stream="event", after=0))
            assert isinstance(reply, ReplayReply)
            assert [unpack_stamp(stamp).offset for _, stamp, _ in reply.items] == [4, 5, 6]
            assert (reply.low, reply.tip) == (4, 6)

    @pytest.mark.parametrize("size", [300_000, 2**20 - 500])
    def test_a_reply_has_about_1_mib(self, parts: RelayParts, size: int) -> None:
        run = Run(1, NOW_MS, [event(number, padding=size) for number in range(1, 6)])
        parts.append(JournalBatch({"event": run}))
        reply = parts.ask(ReplayRequest(id=8, stream="event", after=0))
        assert isinstance(reply, ReplayReply)
        assert len(reply.items) == MAX_PAGE_BYTES // size

    def test_a_long_reply_is_read_in_pieces(self, parts: RelayParts) -> None:
        parts.append(batch(1, 2 * PIECE_EVENTS))
        request = ReplayRequest(id=8, stream="event", after=0)
        answer = parts.service.answer(PEER, pack_message(request))
        assert isinstance(answer, Replay)
        assert not answer.is_complete
        assert len(answer.reply().items) == PIECE_EVENTS
        reply = parts.ask(request)
        assert isinstance(reply, ReplayReply)
        offsets = [unpack_stamp(stamp).offset for _, stamp, _ in reply.items]
        assert offsets == list(range(1, 2 * PIECE_EVENTS + 1))

    @pytest.mark.parametrize(("max_bytes", "count"), [(1, 1), (250_000, 2), (2**20, 5)])
    def test_a_reply_has_the_bytes_that_were_asked_for_but_an_event_at_least(
        self, parts: RelayParts, max_bytes: int, count: int
    ) -> None:
        run = Run(1, NOW_MS, [event(number, padding=100_000) for number in range(1, 6)])
        parts.append(JournalBatch({"event": run}))
        reply = parts.ask(ReplayRequest(id=8, stream="event", after=0, max_bytes=max_bytes))
        assert isinstance(reply, ReplayReply)
        assert len(reply.items) == count

    @pytest.mark.parametrize("after", [2**63 - 1, 2**63, 2**64 - 1])
    def test_nothing_follows_the_greatest_offset(self, parts: RelayParts, after: int) -> None:
        parts.append(batch(1))
        assert parts.ask(ReplayRequest(id=8, stream="event", after=after)) == ReplayReply(
            id=8, epoch=parts.journal.epoch, items=(), low=1, tip=1
        )

    @pytest.mark.parametrize("stream", ["resource-monitor", "", "stream_1", "event'"])
    def test_another_kind_has_no_stream(self, parts: RelayParts, stream: str) -> None:
        assert parts.ask(ReplayRequest(id=8, stream=stream, after=0)) == ErrorReply(
            id=8,
            code="unknown_stream",
            message=f"{stream!r} is not a stream of this relay",
        )

    def test_an_unreadable_journal_is_an_error(self, parts: RelayParts) -> None:
        parts.append(batch(1))
        parts._writable._db.execute("ALTER TABLE stream_1 RENAME TO elsewhere")
        reply = parts.ask(ReplayRequest(id=8, stream="event", after=0))
        assert isinstance(reply, ErrorReply)
        assert (reply.id, reply.code) == (8, "journal_unavailable")


def test_retained_events_are_given_by_prefix(parts: RelayParts) -> None:
    items = {
        topic: (topic.encode(), b"stamp", b"envelope")
        for topic in ("resource-monitor:a", "resource-monitor:b", "task:1")
    }
    for topic in ("resource-monitor:a", "resource-monitor:b"):
        parts.retained.keep_live(topic, items[topic])
    parts.retained.keep_task(task_key("task:1", "alice"), items["task:1"], is_finished=False)
    request = control.RetainedRequest(id=4, prefix="resource-monitor:")
    assert parts.ask(request) == RetainedReply(
        id=4, items=(items["resource-monitor:a"], items["resource-monitor:b"])
    )
    first = control.RetainedRequest(id=4, prefix="resource-monitor:", max_bytes=30)
    assert parts.ask(first) == RetainedReply(
        id=4, items=(items["resource-monitor:a"],), next=b"resource-monitor:a"
    )
    exact = control.RetainedRequest(id=5, prefix="task:1", exact=True)
    assert parts.ask(exact) == RetainedReply(id=5, items=(items["task:1"],))


@pytest.mark.parametrize("inherited", [None, 7])
def test_hello_tells_which_events_are_of_an_earlier_process(
    parts: RelayParts, inherited: int | None
) -> None:
    parts.ask(hello().model_copy(update={"inherited": inherited}))
    [emitter] = parts.emitters
    assert emitter.inherited == (inherited or 0)


class TestAccount:
    """The counters that emitters report."""

    def account(self, **changes: object) -> AccountRequest:
        fields = {
            "id": 6,
            "emitter_id": EMITTER_ID,
            "emitter_epoch": 5,
            "counters": {"accepted": 3, "outbox_full": 1},
        }
        return AccountRequest.model_validate(fields | changes)

    def reported(self, parts: RelayParts) -> dict[str, int]:
        [emitter] = parts.emitters
        return emitter.reported

    def test_the_last_one_counts(self, parts: RelayParts) -> None:
        parts.ask(hello())
        assert parts.ask(self.account()) == AccountReply(id=6)
        assert parts.ask(self.account(counters={"accepted": 4})) == AccountReply(id=6)
        assert self.reported(parts) == {"accepted": 4}

    @pytest.mark.parametrize("changes", [{"emitter_epoch": 4}, {"emitter_id": b"s" * 16}])
    def test_that_of_another_process_is_not_kept(
        self, parts: RelayParts, changes: dict[str, object]
    ) -> None:
        parts.ask(hello())
        assert parts.ask(self.account(**changes)) == AccountReply(id=6)
        assert self.reported(parts) == {}

    def test_it_tells_where_the_emitter_is_now(self, parts: RelayParts) -> None:
        """Its control connection may be another one than that of its hello."""
        parts.ask(hello())
        parts.ask(self.account(), b"another")
        [emitter] = parts.emitters
        assert emitter.peer == b"another"

    def test_it_is_bounded(self, parts: RelayParts) -> None:
        parts.ask(hello())
        most = {f"counter {number}": 1 for number in range(MAX_REPORTED_COUNTERS)}
        assert parts.ask(self.account(counters=most)) == AccountReply(id=6)
        reply = parts.ask(self.account(counters=most | {"one more": 1}))
        assert isinstance(reply, ErrorReply)
        assert (reply.id, reply.code) == (6, "bad_request")
        reply = parts.ask(self.account(counters={"x" * (MAX_COUNTER_NAME_CHARS + 1): 1}))
        assert isinstance(reply, ErrorReply)
        assert (reply.id, reply.code) == (6, "bad_request")
        assert self.reported(parts) == most

    def test_the_reports_of_all_emitters_are_bounded(self, parts: RelayParts) -> None:
        counters = {f"{number:é>{MAX_COUNTER_NAME_CHARS}}": 2**64 - 1 for number in range(32)}
        ids = [number.to_bytes(16) for number in range(MAX_REPORTS + 1)]
        for emitter_id in ids:
            parts.ask(hello(emitter_id=emitter_id))
            parts.ask(self.account(emitter_id=emitter_id, counters={"accepted": 1}))
        kept = [each.emitter_id for each in parts.emitters if each.reported]
        assert kept == ids[1:], "that of the emitter that reported longest ago is forgotten"
        for emitter_id in ids:
            parts.ask(self.account(emitter_id=emitter_id, counters=counters))
        size = sum(len(msgpack.packb(each.reported)) for each in parts.emitters)
        assert MAX_REPORTS_BYTES // 2 < size < MAX_REPORTS_BYTES
        frame = pack_message(parts.ask(StatsRequest(id=9)))
        assert len(frame) < 2 * MAX_REPORTS_BYTES


@pytest.mark.parametrize(
    "fields",
    [
        {"op": "account", "counters": {str(number): 1 for number in range(MAX_REQUEST_ITEMS + 1)}},
        {"op": "hello", "heads": {str(number): (1, 1) for number in range(MAX_REQUEST_ITEMS + 1)}},
        {"op": "stats", "later": [0] * (MAX_REQUEST_ITEMS + 1)},
    ],
    ids=lambda fields: fields["op"],
)
def test_a_request_of_many_items_is_refused_before_they_are_read(
    parts: RelayParts, fields: dict[str, object]
) -> None:
    reply = parts.answer(PEER, msgpack.packb({"id": 1} | fields))
    assert isinstance(reply, ErrorReply)
    assert reply.code == "bad_request"
    assert f"({MAX_REQUEST_ITEMS})" in reply.message


def test_a_sum_that_msgpack_cannot_carry_is_shown_as_its_greatest_integer(
    parts: RelayParts,
) -> None:
    for emitter_id in (b"a" * 16, b"b" * 16):
        request = hello(5, 2**64 - 1, emitter_id)
        proof = parts.journal.proofs.of(parts.journal.epoch, emitter_id, 5, 2**64 - 1)
        parts.ask(request.model_copy(update={"proof": proof}))
    assert parts.emitters.lost_by_rollback == 2 * (2**64 - 1)
    reply = parts.ask(StatsRequest(id=5))
    assert isinstance(unpack_reply(pack_message(reply), StatsRequest), StatsReply)
    assert parts.stats()["lost_by_rollback"] == 2**64 - 1


def test_stats_tell_of_counters_streams_and_emitters(tmp_path: Path) -> None:
    with parts_in(tmp_path, events=6) as parts:
        parts.counters.received = 5
        parts.intake.journaling = False
        proof = parts.journal.proofs.of(parts.journal.epoch, EMITTER_ID, 5, 8)
        parts.ask(hello(acknowledged=8).model_copy(update={"proof": proof}))
        parts.retire_all()
        reply = parts.ask(control.StatsRequest(id=5))
        assert isinstance(reply, StatsReply)
        shown = reply.stats
        stored = parts.journal.streams["event"].stored_bytes
        assert shown["epoch"] == parts.journal.epoch
        assert (shown["uptime_s"], shown["journaling"]) == (12.346, False)
        assert (shown["received"], shown["lost_by_rollback"]) == (5, 2)
        assert shown["control_requests"] == {"hello": 1, "stats": 1}
        assert shown["streams"] == {
            "event": {"low": 4, "tip": 6, "stored_bytes": stored, "retention": 3, "damaged": 0},
            "task": {"low": 1, "tip": 0, "stored_bytes": 0, "retention": 0, "damaged": 0},
        }
        [emitter] = shown["emitters"]
        assert (emitter["name"], emitter["epoch"], emitter["sequence"]) == ("manager-1", 5, 8)
        unpack_reply(pack_message(reply), control.StatsRequest)


def test_the_heartbeat_tells_where_the_streams_are(tmp_path: Path) -> None:
    with parts_in(tmp_path, events=6) as parts:
        parts.retire_all()
        expected = Heartbeat(
            tips={"event": 6, "task": 0},
            low={"event": 4, "task": 1},
            started_at=STARTED_AT,
            journaling=True,
            heartbeat_s=0.5,
            start={"event": 6, "task": 0},
        )
        assert parts.service.heartbeat() == expected
        parts.intake.journaling = False
        assert parts.service.heartbeat() == expected.model_copy(update={"journaling": False})


@pytest.mark.parametrize("case", vectors("control")["invalid_requests"], ids=case_name)
def test_a_frame_that_is_no_request_is_refused_with_an_error(
    parts: RelayParts, case: dict[str, str]
) -> None:
    reply = parts.answer(PEER, bytes.fromhex(case["hex"]))
    assert isinstance(reply, ErrorReply)
    assert (reply.id, reply.code) == (0, "bad_request")
    assert reply.message
    assert parts.counters.control_requests == {"refused": 1}


@pytest.fixture(scope="module")
def shared_journal() -> Iterator[Journal]:
    """A journal for a test of many examples that only read."""
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(open_journal(Path(directory) / "journal.db")) as journal,
    ):
        journal.append(batch(1, 3))
        yield journal


@given(
    frame=frames_like(
        *(msgpack.unpackb(bytes.fromhex(case["hex"])) for case in vectors("control")["requests"])
    ),
    request_type=st.sampled_from(
        [AccountRequest, HelloRequest, ReplayRequest, control.RetainedRequest, control.StatsRequest]
    ),
)
def test_any_frame_gets_a_reply_that_can_be_sent(
    shared_journal: Journal, frame: bytes, request_type: type[Request]
) -> None:
    parts = RelayParts(shared_journal)
    reply = parts.answer(PEER, frame)
    packed = pack_message(reply)
    if isinstance(reply, ErrorReply):
        assert unpack_reply(packed, request_type) == reply
    assert sum(parts.counters.control_requests.values()) == 1


def test_hello_of_many_names_is_kept_apart(parts: RelayParts) -> None:
    for number in range(3):
        parts.ask(hello(emitter_id=bytes([number]) * 16))
    assert {each.emitter_id for each in parts.emitters} == {
        bytes([number]) * 16 for number in range(3)
    }
    assert Cursor(EMITTER_ID, "manager-1", 5, 0) not in parts._writable.cursors()


def rights(role: PeerRole, name: str = "peer", **given: tuple[str, ...]) -> Rights:
    key = name.encode().ljust(32)
    peers = PeerList.of([ListedPeer(name, role, key, **given)])  # type: ignore[arg-type]
    found = peers.rights_of(PeerIdentity(key))
    assert found is not None
    return found


ONE_OF_EACH: dict[str, Request] = {
    "hello": HelloRequest(id=7, role="edge", name="x"),
    "account": AccountRequest(id=7, emitter_id=EMITTER_ID, emitter_epoch=5, counters={}),
    "call": CallRequest(
        id=7, method="m", params=b"\x80", username="alice", role="user", timeout_s=1.0
    ),
    "demand": DemandRequest(id=7, edge=bytes(16), after=0, version=1),
    "replay": ReplayRequest(id=7, stream="event", after=0),
    "result": ResultRequest(id=7, call=1, result=b"\x80"),
    "retained": RetainedRequest(id=7, prefix=""),
    "serve": ServeRequest(id=7, name="m", methods=("restart",)),
    "stats": StatsRequest(id=7),
    "watched": WatchedRequest(id=7, epoch=0, after=0),
}
FORBIDDEN = {
    PeerRole.EMITTER: {"call", "demand", "replay", "retained", "stats"},
    PeerRole.EDGE: {"stats"},
    PeerRole.TOOL: {"account", "call", "demand", "result", "serve"},
}


class TestRights:
    """A listed peer asks for what its role needs, and speaks for its own emitters alone."""

    @pytest.fixture
    def nine(self, tmp_path: Path) -> Iterator[RelayParts]:
        """A relay that was restarted with nine events."""
        with parts_in(tmp_path / "nine", events=9):
            pass
        with parts_in(tmp_path / "nine") as parts:
            yield parts

    @pytest.mark.parametrize("role", FORBIDDEN)
    @pytest.mark.parametrize("operation", ONE_OF_EACH)
    def test_a_request_of_another_role_is_forbidden(
        self, parts: RelayParts, role: PeerRole, operation: str
    ) -> None:
        request = ONE_OF_EACH[operation]
        if isinstance(request, HelloRequest):
            request = request.model_copy(update={"role": role.value})
        asking = rights(role, "peer-7", methods=("restart",))
        reply = parts.ask(request, rights=asking)
        is_forbidden = operation in FORBIDDEN[role]
        if is_forbidden:
            assert reply == ErrorReply(
                id=7, code="forbidden", message=f"'peer-7' may not ask for {operation!r}"
            )
        else:
            assert getattr(reply, "code", "") != "forbidden"
        assert parts.counters.control_requests == {
            operation: 1,
            **({"forbidden": 1} if is_forbidden else {}),
        }

    @pytest.mark.parametrize("role", FORBIDDEN)
    def test_nobody_says_hello_as_another_role(self, parts: RelayParts, role: PeerRole) -> None:
        for other in {"emitter", "edge", "tool"} - {role.value}:
            request = HelloRequest(id=7, role=other, name="x")  # type: ignore[arg-type]
            reply = parts.ask(request, rights=rights(role))
            if (role, other) == (PeerRole.EDGE, "emitter"):
                assert isinstance(reply, HelloReply), "an edge publishes as well"
            else:
                expected = ErrorReply(id=7, code="forbidden", message=f"'peer' is no {other}")
                assert reply == expected

    def test_methods_that_are_not_allowed_are_not_registered(self, parts: RelayParts) -> None:
        asking = rights(PeerRole.EMITTER, methods=("backup.*",))
        for methods, named in ((("backup.now", "restart"), "restart"), (("backup",), "backup")):
            reply = parts.ask(ServeRequest(id=7, name="m", methods=methods), rights=asking)
            assert isinstance(reply, ErrorReply)
            assert (reply.code, reply.message) == ("forbidden", f"'peer' may not answer {named!r}")
        call = CallRequest(
            id=8, method="backup.now", params=b"\x80", username="a", role="user", timeout_s=1.0
        )
        unknown = parts.ask(call, b"edge")
        assert isinstance(unknown, ErrorReply)
        assert unknown.code == "unknown_method", "none of the refused request"
        parts.ask(ServeRequest(id=9, name="m", methods=("backup.now",)), rights=asking)
        assert not isinstance(parts.ask(call, b"edge"), ErrorReply)

    def test_two_peers_with_one_emitter_id_do_not_disturb_each_other(
        self, parts: RelayParts
    ) -> None:
        """The second one neither takes the first over nor is kept out by it."""
        first, second = (rights(PeerRole.EMITTER, name) for name in ("a", "b"))
        for peer, asking in ((b"peer-a", first), (b"peer-b", second)):
            parts.connected.add(peer)
            reply = parts.ask(hello(epoch=9), peer, asking)
            assert isinstance(reply, HelloReply)
            assert reply.sequence == 0
        own = [parts.emitters.get(asking.own_id(EMITTER_ID)) for asking in (first, second)]
        assert [each and each.peer for each in own] == [b"peer-a", b"peer-b"]
        assert parts.emitters.get(EMITTER_ID) is None

    def test_an_account_is_that_of_the_peers_own_emitter(self, parts: RelayParts) -> None:
        first, second = (rights(PeerRole.EMITTER, name) for name in ("a", "b"))
        parts.ask(hello(), b"peer-a", first)
        account = AccountRequest(
            id=7, emitter_id=EMITTER_ID, emitter_epoch=5, counters={"emitted": 3}
        )
        for peer, asking, expected in ((b"peer-b", second, {}), (b"peer-a", first, {"emitted": 3})):
            assert isinstance(parts.ask(account, peer, asking), AccountReply)
            victim = parts.emitters.get(first.own_id(EMITTER_ID))
            assert victim is not None
            assert (victim.reported, victim.peer) == (expected, b"peer-a")

    @pytest.mark.parametrize(
        ("role", "request_"),
        [
            (
                PeerRole.TOOL,
                {
                    "role": "tool",
                    "emitter_id": EMITTER_ID,
                    "emitter_epoch": 5,
                    "acknowledged": 99,
                },
            ),
            (PeerRole.TOOL, {"role": "tool", "heads": {"event": (99, 1)}}),
            (PeerRole.EMITTER, {"role": "emitter", "heads": {"event": (99, 1)}}),
            (
                PeerRole.EMITTER,
                {"role": "emitter", "emitter_id": EMITTER_ID, "heads": {"event": (99, 1)}},
            ),
        ],
    )
    def test_who_has_no_events_proves_no_loss_of_them(
        self, nine: RelayParts, role: PeerRole, request_: dict[str, Any]
    ) -> None:
        """The relay would begin a new epoch, and every client would start again."""
        epoch, known = nine.journal.epoch, len(list(nine.emitters))
        request = HelloRequest(id=7, name="x", epoch=epoch, **request_)
        reply = nine.ask(request, rights=rights(role))
        assert isinstance(reply, ErrorReply)
        assert (reply.code, reply.message.partition(" is no ")[0]) == ("forbidden", "'peer'")
        assert nine.journal.epoch == epoch
        assert len(list(nine.emitters)) == known
        told = nine.ask(request)
        assert isinstance(told, HelloReply)
        # An edge's word counts where everybody may do everything, and an emitter's with a proof.
        assert (told.epoch > epoch) is ("heads" in request_)

    def test_an_edges_events_count(self, nine: RelayParts) -> None:
        epoch = nine.journal.epoch
        request = HelloRequest(id=7, role="edge", name="x", epoch=epoch, heads={"event": (99, 1)})
        told = nine.ask(request, rights=rights(PeerRole.EDGE))
        assert isinstance(told, HelloReply)
        assert told.epoch > epoch

    def test_an_emitter_is_told_what_it_may_publish(self, parts: RelayParts) -> None:
        asking = rights(PeerRole.EMITTER, publish=("event:*",), sources=("m",))
        told = parts.ask(hello(), rights=asking)
        assert isinstance(told, HelloReply)
        assert (told.publish, told.sources, told.users) == (("event:*",), ("m",), ())
        others = parts.ask(HelloRequest(id=7, role="tool", name="x"), rights=rights(PeerRole.TOOL))
        for reply in (others, parts.ask(hello(), b"peer-2")):
            assert isinstance(reply, HelloReply)
            assert (reply.publish, reply.sources, reply.users) == (None, None, None)

    def test_what_cannot_be_read_is_refused_before_rights_count(self, parts: RelayParts) -> None:
        reply = parts.answer(PEER, b"\xc1", rights(PeerRole.TOOL))
        assert isinstance(reply, ErrorReply)
        assert reply.code == "bad_request"
