"""`event-relay journal` beside a relay that writes."""

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.journal.file import FILE_NAME
from tests.e2e.journaled import Start, inspecting
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.raw_emitter import RawEmitter
from tests.support.waiting import wait_for


class TestTool:
    """`event-relay journal`, while the relay writes."""

    @pytest.fixture
    def relay(self, cluster: Cluster) -> ManagedProcess:
        return cluster.start_relay()

    @pytest.fixture
    def emitter(self, relay: ManagedProcess, emitters: Start) -> RawEmitter:
        """One that has sent twenty events and a task's state."""
        assert relay.returncode is None
        emitter = emitters("manager-1")
        emitter.admitted()
        emitter.send(range(1, 21))
        emitter.send([21], "task:1", status="in_progress")
        emitter.wait_acknowledged(21)
        return emitter

    def run(self, cluster: Cluster, *arguments: str) -> str:
        ended = run_cli("relay", "journal", *arguments, env=cluster.env)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    @pytest.mark.usefixtures("emitter")
    def test_list(self, cluster: Cluster) -> None:
        lines = [line.split() for line in self.run(cluster, "list").splitlines()]
        with inspecting(cluster) as inspection:
            assert lines[0] == ["epoch", str(inspection.epoch())]
        by_name = {line[0]: line for line in lines}
        assert by_name["event"][1:3] == ["1", "20"]
        assert by_name["task"][1:3] == ["1", "1"]
        assert by_name["manager-1"][1:3] == ["21", "5"]

    @pytest.mark.usefixtures("emitter")
    def test_tail(self, cluster: Cluster) -> None:
        newest = [json.loads(line) for line in self.run(cluster, "tail").splitlines()]
        assert [event["offset"] for event in newest] == list(range(11, 21))
        assert newest[-1]["data"]["n"] == newest[-1]["sequence"] == 20
        assert newest[-1]["topic"] == "event:x"
        two = self.run(cluster, "tail", "event", "-n", "2").splitlines()
        assert [json.loads(line)["offset"] for line in two] == [19, 20]
        [task] = self.run(cluster, "tail", "task").splitlines()
        assert json.loads(task)["data"]["status"] == "in_progress"
        assert self.run(cluster, "tail", "-n", "0") == ""
        unknown = run_cli("relay", "journal", "tail", "nothing", env=cluster.env)
        assert unknown.returncode == 1
        assert unknown.stderr == "Error: 'nothing' is not a stream of this journal\n"

    def test_tail_follows(self, cluster: Cluster, emitter: RawEmitter) -> None:
        command = python("-m", "relay", "journal", "tail", "-f", "-n", "1")
        tail = cluster.start_forked("tail", command)
        wait_for(lambda: offsets_in(tail) == [20], "it begins with the newest")
        emitter.send([22, 23])
        wait_for(lambda: offsets_in(tail) == [20, 21, 22], "it goes on")
        tail.signal(signal.SIGINT)
        wait_for(lambda: tail.returncode is not None, "it ends")
        assert "Traceback" not in tail.output()

    def test_verify_while_the_relay_writes(self, cluster: Cluster, emitter: RawEmitter) -> None:
        emitter.send(range(22, 5001), padding=200)
        emitter.wait_acknowledged(22)
        lines = self.run(cluster, "verify").splitlines()
        assert lines[-1] == "the journal is whole"
        emitter.wait_acknowledged(5000)
        assert "event: 4999 events, 1 to 4999" in self.run(cluster, "verify").splitlines()

    @pytest.mark.usefixtures("emitter")
    def test_verify_names_what_is_wrong(self, cluster: Cluster) -> None:
        path = Path(cluster.env["RELAY_DATA_DIR"]) / FILE_NAME
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE emitters SET sequence = ?", ((3).to_bytes(8),))
        ended = run_cli("relay", "journal", "verify", env=cluster.env)
        assert ended.returncode == 1
        assert ended.stderr == "emitter manager-1: sequence 21 is beyond its cursor\n"
        assert ended.stdout == ""

    def test_a_copy_that_is_put_back_has_an_epoch_of_its_own(
        self, cluster: Cluster, relay: ManagedProcess, emitter: RawEmitter
    ) -> None:
        """Or what is emitted after it would have offsets that clients have seen already."""
        path = Path(cluster.env["RELAY_DATA_DIR"]) / FILE_NAME
        copy = path.with_name("copy.db")
        assert self.run(cluster, "copy", str(copy)) == ""
        emitter.send([22])
        emitter.wait_acknowledged(22)
        again = run_cli("relay", "journal", "copy", str(copy), env=cluster.env)
        assert again.returncode == 2
        assert (
            again.stderr == f"event-relay: cannot write {copy}: [Errno 17] File exists: '{copy}'\n"
        )
        with inspecting(cluster) as inspection:
            epoch = inspection.epoch() or 0
        relay.kill()
        there = run_cli("relay", "journal", "restore", str(copy), env=cluster.env)
        assert there.returncode == 2
        assert "exists: move it away first" in there.stderr
        path.rename(path.with_name("old.db"))
        # What the killed relay had not moved out of its write-ahead log is not the copy's.
        assert Path(f"{path}-wal").stat().st_size > 0
        assert self.run(cluster, "restore", str(copy)) == ""
        cluster.start_relay()
        with inspecting(cluster) as inspection:
            assert (inspection.epoch() or 0) > epoch
        assert "event: 20 events, 1 to 20" in self.run(cluster, "verify").splitlines()

    @pytest.mark.parametrize("command", ["list", "tail", "verify"])
    def test_without_a_journal(self, cluster: Cluster, command: str) -> None:
        ended = run_cli("relay", "journal", command, env=cluster.env)
        path = Path(cluster.env["RELAY_DATA_DIR"]) / FILE_NAME
        assert ended.returncode == 2
        assert ended.stderr == f"event-relay: there is no journal at {path}\n"
        assert not path.parent.exists()


def offsets_in(tail: ManagedProcess) -> list[int]:
    return [json.loads(line)["offset"] for line in tail.output().splitlines()]
