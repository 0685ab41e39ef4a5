"""A full disk, and files that are no journals: no event is lost, no file overwritten."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from relay.journal.file import FILE_NAME
from relay.journal.format import JOURNAL_FORMAT
from relay.journal.journal import Journal
from relay.shared.transport import Socket, open_socket
from relay.wire.control import (
    HEARTBEAT_TOPIC,
    HelloReply,
)
from relay.wire.notices import Resend
from tests.e2e.journaled import QUICK, Start, Subscriber, journaled, same_numbers, shown_stats
from tests.relay.journal.journals import batch, in_killed_process, open_journal
from tests.support.cluster import Cluster
from tests.support.processes import run_cli
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(mounted)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {ended.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def fill(disk: Path) -> Path:
    """Fill the disk with one file; return its path."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


def settled(peer: RelayPeer) -> int:
    """Return the number of events relayed or refused; each is received some time before."""
    stats = peer.stats()
    counts: list[int] = [*stats["relayed"].values(), *stats["refused"].values()]
    return sum(counts)


class TestFullDisk:
    """Without room the relay acknowledges no event; with room again it recovers by itself."""

    COUNT = 400

    def test_it_is_said_and_costs_nothing(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer, small_disk: Path
    ) -> None:
        relay = cluster.start_relay(RELAY_DATA_DIR=str(small_disk), **QUICK)
        emitter = emitters()
        emitter.admitted()
        emitter.send(range(1, 11))
        emitter.wait_acknowledged(10)
        ballast = fill(small_disk)
        with closing(Subscriber(cluster, b"event:", b"resource-monitor:")) as subscriber:
            emitter.send(range(11, self.COUNT + 1), padding=1000)
            wait_for(lambda: not peer.stats()["journaling"], "the full disk is noticed")
            wait_for(lambda: settled(peer) == self.COUNT, "all are relayed or refused")
            stats = shown_stats(cluster)
            assert stats["journaling"] is False
            # A small batch may still fit beside the ballast.
            kept = stats["relayed"]["event"]
            assert 10 <= kept < self.COUNT // 2
            assert stats["refused"] == {"journal_unavailable": self.COUNT - kept}
            assert emitter.acknowledged == kept
            emitter.send([0], "resource-monitor:a")
            passed = [subscriber.event() for _ in range(kept - 10)]
            assert subscriber.event()[0] == "resource-monitor:a", "live values still pass"
            with closing(Subscriber(cluster, HEARTBEAT_TOPIC)) as other:
                _, heartbeat = other.heartbeat()
            assert (heartbeat.journaling, heartbeat.tips["event"]) == (False, kept)
            again = emitter.hello(kept)
            assert isinstance(again, HelloReply)
            assert again.sequence == kept
            ballast.unlink()
            wait_for(lambda: peer.stats()["journaling"], "there is room again")
            emitter.send([self.COUNT])
            wait_for(lambda: Resend(5, kept) in emitter.read_notices(), "the gap is told")
            emitter.send(range(kept + 1, self.COUNT + 1), padding=1000)
            emitter.wait_acknowledged(self.COUNT)
            heard = passed + [subscriber.event() for _ in range(self.COUNT - kept)]
        assert [(stamp.offset, n) for _, stamp, n in heard] == same_numbers(self.COUNT, 11)
        assert journaled(peer) == same_numbers(self.COUNT)
        output = relay.output()
        assert "no event of a stream is taken: " in output
        assert "disk is full" in output
        assert "the journal can be written again" in output
        assert "Traceback" not in output

    def test_plain_events_are_counted_as_lost(
        self, cluster: Cluster, peer: RelayPeer, small_disk: Path
    ) -> None:
        cluster.start_relay(RELAY_DATA_DIR=str(small_disk), **QUICK)
        context: zmq.Context[Socket] = zmq.Context()
        try:
            publisher = open_socket(context, zmq.XPUB)
            publisher.connect(cluster.ingress)
            subscribed: set[bytes] = set()
            while b"\x01event:" not in subscribed:
                assert publisher.poll(10_000), "the relay does not subscribe"
                subscribed.add(publisher.recv())
            fill(small_disk)
            for _ in range(200):
                publisher.send_multipart([b"event:x", b"\x81\xa1x\xda\x27\x10" + b"x" * 10_000])

            wait_for(lambda: settled(peer) == 200, "all are relayed or refused")
        finally:
            context.destroy(linger=0)
        stats = peer.stats()
        relayed = stats["relayed"].get("event", 0)
        assert stats["received"] == 200
        assert stats["refused"] == {"best_effort_drop": 200 - relayed}
        assert stats["streams"]["event"]["tip"] == relayed < 200

    def test_a_relay_killed_on_a_full_disk_loses_nothing(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer, small_disk: Path
    ) -> None:
        settings = {"RELAY_DATA_DIR": str(small_disk)} | QUICK
        relay = cluster.start_relay(**settings)
        emitter = emitters()
        emitter.admitted()
        emitter.send(range(1, 11))
        emitter.wait_acknowledged(10)
        ballast = fill(small_disk)
        emitter.send(range(11, 101), padding=1000)
        wait_for(lambda: not peer.stats()["journaling"], "the full disk is noticed")
        relay.kill()
        cluster.start_relay(**settings)
        ballast.unlink()
        wait_for(lambda: peer.stats()["journaling"], "there is room again")
        emitter.reconnect()
        sequence = emitter.admitted(10)
        assert sequence >= 10
        emitter.send(range(sequence + 1, 101))
        emitter.wait_acknowledged(100)
        assert journaled(peer) == same_numbers(100)


