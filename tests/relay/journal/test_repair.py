"""Damaged tables beside the events are rebuilt, and hold what the events say."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.emitters import Cursor
from relay.core.retained import task_key, topic_of
from relay.journal.batch import JournalBatch, Run
from relay.journal.reader import StoredTask
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import Header, Stamp, pack_header, pack_stamp, unpack_stamp
from tests.relay.journal.journals import (
    EMITTER_ID,
    NOW_MS,
    offsets,
    open_journal,
    problems_of,
)


def update(topic: str, sequence: int, status: str) -> tuple[bytes, bytes, bytes]:
    data = {"status": status}
    envelope = pack_envelope(Envelope("any", data, "alice", "m", 5, f"id-{sequence}"), "task")
    return topic.encode(), pack_header(Header(EMITTER_ID, 5, sequence)), envelope


@pytest.fixture
def updated(path: Path) -> Path:
    """A journal with updates of three tasks, of which it knows the latest states."""
    updates = [("task:1", "in_progress"), ("task:2", "in_progress"), ("task:1", "success")]
    with closing(open_journal(path)) as journal:
        for number, (topic, status) in enumerate(updates, 1):
            run = Run(number, NOW_MS, [update(topic, number, status)])
            cursor = Cursor(EMITTER_ID, "manager-1", 5, number)
            journal.append(JournalBatch({"task": run}, [cursor]))
    return path


DAMAGES = [
    "UPDATE emitters SET sequence = 'x'",
    "UPDATE emitters SET epoch = x'00'",
    "INSERT INTO emitters VALUES (x'00', 5, 'a', 'b', 'c')",
    "UPDATE emitters SET name = x'ff'",
    "INSERT INTO tasks (topic, stamp, envelope, finished) VALUES (x'ff', 'x', 'y', 0)",
    "INSERT INTO tasks (topic, stamp, envelope, finished) VALUES ('task:9', x'00', x'00', 0)",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_rebuilt_from_the_events(
    updated: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(updated)) as other, other:
        other.execute(damage)
    is_of_tasks = "tasks" in damage
    with closing(open_journal(updated)) as journal:
        [cursor] = journal.cursors()
        assert (cursor.emitter_id, cursor.epoch, cursor.sequence) == (EMITTER_ID, 5, 3)
        assert journal.state.knows_all_emitters is is_of_tasks
        tasks = list(journal.tasks())
        if is_of_tasks:
            assert [(topic_of(task.key), task.is_finished) for task in tasks] == [
                ("task:2", False),
                ("task:1", True),
            ]
            assert [unpack_stamp(task.frames[1]).offset for task in tasks] == [2, 3]
        assert offsets(journal) == []
    assert "rebuilt from the events" in caplog.text
    assert problems_of(updated) == []


def test_whole_tables_are_left_alone(updated: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = StoredTask("task:7", (b"task:7", pack_header_stamp(), b"envelope"), False, b"")
    with closing(open_journal(updated)) as journal:
        journal.append(JournalBatch({}, (), [state]))
    with closing(open_journal(updated)) as journal:
        assert list(journal.tasks()) == [state]
        assert [each.name for each in journal.cursors()] == ["manager-1"]
    assert caplog.text == ""


def pack_header_stamp() -> bytes:
    """A stamp of no event in the journal."""
    return b"\x01" + bytes(24)


@pytest.mark.parametrize("is_rolled_back", [False, True])
def test_tasks_of_an_earlier_version_get_their_headers(path: Path, is_rolled_back: bool) -> None:
    """By them the relay knows whose they are. After a rollback an offset names another event."""
    received = update("task:1", 1, "in_progress")
    topic_frame, header, envelope = received
    stamp = pack_stamp(Stamp(7, 1, NOW_MS))
    task = StoredTask("task:1", (topic_frame, stamp, envelope), False, header)
    at_offset = update("task:1", 2, "in_progress") if is_rolled_back else received
    with closing(open_journal(path)) as journal:
        journal.append(JournalBatch({"task": Run(1, NOW_MS, [at_offset])}, (), [task]))
        assert list(journal.tasks()) == [task]
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("ALTER TABLE tasks DROP COLUMN header")
        other.execute("PRAGMA user_version = 2")
    for _ in range(2):
        with closing(open_journal(path)) as journal:
            assert [each.header for each in journal.tasks()] == [b"" if is_rolled_back else header]


def test_tasks_of_an_earlier_version_get_their_users(path: Path) -> None:
    """Of two users with one topic the earlier version has kept one task."""
    topic_frame, header, envelope = update("task:1", 1, "in_progress")
    stamp = pack_stamp(Stamp(7, 1, NOW_MS))
    key = task_key("task:1", "alice")
    task = StoredTask(key, (topic_frame, stamp, envelope), False, header)
    with closing(open_journal(path)) as journal:
        journal.append(JournalBatch({}, (), [task]))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE tasks SET topic = 'task:1'")
    for _ in range(2):
        with closing(open_journal(path)) as journal:
            assert list(journal.tasks()) == [task]
