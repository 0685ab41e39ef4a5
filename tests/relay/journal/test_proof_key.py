"""The key of a journal's proofs stays with the journal."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.proofs import KEY_BYTES
from relay.journal.file import copy_journal, restore_journal
from relay.journal.proof_key import key_of, meta_of_key
from tests.relay.journal.journals import batch, in_killed_process, open_journal

ANY = (7, b"e" * 16, 5, 41)


def proof(path: Path) -> bytes:
    """A proof by the journal at `path`, which is opened and closed for it."""
    with closing(open_journal(path)) as journal:
        journal.append(batch(journal.last_offsets["event"] + 1))
        return journal.state.proofs.of(*ANY)


def test_a_key_is_read_as_it_was_noted() -> None:
    key = bytes(range(KEY_BYTES))
    assert key_of(meta_of_key(key)) == key


@pytest.mark.parametrize("stored", [None, "", "abc", "g" * 64, "0" * 63, "0" * 65, b"0" * 64, 5])
def test_without_one_that_can_be_read_there_is_another_each_time(stored: object) -> None:
    name = next(iter(meta_of_key(b"")))
    keys = {key_of({} if stored is None else {name: stored}) for _ in range(2)}
    assert sorted(map(len, keys)) == [KEY_BYTES] * 2


def test_the_next_relay_knows_the_proofs(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    assert proof(path) == proof(path)


def test_also_after_a_kill_before_the_first_event(tmp_path: Path) -> None:
    path, told = tmp_path / "journal.db", tmp_path / "told"
    in_killed_process(lambda: told.write_bytes(open_journal(path).state.proofs.of(*ANY)))
    assert told.read_bytes() == proof(path)


def test_a_copy_that_is_put_back_knows_them(tmp_path: Path) -> None:
    path, copy, other = (tmp_path / name / "journal.db" for name in ("first", "copy", "other"))
    before = proof(path)
    copy.parent.mkdir()
    copy_journal(path, copy)
    restore_journal(other, copy)
    assert proof(other) == before


def test_a_new_journal_does_not(tmp_path: Path) -> None:
    assert proof(tmp_path / "one" / "journal.db") != proof(tmp_path / "two" / "journal.db")


def test_a_journal_of_an_earlier_version_gets_one_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    before = proof(path)
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("DELETE FROM meta WHERE key = 'proof_key'").rowcount == 1
    after = proof(path)
    assert after != before
    assert proof(path) == after
