"""Batches that wait for a slow disk: their bounds, their order, and what becomes of them."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from relay import sequencer as module
from relay.core import intake, retained
from relay.core.emitters import Cursor, KnownEmitter
from relay.core.orphans import TaskOwner
from relay.core.retained import task_key, topic_of
from relay.journal.batch import JournalBatch
from relay.journal.journal import Journal, JournalUnavailable
from relay.journal.replayer import PublishedJournal
from relay.journal.writer import WriteOutcome
from relay.sequencer import Committed, Sequencer
from relay.state import SharedState
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import SENT_AGAIN, Header, pack_header, unpack_stamp
from tests.relay.journal.journals import EMITTER_ID, NOW_MS, batch, begin_epoch, open_journal

OTHER_ID = b"o" * 16
EPOCH = 5


class SlowDisk:
    """Writes a batch to a real journal when the test says so."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.waiting: list[JournalBatch] = []
        self._outcomes: list[WriteOutcome] = []

    def append(self, batch: JournalBatch) -> None:
        self.waiting.append(batch)

    def maintain(self) -> None:
        """Nothing is old."""

    def forget_silent_emitters(self) -> None:
        """None is silent."""

    def outcomes(self) -> Sequence[WriteOutcome]:
        found, self._outcomes = self._outcomes, []
        return found

    def write(self, count: int) -> None:
        """Write the oldest batches."""
        self.journal.append(*self.waiting[:count])
        del self.waiting[:count]
        self._outcomes.append(WriteOutcome(self.journal.state, committed=count))

    def fail(self) -> None:
        """The disk is full."""
        self.waiting.clear()
        error = JournalUnavailable("the disk is full")
        self._outcomes.append(WriteOutcome(self.journal.state, error=error))

    def recover(self) -> None:
        """There is room again."""
        self._outcomes.append(WriteOutcome(self.journal.state, is_writable=True))


class SlowRelay:
    """A sequencer over a slow disk, and two emitters."""

    def __init__(self, path: Path) -> None:
        self.disk = SlowDisk(open_journal(path))
        journal = self.disk.journal
        self.published = PublishedJournal(path, journal.state, begin_epoch(journal))
        self.state = SharedState.of(self.published, journal.cursors(), task_grace_s=0)
        self.sequencer = Sequencer(self.state, self.disk)
        self.sequencer.remember(journal.tasks())
        for emitter_id in (EMITTER_ID, OTHER_ID):
            self.state.emitters.admit(Cursor(emitter_id, "m", EPOCH, 0), emitter_id, lambda _: True)
        self._sent = {each.emitter_id: each.committed for each in self.state.emitters}

    def take(self, *topics: str, status: str = "success", by: bytes = EMITTER_ID) -> None:
        """Take the next events of an emitter."""
        for topic in topics:
            self._sent[by] += 1
            self.take_number(self._sent[by], topic, status=status, by=by)

    def take_number(
        self, number: int, topic: str = "event:a", *, status: str = "", by: bytes = EMITTER_ID
    ) -> None:
        """Take an event with any sequence number."""
        kind = topic.partition(":")[0]
        username = "alice" if kind == "task" else None
        envelope = Envelope("any", {"status": status}, username, "m", NOW_MS, f"id-{number}")
        payload = pack_envelope(envelope, kind)
        header = pack_header(Header(by, EPOCH, number))
        self.state.intake.take([topic.encode(), header, payload], NOW_MS)

    def hand_over(self, *topics: str, status: str = "success") -> Sequence[KnownEmitter]:
        """Take events and hand over what has been gathered."""
        self.take(*topics, status=status)
        return self.sequencer.hand_over(NOW_MS)

    def write(self, count: int = 1) -> Committed:
        """The disk has written the oldest batches."""
        self.disk.write(count)
        return self.sequencer.collect(lambda _: True)

    def fail(self) -> None:
        self.disk.fail()
        assert self.sequencer.collect(lambda _: True) == Committed([], [])

    def recover(self) -> None:
        self.disk.recover()
        self.sequencer.collect(lambda _: True)

    def has_room(self) -> bool:
        return self.sequencer.has_room

    def is_journaling(self) -> bool:
        return self.state.intake.journaling

    def orphans(self) -> list[str]:
        """The unfinished tasks with an owner, when all emitters are gone."""
        return list(map(topic_of, self.state.owners.orphaned(0.0, lambda _: None)))

    def close(self) -> None:
        self.published.close()
        self.disk.journal.close()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[SlowRelay]:
    with closing(SlowRelay(tmp_path / "journal.db")) as relay:
        yield relay


@pytest.fixture
def _batches_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_BATCH_MESSAGES", 2)


