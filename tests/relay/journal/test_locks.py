"""Another program that looks at the journal with SQLite takes nothing away from the relay."""

import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from relay.journal import file as journal_file
from relay.journal import page_check
from relay.journal.page_check import PageCheck
from relay.journal.reader import reading_journal
from relay.journal.replayer import PublishedJournal
from tests.relay.journal.journals import batch, begin_epoch, open_journal

LOOK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT * FROM streams").fetchall()
database.close()
"""


def look(path: Path) -> None:
    """Read the journal in another process, which takes itself for the last one if it may."""
    subprocess.run([sys.executable, "-c", LOOK, path], check=True)


@pytest.mark.parametrize("is_large", [False, True])
def test_events_stay_when_another_program_has_looked_at_the_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """Each of the relay's connections is opened beside the others, some are closed earlier."""
    if is_large:
        for module in (journal_file, page_check):
            monkeypatch.setattr(module, "MAX_CHECKED_BYTES", 0)
    with ExitStack() as stack:
        journal = stack.enter_context(closing(open_journal(path)))
        journal.append(batch(1))
        for _ in range(2):
            published = PublishedJournal(path, journal.state, begin_epoch(journal))
            stack.enter_context(closing(published))
            published.close()
        stack.enter_context(closing(PageCheck(path)))
        look(path)
        journal.append(batch(2))
        with reading_journal(path) as reader:
            assert [each.offset for each in reader.events("event", 0)] == [1, 2]
        other = stack.enter_context(closing(sqlite3.connect(path)))
        assert other.execute("SELECT count(*) FROM stream_1").fetchone() == (2,)
