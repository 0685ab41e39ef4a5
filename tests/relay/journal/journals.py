"""Small journals for tests: events to write, and a process that ends uncleanly."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from relay.core.emitters import Cursor
from relay.journal.batch import JournalBatch, Run
from relay.journal.journal import Journal
from relay.journal.reader import StoredTask, reading_journal
from relay.journal.replayer import PublishedJournal
from relay.journal.state import JournalState
from relay.journal.tail_note import TailNote
from relay.journal.verify import problems
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import Header, ReceivedFrames, StampedFrames, pack_header, unpack_stamp

STREAMS = ("event", "task")
EMITTER_ID = b"e" * 16
NOW_MS = 1_790_000_000_000
UNLIMITED_BYTES = 2**30


def open_journal(path: Path, *, power_safe: bool = False) -> Journal:
    """A journal of the usual streams."""
    return Journal(path, STREAMS, power_safe=power_safe)


def reopened(path: Path, noted: TailNote) -> Journal:
    """A journal in the place of one that was lost."""
    return Journal(path, STREAMS, power_safe=False, noted=noted)


class SetClock:
    """A clock that shows what it was set to."""

    def __init__(self, now: int = NOW_MS) -> None:
        self.now = now
        self.is_sure = True

    def now_ms(self) -> int:
        """Return it."""
        return self.now

    def may_judge_age(self) -> bool:
        """Whether it is sure."""
        return self.is_sure


def event(sequence: int, *, topic: str = "event:x", padding: int = 0) -> ReceivedFrames:
    """The event with the number `sequence` of the only emitter, as it is received."""
    data = {"n": sequence, "padding": "x" * padding}
    envelope = Envelope("any", data, "alice", "manager-1", NOW_MS, f"id-{sequence}")
    kind = topic.partition(":")[0]
    header = pack_header(Header(EMITTER_ID, 5, sequence))
    return topic.encode(), header, pack_envelope(envelope, kind)


def batch(
    first: int,
    count: int = 1,
    *,
    relayed_at: int = NOW_MS,
    padding: int = 0,
    tasks: tuple[StoredTask, ...] = (),
) -> JournalBatch:
    """Events of the `event` stream, whose offsets are their emitter's sequence numbers."""
    numbers = range(first, first + count)
    run = Run(first, relayed_at, [event(number, padding=padding) for number in numbers])
    cursor = Cursor(EMITTER_ID, "manager-1", 5, run.last_offset)
    return JournalBatch({"event": run}, [cursor], tasks, heard_at=relayed_at // 1000)


@contextmanager
def published(journal: Journal) -> Iterator[PublishedJournal]:
    """The journal as peers see it, at this moment."""
    with closing(PublishedJournal(journal.path, journal.state, begin_epoch(journal))) as found:
        yield found


def begin_epoch(journal: Journal) -> Callable[[str], JournalState]:
    """Begin an epoch as a `JournalWriter` does, without its thread."""

    def begin(reason: str) -> JournalState:
        journal.begin_epoch(reason)
        return journal.state

    return begin


def read(
    journal: Journal, stream: str, after: int, max_events: int, max_bytes: int
) -> list[StampedFrames]:
    """A page of replayed events."""
    with published(journal) as found:
        return found.read(stream, after, max_events, max_bytes)


def offsets(journal: Journal, after: int = 0, limit: int = 4096) -> list[int]:
    """The offsets above `after`, as a page of replayed events has them."""
    page = read(journal, "event", after, limit, UNLIMITED_BYTES)
    return [unpack_stamp(stamp).offset for _, stamp, _ in page]


def problems_of(path: Path) -> list[str]:
    """The lines of `event-relay journal verify`."""
    with reading_journal(path) as reader:
        return list(problems(reader))


def in_killed_process(work: Callable[[], object]) -> None:
    """Do `work` in a child process that ends as by `kill -9`: nothing is closed or flushed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the child process failed"
