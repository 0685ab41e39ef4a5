"""Each inconsistency of a journal is named with its place."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from relay.core.emitters import Cursor
from relay.core.retention import Limits
from relay.journal.batch import JournalBatch, Run
from relay.journal.file import JournalRefused
from relay.journal.format import pack_events
from relay.journal.reader import reading_journal
from relay.journal.verify import problems
from relay.wire.header import ReceivedFrames
from tests.relay.journal.journals import (
    EMITTER_ID,
    NOW_MS,
    batch,
    event,
    in_killed_process,
    open_journal,
    problems_of,
)

UNREADABLE = "cannot be read: missing or damaged"


def damage(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement, values).rowcount == 1, "nothing was damaged"


class TestBesideTheRelay:
    """The relay goes on meanwhile, or was killed."""

    def test_it_writes_and_retires_in_the_midst_of_a_verification(self, filled: Path) -> None:
        damage(filled, "UPDATE emitters SET sequence = ?", (8).to_bytes(8))
        with closing(open_journal(filled)) as journal, reading_journal(filled) as reader:
            found = problems(reader)
            assert "beyond its cursor" in next(found)
            journal.append(batch(10))
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert list(found) == [], "it looks at one moment of the journal"
            assert reader.stream("event").first_offset == 10

    def test_a_killed_relay_has_left_a_whole_journal(self, filled: Path) -> None:
        def work() -> None:
            journal = open_journal(filled)
            journal.append(JournalBatch({"event": Run(10, NOW_MS, [event(11)])}))
            journal.append(JournalBatch({}, [Cursor(EMITTER_ID, "manager-1", 5, 11)]))

        in_killed_process(work)
        assert problems_of(filled) == []
        with reading_journal(filled) as reader:
            assert reader.stream("event").last_offset == 10

    def test_verifying_changes_nothing(self, filled: Path) -> None:
        before = filled.read_bytes()
        assert problems_of(filled) == []
        assert filled.read_bytes() == before


class TestProblems:
    """Each is named with where it is."""

    def test_a_whole_journal_has_none(self, filled: Path) -> None:
        assert problems_of(filled) == []

    def test_retention_is_no_problem(self, filled: Path) -> None:
        with closing(open_journal(filled)) as journal:
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert journal.streams["event"].first_offset == 7
        assert problems_of(filled) == []

    def test_a_missing_row(self, filled: Path) -> None:
        damage(filled, "DELETE FROM stream_1 WHERE last = 6")
        assert problems_of(filled) == [f"stream event: 4 to 6 {UNREADABLE}"]

    def test_rows_that_overlap(self, filled: Path) -> None:
        damage(filled, "UPDATE stream_1 SET last = 8, first = 6, checksum = NULL WHERE last = 9")
        assert problems_of(filled) == ["stream event: offset 6 is followed by 6"]

    @pytest.mark.parametrize(
        "change", ["first = 5", "relayed_at = 1", "checksum = 1", "events = x'9300'"]
    )
    def test_a_row_that_is_not_what_was_written(self, filled: Path, change: str) -> None:
        damage(filled, f"UPDATE stream_1 SET {change} WHERE last = 6")
        assert problems_of(filled) == [f"stream event: 4 to 6 {UNREADABLE}"]

    def test_a_row_with_an_event_too_few(self, filled: Path) -> None:
        packed = pack_events([event(4), event(5)])
        damage(filled, "UPDATE stream_1 SET events = ?, checksum = NULL WHERE last = 6", packed)
        assert problems_of(filled) == [f"stream event: 4 to 6 {UNREADABLE}"]

    def test_a_cursor_that_is_too_low(self, filled: Path) -> None:
        damage(filled, "UPDATE emitters SET sequence = ?", (8).to_bytes(8))
        assert problems_of(filled) == ["emitter manager-1: sequence 10 is beyond its cursor"]

    def test_a_cursor_of_an_older_epoch(self, filled: Path) -> None:
        damage(filled, "UPDATE emitters SET epoch = ?", (4).to_bytes(8))
        assert problems_of(filled) == ["emitter manager-1: sequence 10 is beyond its cursor"]

    def test_a_cursor_of_a_newer_epoch_is_no_problem(self, filled: Path) -> None:
        damage(filled, "UPDATE emitters SET epoch = ?, sequence = ?", (6).to_bytes(8), bytes(8))
        assert problems_of(filled) == []

    def test_an_event_that_was_journaled_twice(self, filled: Path) -> None:
        packed = pack_events([event(4), event(4), event(6)])
        damage(filled, "UPDATE stream_1 SET events = ?, checksum = NULL WHERE last = 6", packed)
        found = problems_of(filled)
        assert found[0] == "stream event: offset 5: sequence 4 again"

    def test_an_event_that_is_in_two_streams(self, filled: Path) -> None:
        packed = pack_events([event(9, topic="task:1")])
        damage(filled, "UPDATE stream_2 SET events = ?, checksum = NULL", packed)
        assert problems_of(filled) == ["emitter manager-1: a sequence number was journaled twice"]

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ((b"task:1", *event(5)[1:]), "topic 'task:1' does not belong here"),
            ((b"\xff", *event(5)[1:]), "a topic must be UTF-8"),
            ((*event(5)[:2], b"\xc1"), "not msgpack"),
            ((event(5)[0], b"short", event(5)[2]), "a header has 33 bytes"),
        ],
    )
    def test_an_event_that_cannot_be_read(
        self, filled: Path, wrong: ReceivedFrames, expected: str
    ) -> None:
        packed = pack_events([event(4), wrong, event(6)])
        damage(filled, "UPDATE stream_1 SET events = ?, checksum = NULL WHERE last = 6", packed)
        [problem] = problems_of(filled)
        assert problem.startswith("stream event: offset 5: ")
        assert expected in problem

    @pytest.mark.parametrize("events", [b"", b"\xc1", msgpack.packb(5), msgpack.packb([b"x"])])
    def test_a_row_that_cannot_be_read(self, filled: Path, events: bytes) -> None:
        damage(filled, "UPDATE stream_1 SET events = ?, checksum = NULL WHERE last = 6", events)
        assert problems_of(filled) == [f"stream event: 4 to 6 {UNREADABLE}"]

    @pytest.mark.parametrize("page", [-1, -2, 2, 5, 7])
    def test_a_damaged_page(self, filled: Path, page: int) -> None:
        with closing(open_journal(filled)) as journal:
            for first in range(10, 400, 4):
                journal.append(batch(first, 4, padding=300))
        content = bytearray(filled.read_bytes())
        start = page * 4096 % len(content)
        content[start : start + 4096] = b"\x5a" * 4096
        filled.write_bytes(content)
        try:
            found = problems_of(filled)
        except JournalRefused as refusal:
            found = [str(refusal)]
        assert found
