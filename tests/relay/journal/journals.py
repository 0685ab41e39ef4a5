"""Small journals for tests: what to write into one, and how to end one uncleanly."""

import os
from collections.abc import Callable
from pathlib import Path

from relay.core.emitters import Cursor
from relay.journal.file import Entry
from relay.journal.journal import Batch, Journal, Run, TaskChange
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import Header, pack_header, unpack_stamp

STREAMS = ("event", "task")
EMITTER_ID = b"e" * 16
NOW_MS = 1_790_000_000_000
UNLIMITED_BYTES = 2**30


def open_journal(path: Path, *, power_safe: bool = False) -> Journal:
    """A journal of the usual streams."""
    return Journal(path, STREAMS, power_safe=power_safe)


def entry(sequence: int, *, topic: str = "event:x", padding: int = 0) -> Entry:
    """The event with this number of the one emitter there is."""
    data = {"n": sequence, "padding": "x" * padding}
    envelope = Envelope("any", data, "alice", "manager-1", NOW_MS, f"id-{sequence}")
    kind = topic.partition(":")[0]
    header = pack_header(Header(EMITTER_ID, 5, sequence))
    return Entry(topic.encode(), header, pack_envelope(envelope, kind))


def batch(
    first: int,
    count: int = 1,
    *,
    relayed_at: int = NOW_MS,
    padding: int = 0,
    tasks: tuple[TaskChange, ...] = (),
) -> Batch:
    """Events of the `event` stream, whose offsets are their emitter's sequence numbers."""
    numbers = range(first, first + count)
    run = Run(first, relayed_at, [entry(number, padding=padding) for number in numbers])
    return Batch({"event": run}, [Cursor(EMITTER_ID, "manager-1", 5, run.last)], tasks)


def offsets(journal: Journal, after: int = 0, limit: int = 4096) -> list[int]:
    """The offsets of the events that follow `after`."""
    items = journal.read("event", after, limit, UNLIMITED_BYTES)
    return [unpack_stamp(item.stamp).offset for item in items]


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
