"""Every message is counted as relayed, malformed or refused, each under its name."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from relay.core import intake as intake_module
from relay.core.counters import RelayCounters
from relay.core.emitters import Cursor, KnownEmitters
from relay.core.intake import MAX_BATCH_MESSAGES, ForbiddenEvent, Intake
from relay.core.permission import UNLIMITED, PeerIdentity, PeerList, Rights
from relay.wire.envelope import Envelope, pack_envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import SENT_AGAIN, Header, pack_header
from relay.wire.peers import ListedPeer, PeerRole
from relay.wire.topics import decode_topic

ID = b"e" * 16
NOW_MS = 1_790_000_000_000
Frames = list[bytes]
EVERYBODY = Envelope("any", {}, None, "m", 5, "id-1")


def payload(kind: str = "event", *, padding: int = 0) -> bytes:
    data = {"n": 1, "padding": "x" * max(0, padding - 200)}
    username = "alice" if kind == "task" else None
    return pack_envelope(Envelope("any", data, username, "manager-1", 5, "id-1"), kind)


def tracked(topic: str, sequence: int, epoch: int = 5) -> Frames:
    """An event of an emitter of ours."""
    frame = topic.encode()
    header = pack_header(Header(ID, epoch, sequence))
    return [frame, header, payload(decode_topic(frame).kind)]


class Entrance:
    """An intake with its emitters and counters; the emitter `ID` has said hello."""

    def __init__(self) -> None:
        self.emitters = KnownEmitters(())
        self.emitters.admit(Cursor(ID, "manager-1", 5, 0), b"peer", lambda _: False)
        self.counters = RelayCounters()
        self.intake = Intake(
            ("event", "task", "addressed"), self.emitters, self.counters, lambda: "new-id"
        )

    def take(self, *messages: Frames) -> None:
        """Take messages as the relay does."""
        for frames in messages:
            try:
                self.intake.take(frames, NOW_MS)
            except WireError as error:
                self.counters.malformed[error.reason] += 1

    def end_batch(self, *, succeeds: bool = True) -> None:
        """Commit the batch, or lose it, as the sequencer does."""
        intake = self.intake
        self.counters.relayed.update(taken.topic.kind for taken in intake.take_live())
        progress, runs = self.emitters.take_progress(), intake.take_runs()
        if succeeds:
            for stream, run in runs.items():
                self.counters.relayed[stream] += len(run)
            self.emitters.commit(progress)
        else:
            self.emitters.roll_back(progress)
            intake.count_lost(runs)

    def runs(self) -> dict[str, list[str]]:
        """The topics of the gathered events, by stream."""
        return {
            stream: [taken.topic.text for taken in run] for stream, run in self.intake.runs.items()
        }

    def accounted(self) -> int:
        counters = self.counters
        return sum(map(Counter.total, (counters.relayed, counters.malformed, counters.refused)))


def test_events_are_gathered_by_stream_in_the_order_they_came() -> None:
    entrance = Entrance()
    entrance.take(
        tracked("event:a", 1), tracked("task:1", 2), tracked("event:b", 3), tracked("task:1", 4)
    )
    assert entrance.runs() == {"event": ["event:a", "event:b"], "task": ["task:1", "task:1"]}
    assert entrance.intake.live == []
    assert entrance.intake.run_events == 4
    assert entrance.intake.run_bytes == 2 * len(payload()) + 2 * len(payload("task"))
    entrance.end_batch()
    assert (entrance.intake.run_events, entrance.intake.run_bytes) == (0, 0)


def test_an_event_is_kept_as_it_came() -> None:
    entrance = Entrance()
    frames = tracked("event:a", 1)
    entrance.take(frames)
    [taken] = entrance.intake.runs["event"]
    assert list(taken.frames) == frames
    assert taken.topic == decode_topic(b"event:a")


def test_a_plain_event_is_completed_and_has_no_header() -> None:
    entrance = Entrance()
    entrance.take([b"event:plain", b"\x81\xa1n\x01"])
    [taken] = entrance.intake.runs["event"]
    expected = Envelope("event", {"n": 1}, None, "", NOW_MS, "new-id")
    topic, header, envelope = taken.frames
    assert (topic, header) == (b"event:plain", b"")
    assert unpack_envelope(envelope, "event") == expected


def test_live_values_wait_for_no_commit() -> None:
    entrance = Entrance()
    entrance.take(tracked("resource-monitor:a", 0), [b"resource-monitor:b", b"\x80"])
    assert [taken.topic.text for taken in entrance.intake.live] == [
        "resource-monitor:a",
        "resource-monitor:b",
    ]
    assert entrance.intake.runs == {}


def test_sequence_0_is_not_tracked_whoever_sends_it() -> None:
    entrance = Entrance()
    entrance.take([b"event:x", pack_header(Header(b"s" * 16, 1, 0)), payload()])
    [taken] = entrance.intake.runs["event"]
    assert taken.frames[1] == b""


def test_a_live_value_may_have_a_number_of_its_emitter() -> None:
    entrance = Entrance()
    entrance.take(tracked("resource-monitor:a", 1), tracked("event:x", 2))
    assert len(entrance.intake.live) == 1
    assert entrance.runs() == {"event": ["event:x"]}


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (tracked("event:x", SENT_AGAIN), "out_of_sequence"),
        (tracked("resource-monitor:a", 1), "duplicate"),
        (tracked("event:x", 1), "duplicate"),
        (tracked("event:x", 3), "out_of_sequence"),
        (tracked("event:x", 2, epoch=4), "not_admitted"),
        ([b"event:x", pack_header(Header(b"s" * 16, 5, 2)), payload()], "not_admitted"),
    ],
)
def test_refused_events_are_counted_by_reason(frames: Frames, reason: str) -> None:
    entrance = Entrance()
    entrance.take(tracked("event:first", 1))
    entrance.end_batch()
    entrance.take(frames)
    assert (entrance.intake.runs, entrance.counters.refused) == ({}, {reason: 1})
    assert entrance.intake.useless == 0, "an honest emitter may send it"


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b"event:x"], "invalid_frame"),
        ([b"event:x", b"", b"", b""], "invalid_frame"),
        ([b"event:x", b"short", payload()], "invalid_frame"),
        ([b"no topic", payload()], "invalid_topic"),
        ([b"event:x", b"\xc1"], "invalid_envelope"),
        ([b"task:1", b"\x80"], "invalid_envelope"),
    ],
)
def test_a_malformed_message_raises_and_is_not_gathered(frames: Frames, reason: str) -> None:
    entrance = Entrance()
    with pytest.raises(WireError) as caught:
        entrance.intake.take(frames, NOW_MS)
    assert caught.value.reason == reason
    assert (entrance.intake.runs, entrance.intake.live) == ({}, [])
    assert entrance.intake.useless == 1


def test_a_malformed_event_uses_up_its_number() -> None:
    """Otherwise its emitter would send it for ever, and every later event would wait."""
    entrance = Entrance()
    topic, header, _ = tracked("event:x", 1)
    entrance.take([topic, header, b"\xc1"], tracked("event:y", 2))
    assert entrance.runs() == {"event": ["event:y"]}
    assert [moved.sequence for moved in entrance.emitters.take_progress()] == [2]
    assert entrance.counters.malformed == {"invalid_envelope": 1}


@pytest.mark.parametrize(("padding", "count"), [(0, MAX_BATCH_MESSAGES), (2**20 - 150, 5)])
def test_a_batch_is_full_in_count_or_in_bytes(padding: int, count: int) -> None:
    entrance = Entrance()
    found = []
    for number in range(1, count + 1):
        found.append(entrance.intake.is_full)
        header = pack_header(Header(ID, 5, number))
        entrance.take([b"event:x", header, payload(padding=padding)])
    assert not any(found)
    assert entrance.intake.is_full
    entrance.end_batch()
    assert not entrance.intake.is_full


def test_an_event_with_an_invalid_topic_uses_up_its_number() -> None:
    entrance = Entrance()
    _, header, body = tracked("event:x", 1)
    entrance.take([b"no topic", header, body], tracked("event:y", 2))
    assert entrance.runs() == {"event": ["event:y"]}
    assert entrance.counters.malformed == {"invalid_topic": 1}


def test_a_batch_is_full_at_its_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "MAX_BATCH_BYTES", 2 * len(payload()))
    entrance = Entrance()
    entrance.take(tracked("event:a", 1))
    assert not entrance.intake.is_full
    entrance.take(tracked("event:a", 2))
    assert entrance.intake.is_full


@pytest.mark.parametrize(
    ("topic", "status", "finishes"),
    [
        ("task:1", "in_progress", False),
        ("task:1", "success", True),
        ("task:1", "error", True),
        ("event:a", "success", False),
    ],
)
def test_the_last_update_of_a_task_is_marked(topic: str, status: str, finishes: bool) -> None:
    entrance = Entrance()
    kind = topic.partition(":")[0]
    username = "alice" if kind == "task" else None
    envelope = pack_envelope(Envelope("any", {"status": status}, username, "m", 5, "id"), kind)
    entrance.take([topic.encode(), envelope])
    [taken] = entrance.intake.runs[kind]
    assert taken.finishes_task is finishes


class TestWithoutAJournal:
    """The journal cannot be written."""

    def test_tracked_events_stay_with_their_emitter(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take(tracked("event:x", 1), tracked("task:1", 2))
        assert (entrance.intake.runs, entrance.emitters.take_progress()) == ({}, [])
        assert entrance.counters.refused == {"journal_unavailable": 2}
        entrance.intake.journaling = True
        entrance.take(tracked("event:x", 1))
        assert entrance.runs() == {"event": ["event:x"]}

    def test_tracked_events_are_asked_for_once_the_journal_is_back(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take(tracked("event:x", 1))
        entrance.emitters.request_dropped()
        assert [emitter.emitter_id for emitter in entrance.emitters.take_missing_events()] == [ID]

    def test_the_first_event_afterwards_shows_the_gap(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take(tracked("event:x", 1))
        entrance.intake.journaling = True
        entrance.take(tracked("event:x", 2))
        assert entrance.counters.refused == {"journal_unavailable": 1, "out_of_sequence": 1}
        assert len(entrance.emitters.take_missing_events()) == 1

    def test_plain_events_are_lost_and_counted(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take([b"event:x", b"\x80"], [b"event:x", b"\xc1"])
        assert entrance.intake.runs == {}
        assert entrance.counters.refused == {"best_effort_drop": 1}
        assert entrance.counters.malformed == {"invalid_envelope": 1}

    def test_live_values_pass(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take(tracked("resource-monitor:a", 0))
        assert len(entrance.intake.live) == 1
        assert not entrance.counters.refused

    def test_a_batch_that_could_not_be_journaled_is_counted(self) -> None:
        entrance = Entrance()
        entrance.take(tracked("event:x", 1), tracked("task:1", 2), [b"event:plain", b"\x80"])
        entrance.end_batch(succeeds=False)
        assert entrance.counters.refused == {"journal_unavailable": 2, "best_effort_drop": 1}
        entrance.take(tracked("event:x", 1))
        assert entrance.runs() == {"event": ["event:x"]}


messages: st.SearchStrategy[Callable[[int], Frames]] = st.one_of(
    st.builds(
        lambda topic, ahead: lambda at: tracked(topic, max(0, at + ahead)),
        st.sampled_from(["event:x", "task:1", "resource-monitor:a"]),
        st.integers(-2, 3),
    ),
    st.builds(
        lambda topic: lambda _: [topic, b"\x80"],
        st.sampled_from([b"event:x", b"task:1", b"resource-monitor:a", b"!heartbeat", b"\xff"]),
    ),
    st.builds(
        lambda frames: lambda _: frames, st.lists(st.binary(max_size=40), min_size=1, max_size=5)
    ),
    st.builds(
        lambda broken: lambda at: [b"event:x", pack_header(Header(ID, 5, at + 1)), broken],
        st.binary(max_size=5),
    ),
)


@given(st.data())
def test_every_message_is_in_exactly_one_count(data: DataObject) -> None:
    entrance = Entrance()
    for _ in range(data.draw(st.integers(1, 5), label="batches")):
        entrance.intake.journaling = data.draw(st.booleans(), label="journaling")
        for message in data.draw(st.lists(messages, max_size=8), label="messages"):
            [emitter] = entrance.emitters
            entrance.take(message(emitter.sequence))
        waiting = sum(map(len, entrance.intake.runs.values())) + len(entrance.intake.live)
        assert entrance.counters.received == entrance.accounted() + waiting
        entrance.end_batch(succeeds=data.draw(st.booleans(), label="commit succeeds"))
        assert entrance.counters.received == entrance.accounted()


@pytest.mark.parametrize("topic", ["event:a", "resource-monitor:a", "notice:", "notice:42"])
def test_what_a_plain_publisher_addresses_to_a_user_is_an_addressed_event(topic: str) -> None:
    """Of a stream as of a live topic: it is journaled, and nobody else may see it."""
    entrance = Entrance()
    envelope = Envelope("any", {"n": 1}, "alice", "m", 5, "id-1")
    entrance.take([topic.encode(), pack_envelope(envelope, topic.partition(":")[0])])
    assert not entrance.intake.live
    [taken] = entrance.intake.runs["addressed"]
    assert taken.topic.text == f"addressed:{topic}"
    assert taken.frames[0] == f"addressed:{topic}".encode()
    assert unpack_envelope(taken.frames[2], "addressed") == envelope


def test_an_addressed_event_without_a_user_is_malformed() -> None:
    entrance = Entrance()
    entrance.take([b"addressed:notice:42", pack_envelope(EVERYBODY, "notice")])
    assert entrance.counters.malformed == {"invalid_envelope": 1}


def once(topic: str, sequence: int, event_id: str = "once:a") -> Frames:
    """An event whose id counts once."""
    frames = tracked(topic, sequence)
    kind = decode_topic(frames[0]).kind
    frames[2] = pack_envelope(EVERYBODY._replace(id=event_id), kind)
    return frames


class TestOnce:
    def test_a_second_event_uses_its_number_up(self) -> None:
        entrance = Entrance()
        entrance.take(once("event:a", 1), once("event:b", 2), once("event:c", 3, "once:b"))
        assert entrance.runs() == {"event": ["event:a", "event:c"]}
        assert entrance.counters.refused == {"repeated": 1}
        entrance.end_batch()
        assert entrance.accounted() == entrance.counters.received == 3

    def test_a_plain_publisher_may_name_such_an_id_too(self) -> None:
        entrance = Entrance()
        plain = [b"event:a", once("event:a", 1)[2]]
        entrance.take(list(plain), list(plain))
        assert entrance.runs() == {"event": ["event:a"]}

    def test_a_live_value_is_taken_once_or_again(self) -> None:
        entrance = Entrance()
        entrance.take(once("resource-monitor:a", 0), once("resource-monitor:a", 0))
        entrance.take(once("resource-monitor:a", SENT_AGAIN))
        assert len(entrance.intake.live) == 2
        assert entrance.counters.refused == {"repeated": 1}

    def test_an_event_that_the_journal_refuses_is_not_taken(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take([b"event:a", once("event:a", 1)[2]])
        entrance.intake.journaling = True
        entrance.take(once("event:a", 1))
        assert entrance.runs() == {"event": ["event:a"]}


KEY = bytes(32)


def rights(role: PeerRole = PeerRole.EMITTER, **given: tuple[str, ...]) -> Rights:
    peers = PeerList.of([ListedPeer("peer", role, KEY, **given)])  # type: ignore[arg-type]
    found = peers.rights_of(PeerIdentity(KEY))
    assert found is not None
    return found


def event_of(topic: str, source: str, user: str | None, number: int | None = None) -> Frames:
    frame = topic.encode()
    kind = decode_topic(frame).kind
    packed = pack_envelope(Envelope("any", {}, user, source, 5, f"id-{number}"), kind)
    return (
        [frame, packed] if number is None else [frame, pack_header(Header(ID, 5, number)), packed]
    )


class TestRights:
    """An event of a listed peer is published if its topic, source and user are allowed."""

    peer = rights(publish=("event:a", "task:*", "live:*"), sources=("m",), users=("alice",))

    def entrance(self) -> Entrance:
        """An entrance that also knows the emitter `ID` of `peer`."""
        entrance = Entrance()
        cursor = Cursor(self.peer.own_id(ID), "m", 5, 0)
        entrance.emitters.admit(cursor, b"peer-2", lambda _: False)
        return entrance

    @pytest.mark.parametrize(
        ("topic", "source", "user", "field"),
        [
            ("event:ab", "m", None, "topic"),
            ("event:a:", "m", None, "topic"),
            ("addressed:event:b", "m", "alice", "topic"),
            ("edge-state:x", "m", None, "topic"),
            ("addressed:edge:x", "m", "alice", "topic"),
            ("event:a", "m2", None, "source"),
            ("task:1", "m", "bob", "username"),
            ("addressed:event:a", "m", "bob", "username"),
            ("live:x", "m2", None, "source"),
        ],
    )
    @pytest.mark.parametrize("is_numbered", [True, False])
    def test_a_forbidden_event_is_counted_and_not_gathered(
        self, topic: str, source: str, user: str | None, field: str, is_numbered: bool
    ) -> None:
        entrance = self.entrance()
        frames = event_of(topic, source, user, 1 if is_numbered else None)
        with pytest.raises(ForbiddenEvent) as refused:
            entrance.intake.take(frames, NOW_MS, self.peer)
        assert (refused.value.field, refused.value.topic) == (field, decode_topic(topic.encode()))
        own = Header(self.peer.own_id(ID), 5, 1)
        assert refused.value.header == (own if is_numbered else None)
        assert (entrance.intake.runs, entrance.intake.live) == ({}, [])
        assert entrance.counters.refused == {"forbidden": 1}
        assert entrance.intake.useless == 1
        assert str(refused.value).isprintable()

    @pytest.mark.parametrize(
        ("topic", "source", "user"),
        [
            ("event:a", "m", None),
            ("event:a", "", None),
            ("addressed:event:a", "m", "alice"),
            ("task:1", "m", "alice"),
            ("live:x", "m", None),
            ("live:", "m", None),
        ],
    )
    @pytest.mark.parametrize("is_numbered", [True, False])
    def test_an_allowed_event_is_gathered(
        self, topic: str, source: str, user: str | None, is_numbered: bool
    ) -> None:
        entrance = self.entrance()
        frames = event_of(topic, source, user, 1 if is_numbered else None)
        entrance.intake.take(frames, NOW_MS, self.peer)
        taken = [*entrance.intake.live, *(e for run in entrance.intake.runs.values() for e in run)]
        assert [each.topic.text for each in taken] == [topic]

    def test_a_plain_event_for_a_user_counts_under_its_own_topic(self) -> None:
        entrance = self.entrance()
        entrance.intake.take(event_of("event:a", "m", "alice"), NOW_MS, self.peer)
        assert entrance.runs() == {"addressed": ["addressed:event:a"]}
        with pytest.raises(ForbiddenEvent):
            entrance.intake.take(event_of("event:b", "m", "alice"), NOW_MS, self.peer)

    def test_a_forbidden_event_uses_its_number_up(self) -> None:
        """Otherwise its emitter would send it again for ever."""
        entrance = self.entrance()
        with pytest.raises(ForbiddenEvent):
            entrance.intake.take(event_of("event:b", "m", None, 1), NOW_MS, self.peer)
        entrance.intake.take(event_of("event:a", "m", None, 2), NOW_MS, self.peer)
        assert entrance.runs() == {"event": ["event:a"]}

    def test_numbers_of_one_peer_are_not_those_of_another(self) -> None:
        """Nor of everybody: the emitter `ID` of a peer without a name is a third one."""
        entrance = self.entrance()
        other = rights(publish=("*",), sources=("*",))
        other = Rights("other", other.role, other.publishing)
        entrance.intake.take(event_of("event:a", "m", None, 1), NOW_MS, other)
        assert entrance.counters.refused == {"not_admitted": 1}
        wrong = [b"event:\xff", *event_of("event:a", "m", None, 1)[1:]]
        with pytest.raises(WireError):
            entrance.intake.take(wrong, NOW_MS, other)
        for take in (self.peer, UNLIMITED):
            entrance.intake.take(event_of("event:a", "m", None, 1), NOW_MS, take)
        assert entrance.runs() == {"event": ["event:a", "event:a"]}
        assert entrance.counters.refused == {"not_admitted": 1}
        own = [taken.frames[1] for taken in entrance.intake.runs["event"]]
        assert own == [pack_header(Header(each, 5, 1)) for each in (self.peer.own_id(ID), ID)]

    def test_an_invalid_topic_uses_up_the_number_of_the_peers_own_emitter(self) -> None:
        entrance = self.entrance()
        wrong = [b"event:\xff", *event_of("event:a", "m", None, 1)[1:]]
        with pytest.raises(WireError):
            entrance.intake.take(wrong, NOW_MS, self.peer)
        entrance.intake.take(event_of("event:a", "m", None, 2), NOW_MS, self.peer)
        entrance.intake.take(event_of("event:a", "m", None, 1), NOW_MS)
        assert entrance.runs() == {"event": ["event:a", "event:a"]}

    def test_edges_alone_tell_edges(self) -> None:
        entrance = self.entrance()
        edge = rights(PeerRole.EDGE)
        entrance.intake.take(event_of("edge-state:x", "edge", None), NOW_MS, edge)
        entrance.intake.take(event_of("addressed:edge:x", "edge", "alice"), NOW_MS, edge)
        assert [each.topic.text for each in entrance.intake.live] == ["edge-state:x"]
        assert entrance.runs() == {"addressed": ["addressed:edge:x"]}
        with pytest.raises(ForbiddenEvent):
            entrance.intake.take(event_of("event:a", "edge", None), NOW_MS, edge)