class TestRefusedFiles:
    """One line, exit code 2, and the file as it was."""

    @pytest.fixture
    def path(self, cluster: Cluster) -> Path:
        path = Path(cluster.env["RELAY_DATA_DIR"]) / FILE_NAME
        path.parent.mkdir()
        return path

    def refused(self, cluster: Cluster, path: Path) -> str:
        before = path.read_bytes()
        ended = run_cli("relay", env=cluster.env)
        assert ended.returncode == 2
        [line] = ended.stderr.splitlines()
        assert line.startswith("event-relay: ")
        assert str(path) in line
        assert path.read_bytes() == before
        return line

    def filled(self, path: Path) -> None:
        with closing(open_journal(path)) as journal:
            for first in range(1, 400, 4):
                journal.append(batch(first, 4, padding=300))

    def test_a_damaged_file(self, cluster: Cluster, path: Path) -> None:
        self.filled(path)
        content = bytearray(path.read_bytes())
        content[9 * 4096 : 9 * 4096 + 512] = os.urandom(512)
        path.write_bytes(content)
        assert "it was left unchanged: move it away to begin a new journal" in self.refused(
            cluster, path
        )
        path.rename(path.with_suffix(".damaged"))
        cluster.start_relay()

    def test_a_file_of_something_else(self, cluster: Cluster, path: Path) -> None:
        path.write_text("Dear diary, today nothing was relayed.\n" * 100)
        assert "is not a SQLite database, not a journal of Event Relay" in self.refused(
            cluster, path
        )

    def test_another_programs_database(self, cluster: Cluster, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE notes (text)")
        assert "not a journal of Event Relay" in self.refused(cluster, path)

    def test_a_newer_journal(self, cluster: Cluster, path: Path) -> None:
        def work() -> None:
            open_journal(path).append(batch(1))
            sqlite3.connect(path).execute(f"PRAGMA user_version = {known + 1}")

        known = JOURNAL_FORMAT.version
        in_killed_process(work)
        expected = f"has version {known + 1}, and this program knows version {known}: use a newer"
        assert expected in self.refused(cluster, path)

    def test_a_directory_in_use(self, cluster: Cluster) -> None:
        relay = cluster.start_relay()
        other = Cluster(cluster.directory)
        ended = run_cli("relay", env=other.env)
        path = Path(cluster.env["RELAY_DATA_DIR"]) / FILE_NAME
        assert ended.returncode == 2
        assert ended.stderr == f"event-relay: {path} is in use by another relay\n"
        relay.kill()
        other.start_relay()
        other.close()

    def test_a_directory_that_cannot_be_written(self, cluster: Cluster, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for directory in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/proc/relay")):
            ended = run_cli("relay", env=cluster.env | {"RELAY_DATA_DIR": str(directory)})
            assert ended.returncode == 2
            [line] = ended.stderr.splitlines()
            assert line.startswith(f"event-relay: {directory / FILE_NAME} cannot be used: ")

    def test_a_disk_that_is_read_only(self, cluster: Cluster, small_disk: Path) -> None:
        Journal(small_disk / FILE_NAME, ("event", "task"), power_safe=False).close()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        ended = run_cli("relay", env=cluster.env | {"RELAY_DATA_DIR": str(small_disk)})
        assert ended.returncode == 2
        [line] = ended.stderr.splitlines()
        assert line.startswith(f"event-relay: {small_disk / FILE_NAME} cannot be used: ")
        assert "Read-only file system" in line
