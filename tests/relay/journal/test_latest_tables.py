"""The newest number of an emitter and the newest state of a task replace the ones before."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.emitters import Cursor
from relay.journal.batch import JournalBatch
from relay.journal.journal import Journal
from relay.journal.reader import StoredTask
from relay.wire.header import Stamp, pack_stamp
from tests.relay.journal.journals import open_journal

FIRST, SECOND = (Cursor(letter * 16, "m", 2**64 - 1, 2**64 - 1) for letter in (b"a", b"b"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(open_journal(tmp_path / "journal.db")) as journal:
        yield journal


def task(key: str, state: bytes, *, is_finished: bool = False) -> StoredTask:
    stamp = pack_stamp(Stamp(1, 1, 1))
    return StoredTask(key, (key.encode(), stamp, state), is_finished, b"")


def test_the_newest_cursor_of_each_emitter_is_kept(journal: Journal) -> None:
    journal.append(JournalBatch({}, [FIRST._replace(sequence=1), SECOND]))
    journal.append(
        JournalBatch({}, [FIRST._replace(sequence=2)]),
        JournalBatch({}, [FIRST._replace(name="renamed")]),
    )
    assert sorted(journal.cursors()) == [FIRST._replace(name="renamed"), SECOND]


def test_tasks_are_in_the_order_of_their_updates(journal: Journal) -> None:
    journal.append(JournalBatch({}, tasks=[task("one", b"1"), task("two", b"2")]))
    journal.append(JournalBatch({}, tasks=[task("one", b"3", is_finished=True)]))
    found = [(each.key, each.frames[2], each.is_finished) for each in journal.tasks()]
    assert found == [("two", b"2", False), ("one", b"3", True)]


def test_a_task_may_be_forgotten_and_come_back_in_one_batch(journal: Journal) -> None:
    journal.append(JournalBatch({}, tasks=[task("one", b"1"), task("two", b"2")]))
    journal.append(JournalBatch({}, tasks=[task("two", b"4")], forgotten_tasks=["one", "two"]))
    assert [(each.key, each.frames[2]) for each in journal.tasks()] == [("two", b"4")]