@pytest.mark.usefixtures("_batches_of_two")
class TestWaitingBatches:
    def test_events_are_gathered_up_to_a_full_batch(self, relay: SlowRelay) -> None:
        relay.hand_over("event:a")
        relay.hand_over("event:b")
        assert len(relay.disk.waiting) == 1
        relay.hand_over("event:c")
        assert [len(each.runs["event"].events) for each in relay.disk.waiting] == [1, 2]

    def test_offsets_and_counters_go_on_while_batches_wait(self, relay: SlowRelay) -> None:
        counters = relay.state.counters
        relay.hand_over("event:a")
        relay.hand_over("event:b", "event:c")
        assert [each.runs["event"].first_offset for each in relay.disk.waiting] == [1, 2]
        assert (counters.waiting, counters.relayed) == (3, {})
        events, emitters = relay.write()
        assert [unpack_stamp(stamp).offset for _, stamp, _ in events] == [1]
        assert [each.committed for each in emitters] == [1]
        assert (counters.waiting, counters.relayed) == (2, {"event": 1})
        events, emitters = relay.write()
        assert [unpack_stamp(stamp).offset for _, stamp, _ in events] == [2, 3]
        assert [each.committed for each in emitters] == [3]
        assert (counters.waiting, counters.relayed) == (0, {"event": 3})

    def test_batches_of_one_commit_are_acknowledged_once(self, relay: SlowRelay) -> None:
        relay.hand_over("event:a")
        relay.hand_over("event:b", "event:c")
        events, emitters = relay.write(2)
        assert [topic for topic, _, _ in events] == [b"event:a", b"event:b", b"event:c"]
        assert [each.committed for each in emitters] == [3]

    def test_with_too_many_nothing_further_is_read(
        self, relay: SlowRelay, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_FLIGHTS", 2)
        relay.hand_over("event:a")
        relay.take("event:b", "event:c")
        assert relay.has_room()
        relay.hand_over()
        assert relay.has_room(), "for a batch that is gathered"
        assert relay.hand_over("event:d", "event:e") == ()
        assert not relay.has_room()
        assert len(relay.disk.waiting) == 2
        relay.write()
        assert relay.has_room()
        relay.hand_over()
        assert len(relay.disk.waiting) == 2

    @pytest.mark.parametrize("way", ["at first", "after commits", "after a failure"])
    @pytest.mark.parametrize("spare", [0, 1])
    def test_with_too_many_bytes_nothing_further_is_read(
        self, relay: SlowRelay, monkeypatch: pytest.MonkeyPatch, spare: int, way: str
    ) -> None:
        if way == "after commits":
            relay.hand_over("event:a")
            relay.hand_over("event:a", "event:a")
            relay.write(2)
        if way == "after a failure":
            relay.hand_over("event:a")
            relay.fail()
            relay.recover()
            relay._sent[EMITTER_ID] = 0
        relay.take("event:a")
        monkeypatch.setattr(module, "MAX_FLIGHT_BYTES", relay.state.intake.run_bytes + spare)
        relay.hand_over()
        assert relay.has_room()
        relay.take("event:b", "event:c")
        assert relay.has_room() == bool(spare)

    def test_the_journal_learns_when_emitters_were_heard_in_seconds(self, relay: SlowRelay) -> None:
        relay.hand_over("event:a")
        assert [each.heard_at for each in relay.disk.waiting] == [NOW_MS // 1000]


@pytest.mark.usefixtures("_batches_of_two")
class TestFailure:
    def test_all_that_waits_is_given_up_and_comes_again(self, relay: SlowRelay) -> None:
        counters, emitters = relay.state.counters, relay.state.emitters
        relay.hand_over("event:a")
        relay.hand_over("event:b", "event:c")
        relay.take("event:d")
        relay.fail()
        assert not relay.is_journaling()
        assert (counters.waiting, counters.relayed) == (0, {})
        assert counters.refused == {"journal_unavailable": 4}
        assert emitters.take_missing_events() == []
        relay.recover()
        assert relay.is_journaling()
        assert [each.emitter_id for each in emitters.take_missing_events()] == [EMITTER_ID]
        relay.take_number(1)
        relay.hand_over()
        assert [each.runs["event"].first_offset for each in relay.disk.waiting] == [1]
        assert [each.committed for each in relay.write().emitters] == [1]

    def test_offsets_go_on_where_the_journal_ends_afterwards(self, relay: SlowRelay) -> None:
        """A copy of the journal may be in its place."""
        relay.fail()
        relay.disk.journal.append(batch(1, 3))
        relay.recover()
        relay.hand_over("event:a")
        assert [each.runs["event"].first_offset for each in relay.disk.waiting] == [4]

    def test_an_outcome_without_failure_asks_for_nothing_again(self, relay: SlowRelay) -> None:
        relay.hand_over("event:a")
        relay.recover()
        assert relay.state.emitters.take_missing_events() == []
        relay.hand_over("event:b", "event:c")
        assert [each.runs["event"].first_offset for each in relay.disk.waiting] == [1, 2]


def test_cursors_are_journaled_if_they_moved(relay: SlowRelay) -> None:
    """Even without an event: that of one emitter was malformed, that of the other a duplicate."""
    relay.hand_over("event:a")
    relay.write()
    relay.take_number(1)
    with pytest.raises(ValueError, match="msgpack"):
        relay.state.intake.take(
            [b"event:x", pack_header(Header(OTHER_ID, EPOCH, 1)), b"\xc1"], NOW_MS
        )
    assert relay.hand_over() == ()
    [waiting] = relay.disk.waiting
    assert list(waiting.cursors) == [Cursor(OTHER_ID, "m", EPOCH, 1)]
    acknowledged = {each.emitter_id: each.committed for each in relay.write().emitters}
    assert acknowledged == {EMITTER_ID: 1, OTHER_ID: 1}


def test_a_value_that_is_outdated_keeps_no_other_one_back(relay: SlowRelay) -> None:
    relay.take_number(0, "live:a")
    relay.take_number(SENT_AGAIN, "live:b")
    relay.sequencer.stamp_live(NOW_MS)
    relay.take_number(0, "live:a")
    relay.take_number(SENT_AGAIN, "live:b")
    relay.take_number(0, "live:c")
    topics = [topic for topic, _, _ in relay.sequencer.stamp_live(NOW_MS)]
    assert topics == [b"live:a", b"live:c"]
    assert relay.state.counters.refused == {"outdated": 1}


class TestTaskOwners:
    """An unfinished task belongs to the emitter of its newest state in the journal."""

    def test_from_its_commit_on(self, relay: SlowRelay) -> None:
        relay.hand_over("task:1", "task:2", status="in_progress")
        assert relay.orphans() == []
        relay.write()
        assert relay.orphans() == ["task:1", "task:2"]
        seen: list[TaskOwner] = []
        relay.state.owners.orphaned(0.0, lambda owner: seen.append(owner))
        assert seen == [TaskOwner(EMITTER_ID, EPOCH)]
        earlier = relay.state.owners.orphaned(0.0, lambda _: 1)
        assert earlier == [task_key("task:1", "alice")], "of an earlier process"

    def test_until_it_is_finished(self, relay: SlowRelay) -> None:
        relay.hand_over("task:1", "task:2", status="in_progress")
        relay.write()
        relay.hand_over("task:1")
        relay.write()
        assert relay.orphans() == ["task:2"]

    def test_unless_a_plain_publisher_takes_it_over(self, relay: SlowRelay) -> None:
        relay.hand_over("task:1", status="in_progress")
        relay.write()
        fields = Envelope("any", {"status": "in_progress"}, "alice", "", NOW_MS, "id")
        relay.state.intake.take([b"task:1", pack_envelope(fields, "task")], NOW_MS)
        relay.hand_over()
        relay.write()
        assert relay.orphans() == []

    def test_also_after_a_restart(self, relay: SlowRelay) -> None:
        relay.hand_over("task:1", "task:2", status="in_progress")
        relay.hand_over()
        relay.write()
        relay.hand_over("task:1")
        relay.write()
        relay.close()
        with closing(SlowRelay(relay.disk.journal.path)) as again:
            assert again.orphans() == ["task:2"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowRelay]:
    """A relay that remembers one finished and one unfinished task."""
    monkeypatch.setattr(retained, "MAX_FINISHED_TASKS", 1)
    monkeypatch.setattr(retained, "MAX_TASKS", 1)
    with closing(SlowRelay(tmp_path / "small.db")) as relay:
        yield relay


@pytest.mark.usefixtures("_batches_of_two")
class TestForgottenTasks:
    def forgotten(self, relay: SlowRelay) -> list[list[str]]:
        return [list(map(topic_of, each.forgotten_tasks)) for each in relay.disk.waiting]

    def test_they_leave_with_the_next_batch_once(self, small: SlowRelay) -> None:
        small.hand_over("task:1", "task:2")
        small.write()
        small.hand_over("event:a")
        small.hand_over("event:b", "event:c")
        assert self.forgotten(small) == [["task:1"], []]
        small.write(2)
        assert [topic_of(each.key) for each in small.disk.journal.tasks()] == ["task:2"]

    def test_they_leave_after_a_failure_too(self, small: SlowRelay) -> None:
        small.hand_over("task:1", "task:2")
        small.write()
        small.hand_over("event:a")
        small.fail()
        small.recover()
        small.take_number(3)
        small.hand_over()
        assert self.forgotten(small) == [["task:1"]]

    def test_one_that_a_waiting_batch_brings_back_stays(self, small: SlowRelay) -> None:
        small.hand_over("task:1")
        small.write()
        small.hand_over("task:2")
        small.hand_over("task:1", "event:a")
        small.write()
        small.hand_over("event:b", "event:c")
        assert self.forgotten(small) == [[], []], "the first of them has a newer state of it"
        small.write(2)
        small.hand_over("event:d")
        assert self.forgotten(small) == [["task:2"]]
        small.write()
        assert [topic_of(each.key) for each in small.disk.journal.tasks()] == ["task:1"]

    def test_they_have_no_owner(self, small: SlowRelay) -> None:
        small.hand_over("task:1", status="in_progress")
        small.write()
        small.hand_over("task:2", status="in_progress")
        small.write()
        assert small.orphans() == ["task:2"]
