"""Events are published and acknowledged after their commit, and never without one."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.core import retained
from relay.core.emitters import Cursor
from relay.core.retained import topic_of
from relay.core.retention import Limits
from relay.journal.journal import SILENT_EMITTER_S, Journal, JournalUnavailable
from relay.shared import sqlite_file
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import (
    SENT_AGAIN,
    Header,
    Stamp,
    StampedFrames,
    pack_header,
    unpack_stamp,
)
from tests.relay.sequencing import UNLIMITED, Sequencing

ID = b"e" * 16
NOW_MS = 1_790_000_000_000


class RelayParts:
    """A sequencer with a real journal in `directory`, as the relay puts it together."""

    def __init__(self, directory: Path, limits: Limits = UNLIMITED) -> None:
        self.path = directory / "journal.db"
        self.parts = Sequencing(self.path, limits)
        self.journal = self.parts.journal
        self.writer = self.parts.writer
        self.published = self.parts.published
        self.sequencer = self.parts.sequencer
        state = self.parts.state
        self.emitters = state.emitters
        self.counters = state.counters
        self.retained = state.retained
        self.intake = state.intake
        self._sent = 0

    def admit(self) -> None:
        """The emitter says hello."""
        self._sent = self.emitters.admit(Cursor(ID, "m", 5, 0), b"peer", lambda _: False)

    def send(self, topic: str, *, status: str = "", padding: int = 0, event_id: str = "id") -> None:
        """Take the emitter's next event."""
        self._sent += 1
        data = {"status": status, "padding": "x" * padding}
        kind = topic.partition(":")[0]
        envelope = Envelope("any", data, "alice" if kind == "task" else None, "m", 5, event_id)
        payload = pack_envelope(envelope, kind)
        header = pack_header(Header(ID, 5, self._sent))
        self.intake.take([topic.encode(), header, payload], NOW_MS)

    def commit(self, now_ms: int = NOW_MS) -> tuple[list[tuple[bytes, Stamp]], list[int]]:
        """Commit; return the published topics and stamps, and the acknowledged numbers."""
        self.parts.clock.now = now_ms
        events, emitters = self.parts.commit()
        return (
            [(topic, unpack_stamp(stamp)) for topic, stamp, _envelope in events],
            [emitter.committed for emitter in emitters],
        )

    def maintain(self, now_ms: int = NOW_MS) -> None:
        """The time for a heartbeat has come."""
        self.parts.clock.now = now_ms
        self.writer.maintain()
        self.parts.settle()

    def forget_silent_emitters(self, now_ms: int) -> None:
        """Once in a while."""
        self.parts.clock.now = now_ms
        self.writer.forget_silent_emitters()
        self.parts.settle()

    def is_journaling(self) -> bool:
        return self.intake.journaling

    def read(self, stream: str) -> list[StampedFrames]:
        return self.published.read(stream, 0, 4096, 2**30)

    def close(self) -> None:
        self.parts.close()


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that somebody else holds stays held in these tests."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.02)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[RelayParts]:
    parts = RelayParts(tmp_path)
    parts.admit()
    try:
        yield parts
    finally:
        parts.close()


