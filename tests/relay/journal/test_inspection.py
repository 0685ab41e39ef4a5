"""Reading a journal beside the relay that writes it, and naming what is wrong with one."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgpack
import pytest

from relay.core.emitters import Cursor
from relay.core.retention import Limits
from relay.journal.file import Entry, JournalRefused, pack_entries
from relay.journal.inspection import Inspection, as_message
from relay.journal.journal import Batch, Journal, Run
from relay.wire.envelope import Envelope, pack_envelope
from tests.relay.journal.journals import (
    EMITTER_ID,
    NOW_MS,
    batch,
    entry,
    in_killed_process,
    open_journal,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of nine events in rows of three, and one task; its relay has ended."""
    path = tmp_path / "journal.db"
    with closing(open_journal(path)) as journal:
        for first in (1, 4, 7):
            journal.append(batch(first, 3, relayed_at=NOW_MS + first))
        task = Run(1, NOW_MS + 10, [entry(10, topic="task:1")])
        journal.append(Batch({"task": task}, [Cursor(EMITTER_ID, "manager-1", 5, 10)], []))
    return path


@contextmanager
def inspecting(path: Path) -> Iterator[Inspection]:
    with closing(Inspection(path)) as inspection:
        yield inspection


def problems(path: Path) -> list[str]:
    with inspecting(path) as inspection:
        return list(inspection.problems())


def damage(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement, values).rowcount == 1, "nothing was damaged"


def test_streams_and_emitters_are_listed(path: Path) -> None:
    with inspecting(path) as inspection:
        event, task = inspection.streams()
        [emitter] = inspection.emitters()
        assert inspection.epoch > NOW_MS
    assert (event.name, event.low, event.tip, event.rows) == ("event", 1, 9, 3)
    assert event.oldest_at == NOW_MS + 1
    assert event.stored_bytes > 9 * len(entry(1).envelope)
    assert (task.name, task.low, task.tip, task.rows) == ("task", 1, 1, 1)
    assert emitter[:4] == (EMITTER_ID, "manager-1", 5, 10)


def test_an_empty_journal_has_empty_streams(tmp_path: Path) -> None:
    open_journal(tmp_path / "journal.db").close()
    with inspecting(tmp_path / "journal.db") as inspection:
        assert [line[1:] for line in inspection.streams()] == [(1, 0, 0, 0, None)] * 2
        assert inspection.emitters() == []
        assert list(inspection.problems()) == []


def test_events_follow_any_offset(path: Path) -> None:
    with inspecting(path) as inspection:
        assert [event.offset for event in inspection.events("event", 4)] == [5, 6, 7, 8, 9]
        [last] = inspection.events("event", 8)
    assert (last.stream, last.relayed_at, last.entry) == ("event", NOW_MS + 7, entry(9))


def test_an_event_is_shown_as_clients_see_it_and_who_sent_it(path: Path) -> None:
    with inspecting(path) as inspection:
        [task] = inspection.events("task", 0)
    assert as_message(task) == {
        "type": "any",
        "topic": "task:1",
        "data": {"n": 10, "padding": ""},
        "username": "alice",
        "source": "manager-1",
        "emitted_at": NOW_MS,
        "offset": 1,
        "relayed_at": NOW_MS + 10,
        "sequence": 10,
    }


def test_a_plain_event_has_no_sequence_and_maybe_no_user(path: Path) -> None:
    envelope = Envelope("event", {}, None, "", 5, "id")
    plain = Entry(b"event:plain", b"", pack_envelope(envelope, "event"))
    with closing(open_journal(path)) as journal:
        journal.append(Batch({"event": Run(10, NOW_MS, [plain])}, [], []))
    with inspecting(path) as inspection:
        [event] = inspection.events("event", 9)
        assert list(inspection.problems()) == []
    assert as_message(event).keys().isdisjoint({"sequence", "username"})


