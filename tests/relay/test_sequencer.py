"""Nothing is published or acknowledged before its commit, and nothing is taken without one."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.core import retained
from relay.core.emitters import Cursor, Emitters
from relay.core.intake import Intake
from relay.core.retained import Item, RetainedValues
from relay.core.retention import Limits
from relay.core.stats import RelayCounters
from relay.journal import file as journal_file
from relay.journal.journal import SILENT_EMITTER_S, Journal
from relay.sequencer import Ledger
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import Header, Stamp, pack_header, unpack_stamp

ID = b"e" * 16
STREAMS = ("event", "task")
NOW_MS = 1_790_000_000_000
UNLIMITED = Limits(2**60, 2**60)


class Office:
    """A ledger with a real journal in `directory`, as the relay puts it together."""

    def __init__(self, directory: Path, limits: Limits = UNLIMITED) -> None:
        self.path = directory / "journal.db"
        self.journal = Journal(self.path, STREAMS, power_safe=False)
        self.emitters = Emitters(self.journal.cursors())
        self.stats = RelayCounters()
        self.retained = RetainedValues()
        self.intake = Intake(STREAMS, self.emitters, self.stats, lambda: "new-id")
        self.ledger = Ledger(
            self.journal,
            self.emitters,
            self.retained,
            self.intake,
            self.stats,
            limits,
        )
        self._sent = 0

    def admit(self) -> None:
        """The emitter says hello."""
        self._sent = self.emitters.admit(Cursor(ID, "m", 5, 0), b"peer", lambda _: False)

    def send(self, topic: str, *, status: str = "", padding: int = 0) -> None:
        """The emitter's next event comes in."""
        self._sent += 1
        data = {"status": status, "padding": "x" * padding}
        envelope = Envelope("any", data, "alice", "m", 5, "id")
        payload = pack_envelope(envelope, topic.partition(":")[0])
        header = pack_header(Header(ID, 5, self._sent))
        self.intake.take([topic.encode(), header, payload], NOW_MS)

    def commit(self, now_ms: int = NOW_MS) -> tuple[list[tuple[bytes, Stamp]], list[int]]:
        """Commit; return what is published, and up to where each emitter is acknowledged."""
        published, told = self.ledger.commit(now_ms)
        self.intake.clear()
        return (
            [(topic, unpack_stamp(stamp)) for topic, stamp, _envelope in published],
            [emitter.committed for emitter in told],
        )

    def is_journaling(self) -> bool:
        return self.intake.journaling

    def read(self, stream: str) -> list[Item]:
        return self.journal.read(stream, 0, 4096, 2**30)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that somebody else holds stays held in these tests."""
    monkeypatch.setattr(journal_file, "BUSY_TIMEOUT_S", 0.02)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    office.admit()
    try:
        yield office
    finally:
        office.journal.close()


@pytest.fixture
def blocked(office: Office) -> Iterator[sqlite3.Connection]:
    """Somebody else's transaction on the journal: nothing can be written until it ends."""
    with closing(sqlite3.connect(office.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_what_is_published_and_acknowledged_is_in_the_journal(office: Office) -> None:
    for topic in ("event:a", "task:1", "event:b"):
        office.send(topic)
    published, acknowledged = office.commit()
    epoch = office.journal.epoch
    assert published == [
        (b"event:a", Stamp(epoch, 1, NOW_MS)),
        (b"event:b", Stamp(epoch, 2, NOW_MS)),
        (b"task:1", Stamp(epoch, 1, NOW_MS)),
    ]
    assert acknowledged == [3]
    assert [item.topic for item in office.read("event")] == [b"event:a", b"event:b"]
    assert [item.topic for item in office.read("task")] == [b"task:1"]
    assert office.journal.cursors() == [Cursor(ID, "m", 5, 3)]
    assert office.journal.tips == {"event": 2, "task": 1}
    assert office.stats.relayed == {"event": 2, "task": 1}


def test_the_journal_gives_back_the_very_frames(office: Office) -> None:
    office.send("event:a")
    office.send("task:1", status="in_progress")
    published, _ = office.ledger.commit(NOW_MS)
    assert office.read("event") + office.read("task") == published


def test_without_anything_new_a_duplicate_is_acknowledged_again(office: Office) -> None:
    office.send("event:a")
    office.commit()
    assert office.commit() == ([], [])
    office._sent = 0
    office.send("event:a")
    assert office.commit() == ([], [1])
    assert office.stats.refused == {"duplicate": 1}


def test_a_malformed_event_moves_the_cursor_alone(office: Office) -> None:
    with pytest.raises(ValueError, match="msgpack"):
        office.intake.take([b"event:x", pack_header(Header(ID, 5, 1)), b"\xc1"], NOW_MS)
    assert office.commit() == ([], [1])
    assert office.journal.cursors() == [Cursor(ID, "m", 5, 1)]


def test_without_a_journal_nothing_is_published_or_acknowledged(
    office: Office, blocked: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    office.send("event:a")
    office.intake.take([b"event:plain", b"\x80"], NOW_MS)
    assert office.commit() == ([], [])
    assert not office.is_journaling()
    assert office.journal.tips == {"event": 0, "task": 0}
    assert office.journal.streams["event"].tip == 0
    assert office.stats.refused == {"journal_unavailable": 1, "best_effort_drop": 1}
    assert not office.stats.relayed
    [line] = caplog.messages
    assert line.startswith("no event of a stream is taken: ")
    assert str(office.path) in line
    office.ledger.maintain(NOW_MS)
    assert not office.is_journaling(), "it still cannot be written"
    with caplog.at_level(logging.WARNING):
        blocked.execute("ROLLBACK")
        office.ledger.maintain(NOW_MS)
    assert office.is_journaling()
    assert caplog.messages[-1] == "the journal can be written again"
    office.admit()
    office.send("event:a")
    published, acknowledged = office.commit()
    assert [(topic, stamp.offset) for topic, stamp in published] == [(b"event:a", 1)]
    assert acknowledged == [1]


def test_a_journal_that_cannot_be_written_is_found_out_by_whatever_writes(
    office: Office, blocked: sqlite3.Connection
) -> None:
    office.ledger.forget_silent_emitters(NOW_MS, lambda _: True)
    assert blocked.in_transaction
    assert not office.is_journaling()


def test_maintenance_retires_what_is_too_old(tmp_path: Path) -> None:
    office = Office(tmp_path, Limits(max_age_ms=1000, max_bytes=2**30))
    with closing(office.journal):
        office.admit()
        for n in range(3):
            office.send("event:a")
            office.commit(NOW_MS + n)
        assert office.journal.streams["event"].low == 1
        office.ledger.maintain(NOW_MS + 1001)
        assert office.journal.streams["event"].low == 2
        assert [unpack_stamp(item.stamp).offset for item in office.read("event")] == [2, 3]


def test_a_commit_retires_what_is_too_much(tmp_path: Path) -> None:
    office = Office(tmp_path, Limits(max_age_ms=2**60, max_bytes=10_000))
    with closing(office.journal):
        office.admit()
        for _ in range(8):
            office.send("event:a", padding=3000)
            office.commit()
        state = office.journal.streams["event"]
        assert (state.low, state.tip, state.retired) == (6, 8, 5)
        assert state.stored_bytes <= 10_000


class TestTasks:
    """The latest state of each task is remembered, beyond a restart too."""

    def states(self, office: Office) -> list[tuple[bytes, int]]:
        return [
            (item.topic, unpack_stamp(item.stamp).offset) for item in office.retained.items("task:")
        ]

    def restarted(self, office: Office) -> Office:
        office.journal.close()
        return Office(office.path.parent)

    def test_the_latest_state_of_a_batch_is_kept(self, office: Office) -> None:
        for topic in ("task:1", "task:2", "task:1", "event:a"):
            office.send(topic, status="in_progress")
        office.commit()
        office.send("task:2", status="success")
        office.commit()
        expected = [(b"task:2", 4), (b"task:1", 3)]
        assert self.states(office) == expected
        again = self.restarted(office)
        with closing(again.journal):
            assert self.states(again) == expected

    def test_a_state_that_was_not_journaled_is_not_remembered(
        self, office: Office, blocked: sqlite3.Connection
    ) -> None:
        office.send("task:1", status="in_progress")
        office.commit()
        assert blocked.in_transaction
        assert self.states(office) == []

    def test_what_is_forgotten_is_forgotten_in_the_journal_too(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retained, "MAX_FINISHED_TASKS", 2)
        small = self.restarted(office)
        small.admit()
        for n in (1, 2, 3):
            small.send(f"task:{n}", status="success")
            small.commit()
        assert [topic for topic, _ in self.states(small)] == [b"task:2", b"task:3"]
        small.send("event:a")
        small.commit()
        with closing(small.journal):
            assert [item.topic for item, _ in small.journal.tasks()] == [b"task:2", b"task:3"]

    def test_one_that_is_forgotten_for_another_of_its_own_batch_stays(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retained, "MAX_FINISHED_TASKS", 2)
        small = self.restarted(office)
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
        with closing(small.journal):
            assert [item.topic for item, _ in small.journal.tasks()] == kept
        assert kept == [b"task:3", b"task:1"]


def test_emitters_that_are_gone_for_good_are_forgotten(office: Office) -> None:
    office.send("event:a")
    office.commit()
    office.emitters.admit(Cursor(b"f" * 16, "hello only", 5, 0), b"peer-2", lambda _: False)
    heard_ms = int(office.path.stat().st_mtime) * 1000
    office.ledger.forget_silent_emitters(heard_ms, lambda _: False)
    assert [emitter.emitter_id for emitter in office.emitters] == [ID]
    much_later = heard_ms + (SILENT_EMITTER_S + 60) * 1000
    office.ledger.forget_silent_emitters(much_later, lambda _: False)
    assert list(office.emitters) == []
    assert office.journal.cursors() == []
