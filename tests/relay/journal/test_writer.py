"""Work is done in order beside the loop, and a failure gives up everything that depended on it."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from relay.core.retention import Limits
from relay.journal.journal import Journal, JournalUnavailable
from relay.journal.reader import reading_journal
from relay.journal.writer import JournalWriter, WriteOutcome
from relay.shared import sqlite_file
from tests.relay.journal.journals import NOW_MS, SetClock, batch, offsets, open_journal, reopened
from tests.support.waiting import is_readable, wait_for

DEADLINE_S = 20


class Work:
    """A writer, and the outcomes so far."""

    def __init__(self, journal: Journal, limits: Limits) -> None:
        self.journal = journal
        self.clock = SetClock()
        self.writer = JournalWriter(journal, limits, self.clock, partial(reopened, journal.path))
        self.outcomes: list[WriteOutcome] = []

    def wait(self, committed: int = 0, failed: int = 0, writable: int = 0) -> None:
        """Wait until there were so many outcomes of each kind."""

        def is_done() -> bool:
            if is_readable(self.writer.readable.fileno()):
                self.outcomes += self.writer.outcomes()
            found = (
                sum(each.committed for each in self.outcomes),
                sum(each.error is not None for each in self.outcomes),
                sum(each.is_writable for each in self.outcomes),
            )
            return all(a >= b for a, b in zip(found, (committed, failed, writable), strict=True))

        wait_for(is_done, f"{committed} commits, {failed} failures", DEADLINE_S)

    def close(self) -> None:
        self.writer.close()


@pytest.fixture
def work(journal: Journal) -> Iterator[Work]:
    with closing(Work(journal, Limits(10**15, 2**40))) as work:
        yield work


@pytest.fixture
def locked(journal: Journal) -> Iterator[sqlite3.Connection]:
    """Another program's transaction, until it is rolled back."""
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_batches_are_committed_in_order_and_reported(work: Work) -> None:
    for number in range(1, 101):
        work.writer.append(batch(number))
    work.wait(committed=100)
    assert offsets(work.journal) == list(range(1, 101))
    lasts = [each.state.streams["event"].last_offset for each in work.outcomes]
    assert lasts == sorted(lasts)
    total = 0
    for outcome in work.outcomes:
        total += outcome.committed
        assert outcome.state.streams["event"].last_offset == total


def test_batches_that_wait_share_one_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk is written as seldom as it can be."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", DEADLINE_S)
    with (
        closing(open_journal(path)) as journal,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        closing(Work(journal, Limits(10**15, 2**40))) as work,
    ):
        other.execute("BEGIN IMMEDIATE")
        for number in range(1, 51):
            work.writer.append(batch(number))
        assert work.writer.outcomes() == []
        other.execute("ROLLBACK")
        work.wait(committed=50)
        commits = [each.committed for each in work.outcomes if each.committed]
        assert len(commits) <= 2, commits


def test_a_failure_gives_up_every_batch_that_was_handed_over(
    work: Work, locked: sqlite3.Connection
) -> None:
    for number in range(1, 4):
        work.writer.append(batch(number))
    work.wait(failed=1)
    work.writer.append(batch(4))
    work.writer.maintain()
    work.wait(failed=2)
    locked.execute("ROLLBACK")
    work.writer.append(batch(5))
    work.writer.maintain()
    work.wait(failed=2, writable=1)
    assert sum(each.committed for each in work.outcomes) == 0
    work.writer.append(batch(1))
    work.wait(committed=1)
    assert offsets(work.journal) == [1]