class TestBesideTheRelay:
    """The relay goes on meanwhile."""

    @pytest.fixture
    def journal(self, path: Path) -> Iterator[Journal]:
        with closing(open_journal(path)) as journal:
            yield journal

    def test_what_is_committed_later_is_seen(self, journal: Journal, path: Path) -> None:
        with inspecting(path) as inspection:
            assert list(inspection.events("event", 9)) == []
            journal.append(batch(10, 2))
            assert [event.offset for event in inspection.events("event", 9)] == [10, 11]
            assert inspection.streams()[0].tip == 11

    def test_it_writes_and_retires_in_the_midst_of_a_verification(
        self, journal: Journal, path: Path
    ) -> None:
        damage(path, "UPDATE emitters SET sequence = ?", (8).to_bytes(8))
        with inspecting(path) as inspection:
            found = inspection.problems()
            assert "beyond its cursor" in next(found)
            journal.append(batch(10))
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert list(found) == [], "it looks at one moment of the journal"
            assert inspection.streams()[0].low == 10

    def test_a_killed_relay_has_left_a_whole_journal(self, path: Path) -> None:
        def work() -> None:
            journal = open_journal(path)
            journal.append(Batch({"event": Run(10, NOW_MS, [entry(11)])}, [], []))
            journal.append(Batch({}, [Cursor(EMITTER_ID, "manager-1", 5, 11)], []))

        in_killed_process(work)
        assert problems(path) == []
        with inspecting(path) as inspection:
            assert inspection.streams()[0].tip == 10

    def test_looking_changes_nothing(self, path: Path) -> None:
        before = path.read_bytes()
        assert problems(path) == []
        assert path.read_bytes() == before


class TestCopy:
    def test_a_relay_begins_a_new_epoch_with_it(self, path: Path, tmp_path: Path) -> None:
        copied = tmp_path / "copy.db"
        with inspecting(path) as inspection:
            inspection.copy(copied)
            epoch, streams = inspection.epoch, inspection.streams()
        with inspecting(copied) as inspection:
            assert inspection.streams() == streams
            assert list(inspection.problems()) == []
        for _ in range(2):
            with closing(open_journal(copied)) as journal:
                begun = journal.epoch
                assert begun > epoch
                assert journal.streams["event"].tip == 9
        with closing(open_journal(copied)) as journal:
            assert journal.epoch == begun

    def test_while_a_relay_writes(self, path: Path, tmp_path: Path) -> None:
        with closing(open_journal(path)) as journal, inspecting(path) as inspection:
            inspection.copy(tmp_path / "copy.db")
            journal.append(batch(10, 3))
        with inspecting(tmp_path / "copy.db") as inspection:
            assert [line.tip for line in inspection.streams()] == [9, 1]

    def test_nothing_is_overwritten(self, path: Path) -> None:
        with inspecting(path) as inspection, pytest.raises(JournalRefused, match="cannot write"):
            inspection.copy(path)
        assert problems(path) == []


