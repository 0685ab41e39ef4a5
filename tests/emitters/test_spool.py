"""A spool keeps what it was given, and no file is taken for one that is not."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from emitters import Emitter, EmitterError, SpoolInUse, SpoolRefused, SpoolUnavailable
from emitters.core.identity import emitter_id_of_name
from emitters.core.outgoing import Outgoing
from emitters.spool import APPLICATION_ID, SCHEMA_VERSION, Spool
from relay.shared.settings import SettingsError
from relay.shared.sqlite_file import FileFormat, open_sqlite
from relay.wire.topics import parse_topic
from tests.relay.journal.journals import in_killed_process


def outgoing(number: int) -> Outgoing:
    return Outgoing(parse_topic("event:ü"), b"\x00%d" % number)


def open_spool(path: Path, name: str | None = "manager-1") -> Spool:
    return Spool(path, name, default_name="host-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manager-1.spool"


@pytest.fixture
def used(path: Path) -> Path:
    """A spool with the events 3 to 5, closed."""
    with closing(open_spool(path)) as spool:
        for number in range(1, 6):
            spool.append(number, [outgoing(number)])
        spool.forget(2)
    return path


def test_it_keeps_what_is_unacknowledged_under_one_epoch(path: Path) -> None:
    with closing(open_spool(path)) as spool:
        epoch = spool.epoch
        assert (spool.name, spool.acknowledged, spool.kept) == ("manager-1", 0, [])
        for number in range(1, 6):
            spool.append(number, [outgoing(number)])
        spool.forget(2)
    with closing(open_spool(path)) as spool:
        assert (spool.epoch, spool.acknowledged) == (epoch, 2)
        assert spool.kept == [outgoing(number) for number in (3, 4, 5)]
        spool.forget(5)
    with closing(open_spool(path)) as spool:
        assert (spool.epoch, spool.acknowledged, spool.kept) == (epoch, 5, [])


def test_events_that_were_added_together_are_kept_in_order(path: Path) -> None:
    with closing(open_spool(path)) as spool:
        spool.append(1, [outgoing(1)])
        spool.append(2, [outgoing(number) for number in (2, 3, 4)])
    with closing(open_spool(path)) as spool:
        assert spool.kept == [outgoing(number) for number in (1, 2, 3, 4)]


def test_it_can_be_numbered_anew(used: Path) -> None:
    with closing(open_spool(used)) as spool:
        spool.rewrite(9, [outgoing(10), outgoing(11)])
        spool.append(12, [outgoing(12)])
    with closing(open_spool(used)) as spool:
        assert spool.acknowledged == 9
        assert spool.kept == [outgoing(10), outgoing(11), outgoing(12)]


def test_a_spool_keeps_the_epoch_that_a_relay_has_handed_out(path: Path) -> None:
    with closing(open_spool(path)) as spool:
        assert spool.epoch == 0
        spool.keep_epoch(2**63 - 1)
    with closing(open_spool(path)) as spool:
        assert spool.epoch == 2**63 - 1


def text_file(path: Path) -> None:
    path.write_text("My precious notes, longer than the header of a database. " * 5)


def short_file(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00")


def foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE notes (text)")


def foreign_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA application_id = 42")


def newer_version(path: Path) -> None:
    open_spool(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def without_owner(path: Path) -> None:
    open_spool(path).close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM spool")


def without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def with_a_hole(path: Path) -> None:
    with closing(open_spool(path)) as spool:
        for number in (1, 2, 3):
            spool.append(number, [outgoing(number)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM events WHERE sequence = 2")


def overwritten(path: Path) -> None:
    with closing(open_spool(path)) as spool:
        for number in range(1, 200):
            spool.append(number, [Outgoing(parse_topic("event:a"), bytes(500))])
    content = bytearray(path.read_bytes())
    content[4096:20_000] = b"\xff" * (20_000 - 4096)
    path.write_bytes(content)


def of_another_emitter(path: Path) -> None:
    open_spool(path, "manager-2").close()


def a_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (text_file, "is not a SQLite database"),
        (short_file, "is not a SQLite database"),
        (foreign_database, "is another program's database"),
        (foreign_application, "is another program's database"),
        (
            newer_version,
            f"has version {SCHEMA_VERSION + 1}, and this program knows version {SCHEMA_VERSION}",
        ),
        (without_owner, "is damaged (it does not say whose it is)"),
        (without_tables, "is damaged: no such table: spool"),
        (with_a_hole, "is damaged (event 2 is missing)"),
        (overwritten, ""),
        (of_another_emitter, "belongs to the emitter 'manager-2', not to 'manager-1'"),
        (a_directory, "cannot be opened: Is a directory"),
    ],
)
def test_a_file_that_is_no_spool_of_ours_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], None], problem: str
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SpoolRefused) as refused:
        open_spool(path)
    assert str(refused.value).startswith(f"EMITTER_SPOOL: {path} {problem}")
    if before is not None:
        assert path.read_bytes() == before
    with pytest.raises(SettingsError):
        Emitter(name="manager-1", spool=path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", b"manager-1"),
        ("name", ""),
        ("epoch", "x"),
        ("epoch", -1),
        ("acknowledged", b"x"),
        ("acknowledged", 1.5),
        ("sent", "x"),
        ("relay_epoch", "x"),
        ("relay_epoch", str(2**64)),
        ("relay_epoch", b"\xff"),
        ("proof", "x"),
        ("proof", bytes(65)),
    ],
)
def test_a_spool_whose_head_cannot_be_read_is_refused(
    path: Path, column: str, value: object
) -> None:
    open_spool(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"UPDATE spool SET {column} = ?", (value,))
    with pytest.raises(SpoolRefused, match=rf" is damaged \({column}: "):
        open_spool(path)


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpoolRefused, match="cannot be opened: No such file or directory"):
        open_spool(tmp_path / "missing" / "spool")


def test_an_empty_file_and_an_abandoned_draft_become_a_spool(path: Path) -> None:
    """As `touch` makes one, and as a `kill -9` leaves one in the middle of making it."""
    path.touch()
    Path(f"{path}.new").write_bytes(b"half a database")
    Path(f"{path}.new-journal").write_bytes(b"half a journal")
    with closing(open_spool(path)) as spool:
        assert spool.kept == []


def test_only_its_owner_may_read_a_spool_and_one_that_others_could_read_is_mended(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def modes() -> dict[str, int]:
        return {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}

    before = os.umask(0)
    try:
        with closing(open_spool(path)) as spool:
            spool.append(1, [outgoing(1)])
            made = modes()
    finally:
        os.umask(before)
    assert f"{path.name}-wal" in made
    assert set(made.values()) == {0o600}, made
    path.chmod(0o644)
    with closing(open_spool(path)) as spool:
        assert spool.kept == [outgoing(1)]
        assert set(modes().values()) == {0o600}
    assert f"other users could read the spool; no longer: {path.name} (644)" in caplog.text


def test_one_emitter_at_a_time_has_a_spool(path: Path) -> None:
    with closing(open_spool(path)):
        with pytest.raises(SpoolInUse) as refused:
            open_spool(path)
        assert str(refused.value) == f"EMITTER_SPOOL: {path} is in use by another emitter"
    open_spool(path).close()


def test_a_spool_with_two_names_is_one_spool(path: Path) -> None:
    other = path.with_name("other.spool")
    with closing(open_spool(path)):
        other.symlink_to(path)
        with pytest.raises(SpoolInUse):
            open_spool(other)


def test_a_new_spool_takes_nothing_over_from_a_removed_one(path: Path) -> None:
    def fill() -> None:
        spool = open_spool(path)
        for number in (1, 2, 3):
            spool.append(number, [outgoing(number)])

    in_killed_process(fill)
    path.unlink()
    assert Path(f"{path}-wal").stat().st_size > 0
    with closing(open_spool(path, "manager-2")) as spool:
        assert (spool.name, spool.kept) == ("manager-2", [])


def test_what_was_added_before_the_relay_was_met_was_not_sent(path: Path) -> None:
    sent = []
    for number, meets in enumerate((False, True, False, False), 1):
        with closing(open_spool(path)) as spool:
            sent.append(spool.sent)
            if meets:
                spool.relay_was_met()
            spool.append(number, [outgoing(number)])
    assert sent == [0, 0, 2, 2]


APPENDED = ("INSERT INTO events VALUES (1,", "INSERT INTO events VALUES (7,")


def test_what_is_sent_next_does_not_depend_on_unsynced_changes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or after a power cut the relay would take events a second time, under other numbers."""
    statements: list[str] = []

    def open_and_watch(path: Path, file: FileFormat) -> sqlite3.Connection:
        database = open_sqlite(path, file)
        database.set_trace_callback(statements.append)
        return database

    monkeypatch.setattr("emitters.spool.open_sqlite", open_and_watch)
    with closing(open_spool(path)) as spool:
        statements.clear()
        spool.append(1, [outgoing(1)])
        spool.keep_epoch(7)
        spool.relay_was_met()
        spool.rewrite(5, [outgoing(6)])
        spool.append(7, [outgoing(7)])
        spool.forget(6)
    mode, modes = "NORMAL", dict[str, str]()
    for statement in statements:
        if statement.startswith("PRAGMA synchronous = "):
            mode = statement.rpartition(" ")[2]
        modes[statement] = mode
    assert modes["UPDATE spool SET epoch = 7"] == "FULL"
    assert modes["UPDATE spool SET sent = NULL"] == "FULL"
    assert modes["UPDATE spool SET acknowledged = 5, sent = 5, proof = NULL"] == "FULL"
    appended = [mode for sql, mode in modes.items() if sql.startswith(APPENDED)]
    assert appended == ["NORMAL", "NORMAL"], "an event does not wait for the disk"
    assert modes["UPDATE spool SET acknowledged = 6, proof = NULL"] == "NORMAL"


