"""`ControlDesk` answers every frame, right or wrong."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.control import MAX_REPORTED_COUNTERS, ControlDesk
from relay.core.emitters import Cursor, Emitter, Emitters, Verdict
from relay.core.intake import Intake
from relay.core.retained import Item, RetainedValues
from relay.core.retention import Limits
from relay.core.stats import RelayCounters
from relay.journal.journal import Batch, Journal, Run
from relay.wire import control
from relay.wire.control import (
    MAX_PAGE_BYTES,
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
    StatsReply,
    pack_message,
    unpack_reply,
)
from relay.wire.header import Header, unpack_stamp
from relay.wire.topics import parse_topic
from tests.relay.journal.journals import EMITTER_ID, NOW_MS, batch, entry, open_journal
from tests.relay.wire.strategies import frames_like
from tests.relay.wire.vectors import case_name, vectors

UPTIME_S = 12.3456789
STARTED_AT = 1_790_000_000_123
PEER = b"peer-1"


class Office:
    """A control desk with the state it speaks for. The emitters in `connected` are reached."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.retained = RetainedValues()
        self.emitters = Emitters(journal.cursors())
        self.counters = RelayCounters()
        self.intake = Intake(("event", "task"), self.emitters, self.counters, lambda: "new-id")
        self.connected: set[bytes] = set()
        self.desk = ControlDesk(
            journal,
            self.emitters,
            self.intake,
            self.retained,
            self.counters,
            0.5,
            STARTED_AT,
            lambda: UPTIME_S,
            self._is_connected,
        )

    def ask(self, request: Request, peer: bytes = PEER) -> Reply:
        return self.desk.answer(peer, pack_message(request))

    def _is_connected(self, emitter: Emitter) -> bool:
        return emitter.peer in self.connected


@contextmanager
def office_in(directory: Path, events: int = 0) -> Iterator[Office]:
    """An office whose journal has so many events, in rows of three."""
    with closing(open_journal(directory / "journal.db")) as journal:
        for first in range(1, events, 3):
            journal.append(batch(first, 3, relayed_at=NOW_MS + first))
        yield Office(journal)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with office_in(tmp_path) as office:
        yield office


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


class TestHello:
    """The first request of every peer."""

    def test_it_is_answered_with_what_a_peer_must_know(self, tmp_path: Path) -> None:
        with office_in(tmp_path, events=6) as office:
            reply = office.ask(HelloRequest(id=3, role="edge", name="edge-1"))
            assert reply == HelloReply(
                id=3,
                epoch=office.journal.epoch,
                journaled_kinds=("event", "task"),
                tips={"event": 6, "task": 0},
                heartbeat_s=0.5,
            )
            [emitter] = office.emitters
            assert emitter.peer is None, "an edge is no emitter"

    @pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1])
    def test_another_protocol_version_is_told_which_one_is_spoken(
        self, office: Office, version: int
    ) -> None:
        request = hello().model_copy(update={"protocol": version})
        assert office.ask(request) == ErrorReply(
            id=3,
            code="unsupported_protocol",
            message=f"this relay speaks protocol {PROTOCOL_VERSION}, not {version}",
        )
        assert list(office.emitters) == []

    @pytest.mark.parametrize(("acknowledged", "sequence"), [(None, 6), (0, 6), (6, 6), (9, 9)])
    def test_an_emitter_learns_how_far_the_journal_is(
        self, tmp_path: Path, acknowledged: int | None, sequence: int
    ) -> None:
        with office_in(tmp_path, events=6) as office:
            reply = office.ask(hello(acknowledged=acknowledged))
            assert isinstance(reply, HelloReply)
            assert reply.sequence == sequence
            assert office.emitters.judge(Header(EMITTER_ID, 5, sequence + 1)) is Verdict.TAKE
            [emitter] = office.emitters
            assert emitter.peer == PEER

    def test_a_stale_process_is_refused(self, office: Office) -> None:
        office.ask(hello(epoch=6))
        assert office.ask(hello(epoch=5)) == ErrorReply(
            id=3,
            code="stale_epoch",
            message="a newer process has taken over the name 'manager-1'",
        )

    def test_a_second_live_process_is_refused_until_the_first_is_gone(self, office: Office) -> None:
        office.ask(hello(epoch=5))
        office.connected.add(PEER)
        second = hello(epoch=6)
        assert office.ask(second, b"peer-2") == ErrorReply(
            id=3,
            code="emitter_in_use",
            message="another live process has the name 'manager-1'",
        )
        office.connected.clear()
        assert isinstance(office.ask(second, b"peer-2"), HelloReply)