@pytest.fixture
def blocked(parts: RelayParts) -> Iterator[sqlite3.Connection]:
    """Another program's transaction on the journal, which cannot be written until it ends."""
    with closing(sqlite3.connect(parts.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_published_and_acknowledged_events_are_in_the_journal(parts: RelayParts) -> None:
    for topic in ("event:a", "task:1", "event:b"):
        parts.send(topic)
    published, acknowledged = parts.commit()
    epoch = parts.journal.epoch
    assert published == [
        (b"event:a", Stamp(epoch, 1, NOW_MS)),
        (b"event:b", Stamp(epoch, 2, NOW_MS)),
        (b"task:1", Stamp(epoch, 1, NOW_MS)),
    ]
    assert acknowledged == [3]
    assert [topic for topic, _, _ in parts.read("event")] == [b"event:a", b"event:b"]
    assert [topic for topic, _, _ in parts.read("task")] == [b"task:1"]
    assert parts.journal.cursors() == [Cursor(ID, "m", 5, 3)]
    assert parts.published.last_offsets == {"event": 2, "task": 1}
    assert parts.counters.relayed == {"event": 2, "task": 1}


def test_live_values_are_stamped_and_remembered_without_the_journal(
    parts: RelayParts, blocked: sqlite3.Connection
) -> None:
    assert parts.sequencer.stamp_live(NOW_MS) == []
    for topic in ("resource-monitor:a", "resource-monitor:b", "resource-monitor:a"):
        parts.intake.take([topic.encode(), b"\x80"], NOW_MS)
    events = parts.sequencer.stamp_live(NOW_MS)
    assert blocked.in_transaction
    assert [topic for topic, _, _ in events] == [
        b"resource-monitor:a",
        b"resource-monitor:b",
        b"resource-monitor:a",
    ]
    assert {unpack_stamp(stamp) for _, stamp, _ in events} == {
        Stamp(parts.journal.epoch, 0, NOW_MS)
    }
    assert [frames for _, frames in parts.retained.matching("")] == events[1:]
    assert parts.counters.relayed == {"resource-monitor": 3}


@pytest.mark.parametrize(
    ("emitted_at", "name", "is_taken"),
    [(4, "a", False), (5, "a", True), (6, "a", True), (5, "before", False), (6, "before", False)],
)
def test_a_value_that_is_sent_again_replaces_no_newer_one(
    parts: RelayParts, emitted_at: int, name: str, is_taken: bool
) -> None:
    """Of another emitter perhaps; the remembered one was emitted at 5."""
    topic = b"resource-monitor:a"

    def take(sequence: int, emitted_at: int, event_id: str) -> list[StampedFrames]:
        envelope = pack_envelope(Envelope("any", {}, None, "m", emitted_at, event_id), "any")
        parts.intake.take([topic, pack_header(Header(ID, 5, sequence)), envelope], NOW_MS)
        return parts.sequencer.stamp_live(NOW_MS)

    assert len(take(SENT_AGAIN, 1, "first")) == 1, "the relay remembers none"
    assert len(take(0, 9, "of a clock that is ahead")) == 1
    assert len(take(0, 5, "before")) == 1, "a new value is taken, whatever its clock says"
    assert len(take(SENT_AGAIN, emitted_at, name)) == is_taken
    assert parts.counters.refused == ({} if is_taken else {"outdated": 1})
    assert parts.counters.received == 4
    assert parts.counters.relayed == {"resource-monitor": 3 + is_taken}


def test_the_journal_gives_back_the_very_frames(parts: RelayParts) -> None:
    parts.send("event:a")
    parts.send("task:1", status="in_progress")
    parts.sequencer.hand_over(NOW_MS)
    assert parts.read("event") + parts.read("task") == [], "not before it is published"
    committed = parts.parts.settle()
    assert parts.read("event") + parts.read("task") == committed.events


def test_without_anything_new_a_duplicate_is_acknowledged_again(parts: RelayParts) -> None:
    parts.send("event:a")
    parts.commit()
    assert parts.commit() == ([], [])
    parts._sent = 0
    parts.send("event:a")
    assert parts.commit() == ([], [1])
    assert parts.counters.refused == {"duplicate": 1}


def test_a_malformed_event_moves_the_cursor_alone(parts: RelayParts) -> None:
    with pytest.raises(ValueError, match="msgpack"):
        parts.intake.take([b"event:x", pack_header(Header(ID, 5, 1)), b"\xc1"], NOW_MS)
    assert parts.commit() == ([], [1])
    assert parts.journal.cursors() == [Cursor(ID, "m", 5, 1)]


def test_without_a_journal_nothing_is_published_or_acknowledged(
    parts: RelayParts, blocked: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    parts.send("event:a")
    parts.intake.take([b"event:plain", b"\x80"], NOW_MS)
    assert parts.commit() == ([], [])
    assert not parts.is_journaling()
    assert parts.published.last_offsets == {"event": 0, "task": 0}
    assert parts.published.streams["event"].last_offset == 0
    assert parts.counters.refused == {"journal_unavailable": 1, "best_effort_drop": 1}
    assert not parts.counters.relayed
    [line] = caplog.messages
    assert line.startswith("no event of a stream is taken: ")
    assert str(parts.path) in line
    parts.maintain(NOW_MS)
    assert not parts.is_journaling(), "it still cannot be written"
    with caplog.at_level(logging.WARNING):
        blocked.execute("ROLLBACK")
        parts.maintain(NOW_MS)
    assert parts.is_journaling()
    assert caplog.messages[-1] == "the journal can be written again"
    parts.admit()
    parts.send("event:a")
    published, acknowledged = parts.commit()
    assert [(topic, stamp.offset) for topic, stamp in published] == [(b"event:a", 1)]
    assert acknowledged == [1]


def test_a_journal_that_cannot_be_written_is_found_out_by_whatever_writes(
    parts: RelayParts, blocked: sqlite3.Connection
) -> None:
    parts.forget_silent_emitters(NOW_MS)
    assert blocked.in_transaction
    assert not parts.is_journaling()


def test_maintenance_retires_old_events(tmp_path: Path) -> None:
    parts = RelayParts(tmp_path, Limits(max_age_ms=1000, max_bytes=2**30))
    with closing(parts):
        parts.admit()
        for n in range(3):
            parts.send("event:a")
            parts.commit(NOW_MS + n)
        assert parts.published.streams["event"].first_offset == 1
        parts.maintain(NOW_MS + 1001)
        assert parts.published.streams["event"].first_offset == 2
        assert [unpack_stamp(stamp).offset for _, stamp, _ in parts.read("event")] == [2, 3]


def test_a_commit_retires_the_oldest_events_above_the_limit(tmp_path: Path) -> None:
    parts = RelayParts(tmp_path, Limits(max_age_ms=2**60, max_bytes=10_000))
    with closing(parts):
        parts.admit()
        for _ in range(8):
            parts.send("event:a", padding=3000)
            parts.commit()
        state = parts.published.streams["event"]
        assert (state.first_offset, state.last_offset, state.retired) == (6, 8, 5)
        assert state.stored_bytes <= 10_000


class TestTasks:
    """The latest state of each task is remembered, beyond a restart too."""

    def states(self, parts: RelayParts) -> list[tuple[bytes, int]]:
        return [
            (topic, unpack_stamp(stamp).offset)
            for _, (topic, stamp, _) in parts.retained.matching("task:")
        ]

    def restarted(self, parts: RelayParts) -> RelayParts:
        parts.close()
        return RelayParts(parts.path.parent)

    def test_the_latest_state_of_a_batch_is_kept(self, parts: RelayParts) -> None:
        for topic in ("task:1", "task:2", "task:1", "event:a"):
            parts.send(topic, status="in_progress")
        parts.commit()
        parts.send("task:2", status="success")
        parts.commit()
        expected = [(b"task:2", 4), (b"task:1", 3)]
        assert self.states(parts) == expected
        again = self.restarted(parts)
        with closing(again):
            assert self.states(again) == expected

    def test_a_state_that_was_not_journaled_is_not_remembered(
        self, parts: RelayParts, blocked: sqlite3.Connection
    ) -> None:
        parts.send("task:1", status="in_progress")
        parts.commit()
        assert blocked.in_transaction
        assert self.states(parts) == []

    def test_forgotten_tasks_leave_the_journal_too(
        self, parts: RelayParts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retained, "MAX_FINISHED_TASKS", 2)
        small = self.restarted(parts)
        small.admit()
        for n in (1, 2, 3):
            small.send(f"task:{n}", status="success")
            small.commit()
        assert [topic for topic, _ in self.states(small)] == [b"task:2", b"task:3"]
        small.send("event:a")
        small.commit()
        with closing(small):
            assert [topic_of(task.key) for task in small.journal.tasks()] == ["task:2", "task:3"]

    def test_they_stay_in_the_order_of_their_last_updates(self, parts: RelayParts) -> None:
        for n in (1, 2, 1):
            parts.send(f"task:{n}", status="in_progress")
        parts.commit()
        assert [topic for topic, _ in self.states(parts)] == [b"task:2", b"task:1"]
        again = self.restarted(parts)
        with closing(again):
            assert [topic for topic, _ in self.states(again)] == [b"task:2", b"task:1"]

    def test_one_that_is_forgotten_for_another_of_its_own_batch_stays(
        self, parts: RelayParts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retained, "MAX_FINISHED_TASKS", 2)
        small = self.restarted(parts)
        small.admit()
        for n in (1, 2):
            small.send(f"task:{n}", status="success")
        small.commit()
        for n in (3, 1):  # 3 takes the place of 1, and 1 that of 2.
            small.send(f"task:{n}", status="success")
        small.commit()
        small.send("event:a")
        small.commit()
        kept = [topic for topic, _ in self.states(small)]
        with closing(small):
            assert [topic_of(task.key).encode() for task in small.journal.tasks()] == kept
        assert kept == [b"task:3", b"task:1"]


def test_emitters_that_are_gone_for_good_are_forgotten(parts: RelayParts) -> None:
    parts.send("event:a")
    parts.commit()
    parts.emitters.admit(Cursor(b"f" * 16, "hello only", 5, 0), b"peer-2", lambda _: False)
    heard_ms = NOW_MS
    parts.forget_silent_emitters(heard_ms)
    assert [emitter.emitter_id for emitter in parts.emitters] == [ID]
    much_later = heard_ms + (SILENT_EMITTER_S + 60) * 1000
    parts.forget_silent_emitters(much_later)
    assert list(parts.emitters) == []
    assert parts.journal.cursors() == []


def test_stamps_do_not_go_back_with_the_clock(parts: RelayParts) -> None:
    stamps = []
    for now_ms in (NOW_MS, NOW_MS - 10**9, NOW_MS + 5):
        parts.send("event:a")
        [(_, stamp)], _ = parts.commit(now_ms)
        stamps.append(stamp.relayed_at)
    assert stamps == [NOW_MS, NOW_MS, NOW_MS + 5]
    parts.close()
    again = RelayParts(parts.path.parent)
    with closing(again):
        again.admit()
        again._sent = 3
        again.send("event:a")
        [(_, stamp)], _ = again.commit(NOW_MS - 10**9)
        assert stamp.relayed_at == NOW_MS + 5


def test_an_id_that_counts_once_is_known_after_a_restart(parts: RelayParts) -> None:
    parts.send("event:a", event_id="once:a")
    assert len(parts.commit()[0]) == 1
    parts.send("event:a", event_id="once:a")
    events, acknowledged = parts.commit()
    assert (events, acknowledged) == ([], [2])
    parts.close()
    again = RelayParts(parts.path.parent)
    with closing(again):
        again.admit()
        again._sent = 2
        again.send("event:a", event_id="once:a")
        again.send("event:a", event_id="once:b")
        events, acknowledged = again.commit()
        assert (len(events), acknowledged) == (1, [4])


def test_an_id_of_a_batch_that_was_given_up_may_come_again(
    parts: RelayParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(Journal, "append", _fail)
        parts.send("event:a", event_id="once:a")
        assert parts.commit() == ([], [])
    parts.maintain()
    parts.commit()
    assert parts.intake.journaling
    parts._sent = 0
    parts.send("event:a", event_id="once:a")
    assert len(parts.commit()[0]) == 1


def _fail(*_: object) -> None:
    raise JournalUnavailable("no room")
