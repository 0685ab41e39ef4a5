"""A large journal is checked while it is used, and damage is told."""

from contextlib import closing
from pathlib import Path

import pytest

import relay.journal.file
import relay.journal.page_check
from relay.journal.file import JournalRefused
from relay.journal.page_check import PageCheck
from tests.relay.journal.journals import UNLIMITED_BYTES, batch, open_journal, published
from tests.support.waiting import wait_for

PAGE = 4096


@pytest.fixture
def large(path: Path) -> Path:
    """A journal of many pages."""
    with closing(open_journal(path)) as journal:
        for first in range(1, 200, 2):
            journal.append(batch(first, 2, padding=3000))
    return path


@pytest.fixture
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (relay.journal.file, relay.journal.page_check):
        monkeypatch.setattr(module, "MAX_CHECKED_BYTES", 0)


def damage(path: Path) -> None:
    """Overwrite a page in the middle of the tree."""
    content = bytearray(path.read_bytes())
    middle = len(content) // PAGE // 2 * PAGE
    content[middle : middle + PAGE] = b"\x5a" * PAGE
    path.write_bytes(content)


@pytest.mark.usefixtures("_all_are_large")
def test_damage_is_found_while_the_rest_is_read(
    large: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(large)
    with closing(open_journal(large)) as journal, published(journal) as found:
        wait_for(lambda: found.damage, "the damage is found")
        page = found.read("event", 0, 1000, UNLIMITED_BYTES)
        assert len(page) == 200
        assert sum(bool(topic) for topic, _, _ in page) > 100
    assert "what can be read is delivered" in caplog.text


def test_a_small_one_with_the_same_damage_is_refused(large: Path) -> None:
    damage(large)
    with pytest.raises(JournalRefused, match="is damaged"):
        open_journal(large)


@pytest.mark.usefixtures("_all_are_large")
def test_a_whole_one_is_silent(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    check = PageCheck(large)
    check._thread.join()
    assert not check.has_found_damage
    check.close()
    assert caplog.text == ""