def test_a_spool_that_was_refused_is_not_locked(path: Path) -> None:
    of_another_emitter(path)
    with pytest.raises(SpoolRefused):
        open_spool(path)
    open_spool(path, "manager-2").close()


@pytest.fixture
def child_that_stays() -> Iterator[Callable[[], None]]:
    children: list[int] = []

    def fork() -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, b"!")
            signal.pause()
            os._exit(0)
        children.append(child)
        os.read(reader, 1)
        os.close(reader)
        os.close(writer)

    yield fork
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_forked_child_does_not_hold_the_lock(
    used: Path, child_that_stays: Callable[[], None]
) -> None:
    """It may outlive its parent, whose successor needs the spool."""
    with closing(open_spool(used)):
        child_that_stays()
    with closing(open_spool(used)) as spool:
        assert len(spool.kept) == 3


@pytest.mark.parametrize("named_by", ["argument", "environment", "nothing"])
def test_without_a_name_an_emitter_has_that_of_its_spool(
    used: Path, named_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default name is another for every process, and would be refused."""
    monkeypatch.setenv("EMITTER_SPOOL", str(used))
    if named_by == "environment":
        monkeypatch.setenv("EMITTER_NAME", "manager-1")
    emitter = Emitter(name="manager-1") if named_by == "argument" else Emitter()
    try:
        assert (emitter.name, emitter.spool) == ("manager-1", used)
        assert emitter.counters()["accepted"] == 5
        assert emitter.counters()["acknowledged"] == 2
    finally:
        assert emitter.close(0) == 3


def test_what_cannot_be_written_is_not_taken(used: Path) -> None:
    with closing(open_spool(used)) as spool:
        spool._database.execute("PRAGMA query_only = ON")
        with pytest.raises(SpoolUnavailable, match="cannot be written") as unavailable:
            spool.append(6, [outgoing(6)])
        assert isinstance(unavailable.value, EmitterError)
        with pytest.raises(SpoolUnavailable):
            spool.rewrite(9, [outgoing(10)])
        spool.forget(3)  # Logged; it is tried again with what is acknowledged next.


def test_an_event_is_in_the_file_when_append_returns(path: Path) -> None:
    with closing(open_spool(path)) as spool:
        for number in (1, 2):
            spool.append(number, [outgoing(number)])
            with closing(sqlite3.connect(path)) as reader:
                found = reader.execute("SELECT max(sequence) FROM events").fetchone()
            assert found == (number,)


def fill_in_killed_process(path: Path, count: int) -> None:
    def fill() -> None:
        spool = open_spool(path)
        for number in range(1, count + 1):
            spool.append(number, [outgoing(number)])

    in_killed_process(fill)


def test_one_bit_of_the_log_that_was_flipped_is_told_with_the_numbers(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite passes over everything behind it without a word."""
    fill_in_killed_process(path, 400)
    wal = Path(f"{path}-wal")
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 1
    wal.write_bytes(content)
    with closing(open_spool(path)) as spool:
        kept = len(spool.kept)
        assert 0 < kept < 400
        assert spool.kept == [outgoing(number) for number in range(1, kept + 1)]
        assert f"{400 - kept} events are lost, the numbers {kept + 1} to 400" in caplog.text
        spool.append(kept + 1, [outgoing(kept + 1)])
    caplog.clear()
    open_spool(path).close()
    assert caplog.text == "", "it is told once"


def test_a_file_of_0_bytes_beside_its_log_is_refused_and_left_as_it_is(path: Path) -> None:
    fill_in_killed_process(path, 400)
    path.write_bytes(b"")
    wal = Path(f"{path}-wal")
    before = wal.read_bytes()
    with pytest.raises(SpoolRefused, match=r"is empty, but its log .* holds events"):
        open_spool(path)
    assert wal.read_bytes() == before


def test_a_log_whose_file_is_gone_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill_in_killed_process(path, 3)
    path.unlink()
    open_spool(path).close()
    assert "is missing; the events in its log" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET envelope = x'00' WHERE sequence = 2",
        "UPDATE events SET topic = 'event:other' WHERE sequence = 2",
        "UPDATE events SET topic = 'no topic' WHERE sequence = 2",
        "UPDATE events SET envelope = 7 WHERE sequence = 2",
    ],
)
def test_a_damaged_event_uses_its_number_up_and_the_others_are_sent(
    path: Path, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    with closing(open_spool(path)) as spool:
        spool.append(1, [outgoing(number) for number in (1, 2, 3)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(change)
    with closing(open_spool(path)) as spool:
        assert [spool.kept[0], spool.kept[2]] == [outgoing(1), outgoing(3)]
        assert spool.kept[1].envelope == b"", "the relay counts it as malformed"
    assert "1 of 3 events are damaged and lost: 2" in caplog.text


def test_a_proof_is_kept_with_the_number_that_it_belongs_to(path: Path) -> None:
    with closing(open_spool(path)) as spool:
        assert spool.proof is None
        spool.append(1, [outgoing(number) for number in (1, 2, 3)])
        spool.forget(2, b"proof of 2")
    with closing(open_spool(path)) as spool:
        assert (spool.acknowledged, spool.proof) == (2, b"proof of 2")
        spool.rewrite(9, [outgoing(10)], b"proof of 9")
    with closing(open_spool(path)) as spool:
        assert (spool.acknowledged, spool.proof) == (9, b"proof of 9")
        spool.forget(10)
    with closing(open_spool(path)) as spool:
        assert (spool.acknowledged, spool.proof) == (10, None)


def test_a_spool_of_version_4_is_read_and_has_no_proof_yet(path: Path) -> None:
    with closing(open_spool(path)) as spool:
        emitter_id = spool.emitter_id
        spool.append(1, [outgoing(1), outgoing(2)])
        spool.forget(1)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("ALTER TABLE spool DROP COLUMN proof")
        database.execute("PRAGMA user_version = 4")
    with closing(open_spool(path)) as spool:
        assert (spool.acknowledged, spool.proof, spool.kept) == (1, None, [outgoing(2)])
        assert spool.emitter_id == emitter_id
        spool.forget(1, b"proof of 1")
    with closing(open_spool(path)) as spool:
        assert (spool.acknowledged, spool.proof, spool.kept) == (1, b"proof of 1", [outgoing(2)])
        assert spool.emitter_id == emitter_id


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_spool_of_an_earlier_version_is_read(path: Path, version: int) -> None:
    with closing(open_spool(path)) as spool:
        spool.append(1, [outgoing(1)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("ALTER TABLE spool DROP COLUMN proof")
        database.execute("ALTER TABLE spool DROP COLUMN emitter_id")
        if version < 3:
            database.execute("ALTER TABLE spool DROP COLUMN relay_epoch")
        if version == 1:
            database.execute("ALTER TABLE events DROP COLUMN checksum")
        database.execute(f"PRAGMA user_version = {version}")
    for number in (2, 3):
        with closing(open_spool(path)) as spool:
            assert spool.kept == [outgoing(each) for each in range(1, number)]
            assert spool.relay_epoch == (None if number == 2 else 2**64 - 1)
            assert spool.emitter_id == emitter_id_of_name("manager-1"), "the journal knows it"
            spool.keep_relay_epoch(2**64 - 1)
            spool.append(number, [outgoing(number)])
