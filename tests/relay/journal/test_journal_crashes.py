"""After a crash the journal has every acknowledged event, or it starts a new epoch."""

import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

import relay.journal.origin
from relay.core.emitters import Cursor
from relay.wire.header import Stamp, unpack_stamp
from tests.relay.journal.journals import (
    EMITTER_ID,
    NOW_MS,
    batch,
    in_killed_process,
    offsets,
    open_journal,
    read,
)
from tests.support.processes import ManagedProcess
from tests.support.waiting import wait_for


class TestEnds:
    """The next relay finds every acknowledged event."""

    def test_a_clean_end(self, path: Path) -> None:
        with closing(open_journal(path)) as journal:
            journal.append(batch(1, 5))
            epoch, state = journal.epoch, journal.streams["event"]
        left = {each.name for each in path.parent.iterdir() if each.suffix != ".lock"}
        assert left == {"journal.db", "journal.db-tail"}, "the WAL is in the file"
        with closing(open_journal(path)) as journal:
            assert (journal.epoch, journal.streams["event"]) == (epoch, state)
            assert journal.cursors() == [Cursor(EMITTER_ID, "manager-1", 5, 5)]
            assert offsets(journal) == [1, 2, 3, 4, 5]

    def test_an_unclean_end(self, path: Path) -> None:
        def work() -> None:
            journal = open_journal(path)
            journal.append(batch(1, 5))
            os.write(writer, journal.epoch.to_bytes(8))

        reader, writer = os.pipe()
        in_killed_process(work)
        epoch = int.from_bytes(os.read(reader, 8))
        os.close(reader)
        os.close(writer)
        with closing(open_journal(path)) as journal:
            assert journal.epoch == epoch
            assert offsets(journal) == [1, 2, 3, 4, 5]
            assert journal.cursors() == [Cursor(EMITTER_ID, "manager-1", 5, 5)]
            journal.append(batch(6))
            assert journal.streams["event"].last_offset == 6

    @pytest.mark.process
    @pytest.mark.parametrize("power_safe", [False, True])
    def test_killed_in_the_midst_of_commits(self, path: Path, power_safe: bool) -> None:
        """Committed events are there, and events and cursors agree."""
        for _ in range(3):
            program = [sys.executable, "-c", _APPENDING, str(path), str(power_safe)]
            process = ManagedProcess("appending", program, {})
            process.start()
            try:
                wait_for(lambda p=process: p.output().count("\n") > 30, "thirty commits")  # type: ignore[misc]
                process.signal(signal.SIGKILL)
                wait_for(lambda p=process: p.returncode is not None, "the end")  # type: ignore[misc]
                printed = int(process.output().rpartition("\n")[0].rpartition("\n")[2])
            finally:
                process.close()
            with closing(open_journal(path)) as journal:
                last = journal.streams["event"].last_offset
                assert last >= printed
                found: list[int] = []
                while page := offsets(journal, len(found)):
                    found += page
                assert found == list(range(1, last + 1))
                [cursor] = journal.cursors()
                assert cursor.sequence == last


_APPENDING = """
import sys
from pathlib import Path
from tests.relay.journal.journals import batch, open_journal
journal = open_journal(Path(sys.argv[1]), power_safe=sys.argv[2] == "True")
last = journal.streams["event"].last_offset
while True:
    journal.append(batch(last + 1, 7, padding=500))
    last += 7
    print(last, flush=True)
"""


class TestEpoch:
    """It changes when acknowledged events may be missing, and only then."""

    @pytest.fixture(autouse=True)
    def boot_id(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The file that tells one start of this machine from another."""
        boot_id = tmp_path / "boot_id"
        boot_id.write_text("first\n")
        monkeypatch.setattr(relay.journal.origin, "BOOT_ID", boot_id)
        return boot_id

    def epoch_of(self, path: Path, *, power_safe: bool = False) -> int:
        """Open, and end as a killed process does."""
        reader, writer = os.pipe()

        def work() -> None:
            os.write(writer, open_journal(path, power_safe=power_safe).epoch.to_bytes(8))

        in_killed_process(work)
        os.close(writer)
        epoch = int.from_bytes(os.read(reader, 8))
        os.close(reader)
        return epoch

    def test_a_killed_process_keeps_it(self, path: Path) -> None:
        assert self.epoch_of(path) == self.epoch_of(path)

    def test_a_power_cut_begins_a_new_one(self, path: Path, boot_id: Path) -> None:
        before = self.epoch_of(path)
        boot_id.write_text("second\n")
        after = self.epoch_of(path)
        assert after > before
        assert self.epoch_of(path) == after

    def test_a_power_cut_with_a_clock_set_back_begins_a_greater_one(
        self, path: Path, boot_id: Path
    ) -> None:
        far = 2**53
        self.epoch_of(path)
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (str(far),))
        boot_id.write_text("second\n")
        assert self.epoch_of(path) == far + 1

    def test_a_power_cut_costs_nothing_if_commits_are_power_safe(
        self, path: Path, boot_id: Path
    ) -> None:
        before = self.epoch_of(path, power_safe=True)
        boot_id.write_text("second\n")
        assert self.epoch_of(path, power_safe=True) == before

    def test_a_clean_end_before_the_power_cut_keeps_it(self, path: Path, boot_id: Path) -> None:
        with closing(open_journal(path)) as journal:
            before = journal.epoch
        boot_id.write_text("second\n")
        assert self.epoch_of(path) == before

    def test_power_safety_counts_from_when_it_is_asked_for(self, path: Path, boot_id: Path) -> None:
        """Commits that were not power safe may be missing all the same."""
        before = self.epoch_of(path)
        boot_id.write_text("second\n")
        assert self.epoch_of(path, power_safe=True) > before

    def test_a_machine_that_cannot_be_told_from_another_is_another(
        self, path: Path, boot_id: Path
    ) -> None:
        before = self.epoch_of(path)
        boot_id.unlink()
        assert self.epoch_of(path) > before

    def test_replayed_events_carry_the_new_one(self, path: Path, boot_id: Path) -> None:
        in_killed_process(lambda: open_journal(path).append(batch(1)))
        boot_id.write_text("second\n")
        with closing(open_journal(path)) as journal:
            [(_, stamp, _)] = read(journal, "event", 0, 1, 1)
            assert unpack_stamp(stamp) == Stamp(journal.epoch, 1, NOW_MS)
