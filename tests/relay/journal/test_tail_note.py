"""The note beside the journal says exactly what was written last, or nothing."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.epochs import Tail
from relay.journal.tail_note import StreamSize, TailNote, TailNoteFile

LONG = TailNote(7, {"event": Tail(1042, 2**32 - 1), "task": Tail(0, 0), "audit": Tail(5, 6)})
SIZED = TailNote(7, {"event": Tail(5, 6)}, {"event": StreamSize(2, 2**40)})
SHORT = TailNote(2**63, {})


@pytest.fixture
def note(tmp_path: Path) -> Iterator[TailNoteFile]:
    with closing(TailNoteFile(tmp_path / "note")) as note:
        yield note


def test_a_new_file_says_nothing(note: TailNoteFile) -> None:
    assert note.read() is None


@pytest.mark.parametrize("content", [LONG, SIZED, SHORT])
def test_it_survives_its_writer(note: TailNoteFile, tmp_path: Path, content: TailNote) -> None:
    note.write(content)
    with closing(TailNoteFile(tmp_path / "note")) as again:
        assert again.read() == content


def test_a_shorter_note_replaces_a_longer_one(note: TailNoteFile) -> None:
    note.write(LONG)
    note.write(SHORT)
    assert note.read() == SHORT


def test_any_damage_is_noticed(note: TailNoteFile, tmp_path: Path) -> None:
    note.write(LONG)
    path = tmp_path / "note"
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        assert note.read() is None, place
        path.write_bytes(whole[:place])
        assert note.read() is None, place


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        TailNoteFile(tmp_path / "note").close()
    finally:
        os.umask(before)
    assert (tmp_path / "note").stat().st_mode & 0o777 == 0o600