class TestProblems:
    """Each is named with where it is."""

    def test_a_whole_journal_has_none(self, path: Path) -> None:
        assert problems(path) == []

    def test_retention_is_no_problem(self, path: Path) -> None:
        with closing(open_journal(path)) as journal:
            journal.retire(Limits(0, 0), NOW_MS + 10**9)
            assert journal.streams["event"].low == 7
        assert problems(path) == []

    def test_a_missing_row(self, path: Path) -> None:
        damage(path, "DELETE FROM stream_1 WHERE last = 6")
        assert problems(path) == ["stream event: offset 4 is followed by 7"]

    def test_rows_that_overlap(self, path: Path) -> None:
        damage(path, "UPDATE stream_1 SET first = 5 WHERE last = 9")
        assert problems(path) == [
            "stream event: offset 7 is followed by 5",
            "stream event: 5 to 9 has 3 events",
        ]

    def test_a_row_with_an_event_too_few(self, path: Path) -> None:
        entries = pack_entries([entry(4), entry(5)])
        damage(path, "UPDATE stream_1 SET events = ? WHERE last = 6", entries)
        assert problems(path) == ["stream event: 4 to 6 has 2 events"]

    def test_a_cursor_that_is_too_low(self, path: Path) -> None:
        damage(path, "UPDATE emitters SET sequence = ?", (8).to_bytes(8))
        assert problems(path) == ["emitter manager-1: sequence 10 is beyond its cursor"]

    def test_a_cursor_of_an_older_epoch(self, path: Path) -> None:
        damage(path, "UPDATE emitters SET epoch = ?", (4).to_bytes(8))
        assert problems(path) == ["emitter manager-1: sequence 10 is beyond its cursor"]

    def test_a_cursor_of_a_newer_epoch_is_no_problem(self, path: Path) -> None:
        damage(path, "UPDATE emitters SET epoch = ?, sequence = ?", (6).to_bytes(8), bytes(8))
        assert problems(path) == []

    def test_an_event_that_was_journaled_twice(self, path: Path) -> None:
        entries = pack_entries([entry(4), entry(4), entry(6)])
        damage(path, "UPDATE stream_1 SET events = ? WHERE last = 6", entries)
        found = problems(path)
        assert found[0] == "stream event: offset 5: sequence 4 again"

    def test_an_event_that_is_in_two_streams(self, path: Path) -> None:
        entries = pack_entries([entry(9, topic="task:1")])
        damage(path, "UPDATE stream_2 SET events = ?", entries)
        assert problems(path) == ["emitter manager-1: a sequence number was journaled twice"]

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            (entry(5)._replace(topic=b"task:1"), "topic 'task:1' does not belong here"),
            (entry(5)._replace(topic=b"\xff"), "a topic must be UTF-8"),
            (entry(5)._replace(envelope=b"\xc1"), "not msgpack"),
            (entry(5)._replace(header=b"short"), "a header has 33 bytes"),
        ],
    )
    def test_an_event_that_cannot_be_read(self, path: Path, wrong: Entry, expected: str) -> None:
        entries = pack_entries([entry(4), wrong, entry(6)])
        damage(path, "UPDATE stream_1 SET events = ? WHERE last = 6", entries)
        [problem] = problems(path)
        assert problem.startswith("stream event: offset 5: ")
        assert expected in problem

    @pytest.mark.parametrize("events", [b"", b"\xc1", msgpack.packb(5), msgpack.packb([b"x"])])
    def test_a_row_that_cannot_be_read(self, path: Path, events: bytes) -> None:
        damage(path, "UPDATE stream_1 SET events = ? WHERE last = 6", events)
        with pytest.raises(JournalRefused, match="cannot use"):
            problems(path)

    @pytest.mark.parametrize("page", [-1, -2, 2, 5, 7])
    def test_a_damaged_page(self, path: Path, page: int) -> None:
        with closing(open_journal(path)) as journal:
            for first in range(10, 400, 4):
                journal.append(batch(first, 4, padding=300))
        content = bytearray(path.read_bytes())
        start = page * 4096 % len(content)
        content[start : start + 4096] = b"\x5a" * 4096
        path.write_bytes(content)
        try:
            said = problems(path)
        except JournalRefused as refusal:
            said = [str(refusal)]
        assert str(path) in said[0]


class TestRefusal:
    """What is no journal."""

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(JournalRefused, match="there is no journal at"):
            Inspection(tmp_path / "journal.db")
        assert list(tmp_path.iterdir()) == []

    def test_another_programs_database(self, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
            db.execute("CREATE TABLE notes (text)")
        with pytest.raises(JournalRefused, match="is not a journal of Event Relay"):
            Inspection(tmp_path / "journal.db")

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "journal.db").touch()
        with pytest.raises(JournalRefused, match="is not a journal of Event Relay"):
            Inspection(tmp_path / "journal.db")

    def test_a_newer_journal(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
        with pytest.raises(JournalRefused, match="has schema version 99"):
            Inspection(path)
