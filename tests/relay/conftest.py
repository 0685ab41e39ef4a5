"""Fixtures of the relay's tests: journals and sockets."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from relay.core.emitters import Cursor
from relay.journal.batch import JournalBatch, Run
from relay.journal.journal import Journal
from relay.shared import sqlite_file
from relay.shared.transport import Socket
from tests.relay.journal.journals import EMITTER_ID, NOW_MS, batch, event, open_journal


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a locked database: in these tests it stays locked."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal that does not exist yet, nor does its directory."""
    return tmp_path / "deep" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """An empty journal at `path`."""
    with closing(open_journal(path)) as journal:
        yield journal


@pytest.fixture
def filled(path: Path) -> Path:
    """A journal of nine events in rows of three, and one task; its relay has ended."""
    with closing(open_journal(path)) as journal:
        for first in (1, 4, 7):
            journal.append(batch(first, 3, relayed_at=NOW_MS + first))
        task = Run(1, NOW_MS + 10, [event(10, topic="task:1")])
        journal.append(JournalBatch({"task": task}, [Cursor(EMITTER_ID, "manager-1", 5, 10)]))
    return path


@pytest.fixture
def context() -> Iterator["zmq.Context[Socket]"]:
    """A ZeroMQ context whose sockets end with the test."""
    context: zmq.Context[Socket] = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(linger=0)