class TestReplay:
    """Pages of the journal."""

    @pytest.mark.parametrize(
        ("after", "limit", "expected"),
        [(0, 4096, [1, 2, 3, 4, 5, 6]), (4, 4096, [5, 6]), (1, 2, [2, 3]), (6, 1, [])],
    )
    def test_it_brings_what_follows(
        self, tmp_path: Path, after: int, limit: int, expected: list[int]
    ) -> None:
        with office_in(tmp_path, events=6) as office:
            reply = office.ask(ReplayRequest(id=8, stream="event", after=after, limit=limit))
            assert isinstance(reply, ReplayReply)
            assert [unpack_stamp(stamp).offset for _, stamp, _ in reply.items] == expected
            assert (reply.id, reply.epoch) == (8, office.journal.epoch)
            assert (reply.low, reply.tip) == (1, 6)

    def test_what_retention_has_passed_is_told_by_low(self, tmp_path: Path) -> None:
        with office_in(tmp_path, events=6) as office:
            office.journal.retire(Limits(0, 0), NOW_MS + 10**9)
            reply = office.ask(ReplayRequest(id=8, stream="event", after=0))
            assert isinstance(reply, ReplayReply)
            assert [unpack_stamp(stamp).offset for _, stamp, _ in reply.items] == [4, 5, 6]
            assert (reply.low, reply.tip) == (4, 6)

    def test_a_reply_has_about_1_mib(self, office: Office) -> None:
        size = 300_000
        run = Run(1, NOW_MS, [entry(number, padding=size) for number in range(1, 6)])
        office.journal.append(Batch({"event": run}, [], []))
        reply = office.ask(ReplayRequest(id=8, stream="event", after=0))
        assert isinstance(reply, ReplayReply)
        assert len(reply.items) == MAX_PAGE_BYTES // size

    @pytest.mark.parametrize("after", [2**63 - 1, 2**63, 2**64 - 1])
    def test_nothing_follows_the_greatest_offset(self, office: Office, after: int) -> None:
        office.journal.append(batch(1))
        assert office.ask(ReplayRequest(id=8, stream="event", after=after)) == ReplayReply(
            id=8, epoch=office.journal.epoch, items=(), low=1, tip=1
        )

    @pytest.mark.parametrize("stream", ["resource-monitor", "", "stream_1", "event'"])
    def test_another_kind_has_no_stream(self, office: Office, stream: str) -> None:
        assert office.ask(ReplayRequest(id=8, stream=stream, after=0)) == ErrorReply(
            id=8,
            code="unknown_stream",
            message=f"{stream!r} is not a stream of this relay",
        )

    def test_a_journal_that_cannot_be_read_is_said(self, office: Office) -> None:
        office.journal.append(batch(1))
        office.journal._db.execute("UPDATE stream_1 SET events = x'c1'")
        reply = office.ask(ReplayRequest(id=8, stream="event", after=0))
        assert isinstance(reply, ErrorReply)
        assert (reply.id, reply.code) == (8, "journal_unavailable")


def test_retained_events_are_given_by_prefix(office: Office) -> None:
    items = {
        topic: Item(topic.encode(), b"stamp", b"envelope")
        for topic in ("resource-monitor:a", "resource-monitor:b", "task:1")
    }
    for topic in ("resource-monitor:a", "resource-monitor:b"):
        office.retained.keep_live(parse_topic(topic), items[topic])
    office.retained.keep_task(parse_topic("task:1"), items["task:1"], finished=False)
    request = control.RetainedRequest(id=4, prefix="resource-monitor:")
    assert office.ask(request) == RetainedReply(
        id=4, items=(items["resource-monitor:a"], items["resource-monitor:b"])
    )
    exact = control.RetainedRequest(id=5, prefix="task:1", exact=True)
    assert office.ask(exact) == RetainedReply(id=5, items=(items["task:1"],))


