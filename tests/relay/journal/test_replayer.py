"""Peers see what is published: no more, and while the disk is written."""

import sqlite3
from contextlib import closing

from relay.core.retention import Limits
from relay.journal.journal import Journal
from relay.wire.header import unpack_stamp
from tests.relay.journal.journals import NOW_MS, UNLIMITED_BYTES, batch, published


def test_events_are_shown_once_they_are_published(journal: Journal) -> None:
    journal.append(batch(1, 3))
    with published(journal) as found:
        journal.append(batch(4, 2))
        assert found.last_offsets == {"event": 3, "task": 0}
        page = found.read("event", 0, 10, UNLIMITED_BYTES)
        assert [unpack_stamp(stamp).offset for _, stamp, _ in page] == [1, 2, 3]
        found.update(journal.state)
        page = found.read("event", 3, 10, UNLIMITED_BYTES)
        assert [unpack_stamp(stamp).offset for _, stamp, _ in page] == [4, 5]


def test_rows_that_retention_removes_meanwhile_are_not_damaged(journal: Journal) -> None:
    for first in (1, 4, 7):
        journal.append(batch(first, 3))
    with published(journal) as found:
        journal.retire(Limits(0, 0), NOW_MS + 10**9)
        page = found.read("event", 0, 10, UNLIMITED_BYTES)
        assert [unpack_stamp(stamp).offset for _, stamp, _ in page] == [7, 8, 9]
        assert not any(found.damaged.values())


def test_it_is_read_while_another_connection_writes(journal: Journal) -> None:
    journal.append(batch(1))
    with published(journal) as found, closing(sqlite3.connect(journal.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert len(found.read("event", 0, 10, UNLIMITED_BYTES)) == 1


def test_an_event_is_contradicted_by_another_one_or_by_none(journal: Journal) -> None:
    journal.append(batch(1, 3))
    with published(journal) as found:
        assert not found.contradicts("event", 3, None)
        assert found.contradicts("event", 3, 5)
        assert found.contradicts("event", 4, None)
        assert not found.contradicts("unknown", 4, None)