def test_no_batch_is_committed_before_its_giver_knows_of_the_failure(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its offsets follow those of the batch that failed."""
    is_found_writable, is_maintained = threading.Event(), threading.Event()
    monkeypatch.setattr(work.journal, "probe", is_found_writable.set)
    monkeypatch.setattr(work.journal, "bound_wal", is_maintained.set)
    with monkeypatch.context() as broken:
        broken.setattr(work.journal, "append", failing)
        work.writer.append(batch(1))
        work.writer.maintain()
        assert is_found_writable.wait(DEADLINE_S)
    work.writer.maintain()
    assert is_maintained.wait(DEADLINE_S)
    is_maintained.clear()
    work.writer.append(batch(2))
    work.writer.maintain()
    assert is_maintained.wait(DEADLINE_S)
    work.wait(failed=1, writable=1)
    assert sum(each.committed for each in work.outcomes) == 0
    work.writer.append(batch(1))
    work.wait(committed=1)
    assert offsets(work.journal) == [1]


def failing(*_: object) -> None:
    raise JournalUnavailable("the disk is full")


def test_a_new_epoch_begins_after_the_work_before_it(path: Path) -> None:
    open_journal(path).close()
    with (
        closing(open_journal(path)) as journal,
        closing(Work(journal, Limits(10**15, 2**40))) as work,
    ):
        before = journal.epoch
        work.writer.append(batch(1))
        state = work.writer.begin_epoch("a test says so")
        assert (state.origin.epoch > before, state.origin.previous) == (True, before)
        assert state.streams["event"].last_offset == 1
        work.wait(committed=1)


def test_old_events_are_removed_after_a_commit(journal: Journal) -> None:
    with closing(Work(journal, Limits(10**15, 5000))) as work:
        for number in range(1, 11):
            work.writer.append(batch(number, padding=1000))
        work.wait(committed=10)

        def first() -> int:
            work.outcomes += work.writer.outcomes()
            return work.outcomes[-1].state.streams["event"].first_offset

        wait_for(lambda: first() > 5, "old ones are removed")


def test_a_disk_that_is_slower_than_heartbeats_come_is_maintained_once(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, maintained = threading.Event(), threading.Event(), list[bool]()

    def slow(*_: object) -> None:
        begun.set()
        may_end.wait(DEADLINE_S)

    monkeypatch.setattr(work.journal, "append", slow)
    monkeypatch.setattr(work.journal, "bound_wal", lambda: maintained.append(True))
    work.writer.append(batch(1))
    assert begun.wait(DEADLINE_S)
    for _ in range(5):
        work.writer.maintain()
    may_end.set()
    work.wait(committed=1)
    work.writer.begin_epoch("everything before it is done")
    assert maintained == [True]


def test_everything_that_was_handed_over_is_done_at_the_end(journal: Journal) -> None:
    work = Work(journal, Limits(10**15, 2**40))
    for number in range(1, 51):
        work.writer.append(batch(number))
    work.close()
    with reading_journal(journal.path) as reader:
        assert [each.offset for each in reader.events("event", 0)] == list(range(1, 51))


def test_a_fault_of_ours_is_an_error_and_not_the_end(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(work.journal, "append", lambda *_: 1 / 0)
        work.writer.append(batch(1))
        work.wait(failed=1)
    work.writer.maintain()
    work.wait(writable=1)
    work.writer.append(batch(1))
    work.wait(committed=1)
    assert "ZeroDivisionError" in caplog.text


def test_a_doubtful_clock_removes_nothing_by_age(journal: Journal) -> None:
    limits = Limits(2**40, 2**40, {"event": Limits(1000, 2**40)})
    with closing(Work(journal, limits)) as work:
        for number in range(1, 4):
            work.writer.append(batch(number))
        work.clock.is_sure = False
        work.clock.now = NOW_MS + 40 * 86400 * 1000
        work.writer.maintain()
        work.writer.forget_silent_emitters()
        work.writer.append(batch(4, relayed_at=work.clock.now))
        work.wait(committed=4)
        assert work.outcomes[-1].state.streams["event"].first_offset == 1
        assert journal.cursors()
        work.clock.is_sure = True
        work.writer.maintain()

        def first() -> int:
            work.outcomes += work.writer.outcomes()
            return work.outcomes[-1].state.streams["event"].first_offset

        wait_for(lambda: first() == 4, "old ones are removed")