class TestAccount:
    """What emitters say of themselves."""

    def account(self, **changes: object) -> AccountRequest:
        fields = {
            "id": 6,
            "emitter_id": EMITTER_ID,
            "emitter_epoch": 5,
            "counters": {"accepted": 3, "outbox_full": 1},
        }
        return AccountRequest.model_validate(fields | changes)

    def reported(self, office: Office) -> dict[str, int]:
        [emitter] = office.emitters
        return emitter.reported

    def test_the_last_one_counts(self, office: Office) -> None:
        office.ask(hello())
        assert office.ask(self.account()) == AccountReply(id=6)
        assert office.ask(self.account(counters={"accepted": 4})) == AccountReply(id=6)
        assert self.reported(office) == {"accepted": 4}

    @pytest.mark.parametrize("changes", [{"emitter_epoch": 4}, {"emitter_id": b"s" * 16}])
    def test_that_of_another_process_is_not_kept(
        self, office: Office, changes: dict[str, object]
    ) -> None:
        office.ask(hello())
        assert office.ask(self.account(**changes)) == AccountReply(id=6)
        assert self.reported(office) == {}

    def test_it_is_bounded(self, office: Office) -> None:
        office.ask(hello())
        most = {f"counter {number}": 1 for number in range(MAX_REPORTED_COUNTERS)}
        assert office.ask(self.account(counters=most)) == AccountReply(id=6)
        reply = office.ask(self.account(counters=most | {"one more": 1}))
        assert isinstance(reply, ErrorReply)
        assert (reply.id, reply.code) == (6, "bad_request")
        assert self.reported(office) == most


def test_stats_tell_of_counters_streams_and_emitters(tmp_path: Path) -> None:
    with office_in(tmp_path, events=6) as office:
        office.counters.received = 5
        office.intake.journaling = False
        office.ask(hello(acknowledged=8))
        office.journal.retire(Limits(0, 0), NOW_MS + 10**9)
        reply = office.ask(control.StatsRequest(id=5))
        assert isinstance(reply, StatsReply)
        shown = reply.stats
        stored = office.journal.streams["event"].stored_bytes
        assert shown["epoch"] == office.journal.epoch
        assert (shown["uptime_s"], shown["journaling"]) == (12.346, False)
        assert (shown["received"], shown["lost_by_rollback"]) == (5, 2)
        assert shown["control_requests"] == {"hello": 1, "stats": 1}
        assert shown["streams"] == {
            "event": {"low": 4, "tip": 6, "stored_bytes": stored, "retention": 3},
            "task": {"low": 1, "tip": 0, "stored_bytes": 0, "retention": 0},
        }
        [emitter] = shown["emitters"]
        assert (emitter["name"], emitter["epoch"], emitter["sequence"]) == ("manager-1", 5, 8)
        unpack_reply(pack_message(reply), control.StatsRequest)


def test_the_heartbeat_tells_where_the_streams_are(tmp_path: Path) -> None:
    with office_in(tmp_path, events=6) as office:
        office.journal.retire(Limits(0, 0), NOW_MS + 10**9)
        expected = Heartbeat(
            tips={"event": 6, "task": 0},
            low={"event": 4, "task": 1},
            started_at=STARTED_AT,
            journaling=True,
        )
        assert office.desk.heartbeat() == expected
        office.intake.journaling = False
        assert office.desk.heartbeat() == expected.model_copy(update={"journaling": False})


@pytest.mark.parametrize("case", vectors("control")["invalid_requests"], ids=case_name)
def test_a_frame_that_is_no_request_is_refused_with_an_error(
    office: Office, case: dict[str, str]
) -> None:
    reply = office.desk.answer(PEER, bytes.fromhex(case["hex"]))
    assert isinstance(reply, ErrorReply)
    assert (reply.id, reply.code) == (0, "bad_request")
    assert reply.message
    assert office.counters.control_requests == {"refused": 1}


@pytest.fixture(scope="module")
def shared_journal() -> Iterator[Journal]:
    """For tests of many examples, none of which writes into it."""
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
    office = Office(shared_journal)
    reply = office.desk.answer(PEER, frame)
    packed = pack_message(reply)
    if isinstance(reply, ErrorReply):
        assert unpack_reply(packed, request_type) == reply
    assert sum(office.counters.control_requests.values()) == 1


def test_hello_of_many_names_is_kept_apart(office: Office) -> None:
    for number in range(3):
        office.ask(hello(emitter_id=bytes([number]) * 16))
    assert {each.emitter_id for each in office.emitters} == {
        bytes([number]) * 16 for number in range(3)
    }
    assert Cursor(EMITTER_ID, "manager-1", 5, 0) not in office.journal.cursors()
