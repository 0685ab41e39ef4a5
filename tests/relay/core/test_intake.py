"""Whatever comes in is accounted for: relayed, malformed or refused, each under its name."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from relay.core.emitters import Cursor, Emitters
from relay.core.intake import Intake
from relay.core.stats import RelayCounters
from relay.wire.envelope import Envelope, pack_envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Header, pack_header
from relay.wire.topics import decode_topic

ID = b"e" * 16
NOW_MS = 1_790_000_000_000
Frames = list[bytes]


def payload(kind: str = "event") -> bytes:
    return pack_envelope(Envelope("any", {"n": 1}, "alice", "manager-1", 5, "id-1"), kind)


def tracked(topic: str, sequence: int, epoch: int = 5) -> Frames:
    """An event of an emitter of ours."""
    frame = topic.encode()
    header = pack_header(Header(ID, epoch, sequence))
    return [frame, header, payload(decode_topic(frame).kind)]


class Entrance:
    """An intake with the state it decides by; the emitter `ID` has said hello."""

    def __init__(self) -> None:
        self.emitters = Emitters(())
        self.emitters.admit(Cursor(ID, "manager-1", 5, 0), b"peer", lambda _: False)
        self.stats = RelayCounters()
        self.intake = Intake(("event", "task"), self.emitters, self.stats, lambda: "new-id")

    def take(self, *messages: Frames) -> None:
        """Take messages as the relay does."""
        for frames in messages:
            try:
                self.intake.take(frames, NOW_MS)
            except WireError as error:
                self.stats.malformed[error.reason] += 1

    def end_batch(self, *, succeeds: bool = True) -> None:
        """What becomes of the batch, as the relay says it."""
        intake = self.intake
        self.stats.relayed.update(taken.topic.kind for taken in intake.live)
        if succeeds:
            for stream, run in intake.runs.items():
                self.stats.relayed[stream] += len(run)
            self.emitters.commit()
        else:
            self.emitters.roll_back()
            intake.count_lost_batch()
        intake.clear()

    def runs(self) -> dict[str, list[str]]:
        """The topics that wait for the commit, by stream."""
        return {
            stream: [taken.topic.text for taken in run] for stream, run in self.intake.runs.items()
        }

    def accounted(self) -> int:
        stats = self.stats
        return sum(map(Counter.total, (stats.relayed, stats.malformed, stats.refused)))


def test_events_are_gathered_by_stream_in_the_order_they_came() -> None:
    entrance = Entrance()
    entrance.take(
        tracked("event:a", 1), tracked("task:1", 2), tracked("event:b", 3), tracked("task:1", 4)
    )
    assert entrance.runs() == {"event": ["event:a", "event:b"], "task": ["task:1", "task:1"]}
    assert entrance.intake.live == []
    assert entrance.intake.gathered_bytes == 2 * len(payload()) + 2 * len(payload("task"))


def test_an_event_is_kept_as_it_came() -> None:
    entrance = Entrance()
    frames = tracked("event:a", 1)
    entrance.take(frames)
    [taken] = entrance.intake.runs["event"]
    assert [taken.frame, taken.header, taken.payload] == frames
    assert taken.topic == decode_topic(b"event:a")
    assert taken.envelope == unpack_envelope(frames[2], "event")


def test_a_plain_event_is_completed_and_has_no_header() -> None:
    entrance = Entrance()
    entrance.take([b"event:plain", b"\x81\xa1n\x01"])
    [taken] = entrance.intake.runs["event"]
    expected = Envelope("event", {"n": 1}, None, "", NOW_MS, "new-id")
    assert (taken.header, taken.envelope) == (b"", expected)
    assert unpack_envelope(taken.payload, "event") == expected


def test_live_values_wait_for_no_commit() -> None:
    entrance = Entrance()
    entrance.take(tracked("resource-monitor:a", 0), [b"resource-monitor:b", b"\x80"])
    assert [taken.topic.text for taken in entrance.intake.live] == [
        "resource-monitor:a",
        "resource-monitor:b",
    ]
    assert (entrance.intake.runs, entrance.intake.gathered_bytes) == ({}, 0)


def test_sequence_0_is_not_tracked_whoever_sends_it() -> None:
    entrance = Entrance()
    entrance.take([b"event:x", pack_header(Header(b"s" * 16, 1, 0)), payload()])
    [taken] = entrance.intake.runs["event"]
    assert taken.header == b""


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (tracked("event:x", 1), "duplicate"),
        (tracked("event:x", 3), "out_of_sequence"),
        (tracked("event:x", 2, epoch=4), "not_admitted"),
        ([b"event:x", pack_header(Header(b"s" * 16, 5, 2)), payload()], "not_admitted"),
    ],
)
def test_what_is_refused_is_counted_by_reason(frames: Frames, reason: str) -> None:
    entrance = Entrance()
    entrance.take(tracked("event:first", 1))
    entrance.end_batch()
    entrance.take(frames)
    assert (entrance.intake.runs, entrance.stats.refused) == ({}, {reason: 1})


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
def test_what_is_malformed_raises_and_is_not_gathered(frames: Frames, reason: str) -> None:
    entrance = Entrance()
    with pytest.raises(WireError) as caught:
        entrance.intake.take(frames, NOW_MS)
    assert caught.value.reason == reason
    assert (entrance.intake.runs, entrance.intake.live) == ({}, [])


def test_a_malformed_event_uses_up_its_number() -> None:
    """It would be malformed for ever, and everything behind it would wait."""
    entrance = Entrance()
    topic, header, _ = tracked("event:x", 1)
    entrance.take([topic, header, b"\xc1"], tracked("event:y", 2))
    assert entrance.runs() == {"event": ["event:y"]}
    assert [moved.sequence for moved in entrance.emitters.cursors()] == [2]
    assert entrance.stats.malformed == {"invalid_envelope": 1}


class TestWithoutAJournal:
    """While nothing can be journaled."""

    def test_tracked_events_stay_with_their_emitter(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take(tracked("event:x", 1), tracked("task:1", 2))
        assert (entrance.intake.runs, entrance.emitters.cursors()) == ({}, [])
        assert entrance.stats.refused == {"journal_unavailable": 2}
        entrance.intake.journaling = True
        entrance.take(tracked("event:x", 1))
        assert entrance.runs() == {"event": ["event:x"]}

    def test_the_first_event_afterwards_shows_the_gap(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take(tracked("event:x", 1))
        entrance.intake.journaling = True
        entrance.take(tracked("event:x", 2))
        assert entrance.stats.refused == {"journal_unavailable": 1, "out_of_sequence": 1}
        assert len(entrance.emitters.take_resend_requests()) == 1

    def test_plain_events_are_lost_and_counted(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take([b"event:x", b"\x80"], [b"event:x", b"\xc1"])
        assert entrance.intake.runs == {}
        assert entrance.stats.refused == {"best_effort_drop": 1}
        assert entrance.stats.malformed == {"invalid_envelope": 1}

    def test_live_values_pass(self) -> None:
        entrance = Entrance()
        entrance.intake.journaling = False
        entrance.take(tracked("resource-monitor:a", 0))
        assert len(entrance.intake.live) == 1
        assert not entrance.stats.refused

    def test_a_batch_that_could_not_be_journaled_is_counted(self) -> None:
        entrance = Entrance()
        entrance.take(tracked("event:x", 1), tracked("task:1", 2), [b"event:plain", b"\x80"])
        entrance.end_batch(succeeds=False)
        assert entrance.stats.refused == {"journal_unavailable": 2, "best_effort_drop": 1}
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
        assert entrance.stats.received == entrance.accounted() + waiting
        entrance.end_batch(succeeds=data.draw(st.booleans(), label="commit succeeds"))
        assert entrance.stats.received == entrance.accounted()
