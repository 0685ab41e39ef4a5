"""The relay's journal with real processes: what was acknowledged is there, whatever happens."""

import json
import os
import secrets
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from relay.inspection import Inspection
from relay.journal import Journal
from relay.journal_file import FILE_NAME
from relay.transport import Socket, open_socket
from relay.wire.control import (
    HEARTBEAT_TOPIC,
    SYNC_PREFIX,
    ErrorReply,
    Heartbeat,
    HelloReply,
    Replay,
    ReplayReply,
    Retained,
    RetainedReply,
    unpack_heartbeat,
)
from relay.wire.envelope import unpack_envelope
from relay.wire.header import Stamp, unpack_stamp
from relay.wire.notices import Acknowledged, Resend
from tests.relay.journals import batch, in_killed_process, open_journal
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.raw_emitter import RawEmitter
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for

QUICK = {"RELAY_HEARTBEAT_S": "0.1"}
Start = Callable[..., RawEmitter]


@pytest.fixture
def emitters(cluster: Cluster) -> Iterator[Start]:
    """Opens an emitter's sockets, and closes them all."""
    opened: list[RawEmitter] = []

    def start(name: str = "raw", epoch: int = 5) -> RawEmitter:
        emitter = RawEmitter(cluster.ingress, cluster.control, name=name, epoch=epoch)
        opened.append(emitter)
        return emitter

    yield start
    for emitter in opened:
        emitter.close()


@pytest.fixture
def peer(cluster: Cluster) -> Iterator[RelayPeer]:
    """A tool that asks the relay."""
    with RelayPeer(cluster.control) as peer:
        yield peer


class Subscriber:
    """Hears what the relay publishes on `prefixes`, from when it is opened."""

    def __init__(self, cluster: Cluster, *prefixes: bytes) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._socket = open_socket(self._context, zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        nonce = SYNC_PREFIX + secrets.token_hex(8).encode()
        for prefix in (*prefixes, nonce):
            self._socket.subscribe(prefix)
        self._socket.connect(cluster.egress)
        while self._receive()[0] != nonce:
            pass

    def _receive(self) -> list[bytes]:
        assert self._socket.poll(10_000), "nothing is published"
        return self._socket.recv_multipart()

    def event(self) -> tuple[str, Stamp, int]:
        """The next event: its topic, its stamp and the number in its data."""
        topic, stamp, envelope = self._receive()
        name = topic.decode()
        data = unpack_envelope(envelope, name.partition(":")[0]).data
        return name, unpack_stamp(stamp), data["n"]

    def heartbeat(self) -> tuple[Stamp, Heartbeat]:
        """The next heartbeat."""
        topic, stamp, body = self._receive()
        assert topic == HEARTBEAT_TOPIC
        return unpack_stamp(stamp), unpack_heartbeat(body)

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextmanager
def inspecting(cluster: Cluster) -> Iterator[Inspection]:
    with closing(Inspection(Path(cluster.env["RELAY_DATA_DIR"]) / FILE_NAME)) as inspection:
        yield inspection


def journaled(peer: RelayPeer, stream: str = "event") -> list[tuple[int, int]]:
    """Offset and number of every event in the journal."""
    return [
        (unpack_stamp(stamp).offset, unpack_envelope(envelope, stream).data["n"])
        for page in peer.replay(stream)
        for _, stamp, envelope in page.items
    ]


def same_numbers(count: int, first: int = 1) -> list[tuple[int, int]]:
    """Events whose offsets are their numbers."""
    return [(number, number) for number in range(first, count + 1)]


class TestAcknowledgement:
    """Said after the commit, and never taken back."""

    def test_what_was_acknowledged_survives_kill_9(self, cluster: Cluster, emitters: Start) -> None:
        relay = cluster.start_relay()
        emitter = emitters()
        epoch = None
        sequence = emitter.admitted()
        for _ in range(4):
            emitter.send(range(sequence + 1, sequence + 3001), padding=200)
            emitter.wait_acknowledged(sequence + 1)
            relay.kill()
            acknowledged = emitter.acknowledged
            with inspecting(cluster) as inspection:
                assert list(inspection.problems()) == []
                [event, _] = inspection.streams()
                [cursor] = inspection.emitters()
                assert event.tip == cursor.sequence >= acknowledged
                assert epoch in (None, inspection.epoch), "a restart keeps the epoch"
                epoch = inspection.epoch
            relay = cluster.start_relay()
            emitter.reconnect()
            assert emitter.admitted(acknowledged) == event.tip
            sequence = event.tip
        with RelayPeer(cluster.control) as peer:
            assert journaled(peer) == same_numbers(sequence)

    def test_what_was_published_survives_kill_9(self, cluster: Cluster, emitters: Start) -> None:
        relay = cluster.start_relay()
        emitter = emitters()
        emitter.admitted()
        with closing(Subscriber(cluster, b"event:")) as subscriber:
            emitter.send(range(1, 3001), padding=200)
            heard = [subscriber.event() for _ in range(10)]
            relay.kill()
        assert [(stamp.offset, number) for _, stamp, number in heard] == same_numbers(10)
        with inspecting(cluster) as inspection:
            assert inspection.streams()[0].tip >= 10
            assert {stamp.epoch for _, stamp, _ in heard} == {inspection.epoch}

    def test_duplicates_are_dropped_and_acknowledged_again(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer
    ) -> None:
        relay = cluster.start_relay()
        emitter = emitters()
        emitter.admitted()
        emitter.send(range(1, 6))
        emitter.wait_acknowledged(5)
        emitter.send(range(2, 8))
        emitter.wait_acknowledged(7)
        relay.kill()
        cluster.start_relay()
        emitter.reconnect()
        assert emitter.admitted() == 7
        emitter.send(range(1, 9))
        emitter.wait_acknowledged(8)
        assert journaled(peer) == same_numbers(8)
        stats = peer.stats()
        assert stats["refused"] == {"duplicate": 7}
        assert stats["received"] == 8 == stats["relayed"]["event"] + 7

    def test_a_duplicate_alone_is_acknowledged(self, cluster: Cluster, emitters: Start) -> None:
        """Its emitter has missed the acknowledgement."""
        cluster.start_relay()
        emitter = emitters()
        emitter.admitted()
        emitter.send([1, 2])
        emitter.wait_acknowledged(2)
        emitter.notices.clear()
        emitter.send([1])
        emitter.wait_acknowledged(2)

    def test_a_gap_is_told_once(self, cluster: Cluster, emitters: Start, peer: RelayPeer) -> None:
        cluster.start_relay()
        emitter = emitters()
        emitter.admitted()
        emitter.send([1, 2])
        emitter.wait_acknowledged(2)
        emitter.send([5, 6])
        wait_for(lambda: Resend(5, 2) in emitter.read_notices(), "the gap is told")
        emitter.send([7, 8])
        wait_for(lambda: peer.stats()["refused"] == {"out_of_sequence": 4}, "all have come")
        emitter.send(range(3, 9))
        emitter.wait_acknowledged(8)
        told = emitter.read_notices()
        assert [each for each in told if isinstance(each, Resend)] == [Resend(5, 2)]
        assert {each.epoch for each in told if isinstance(each, Acknowledged)} == {5}
        assert journaled(peer) == same_numbers(8)

    def test_a_malformed_event_holds_nothing_up(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer
    ) -> None:
        cluster.start_relay()
        emitter = emitters()
        emitter.admitted()
        emitter.send([1])
        emitter.send_frames(b"event:x", 2, b"no envelope")
        emitter.send([3])
        emitter.wait_acknowledged(3)
        assert journaled(peer) == [(1, 1), (2, 3)]
        assert peer.stats()["malformed"] == {"invalid_envelope": 1}


class TestWhoMaySpeak:
    """One live process at a time under a name."""

    def test_events_before_hello_are_not_admitted(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer
    ) -> None:
        cluster.start_relay()
        emitter = emitters()
        emitter.wait_subscribed()
        emitter.send([1, 2])
        wait_for(lambda: peer.stats()["refused"] == {"not_admitted": 2}, "both are refused")
        assert emitter.read_notices() == []
        assert journaled(peer) == []

    def test_an_older_process_is_refused_for_good(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer
    ) -> None:
        relay = cluster.start_relay()
        newer = emitters(epoch=6)
        newer.admitted()
        newer.send([1])
        newer.wait_acknowledged(1)
        newer.close()
        older = emitters(epoch=5)
        for _ in range(2):
            reply = older.hello()
            assert isinstance(reply, ErrorReply)
            assert (reply.code, "'raw'" in reply.message) == ("stale_epoch", True)
            older.wait_subscribed()
            older.send([1])
            wait_for(lambda: peer.stats()["refused"] == {"not_admitted": 1}, "it is refused")
            relay.kill()
            relay = cluster.start_relay()
            older.reconnect()
        assert journaled(peer) == same_numbers(1)

    def test_a_second_live_process_waits_for_the_end_of_the_first(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer
    ) -> None:
        cluster.start_relay()
        first, second = emitters(epoch=5), emitters(epoch=6)
        first.admitted()
        first.send([1, 2])
        first.wait_acknowledged(2)
        reply = second.hello()
        assert isinstance(reply, ErrorReply)
        assert (reply.code, "'raw'" in reply.message) == ("emitter_in_use", True)
        first.send([3])
        first.wait_acknowledged(3)
        first.close()
        wait_for(lambda: not isinstance(second.hello(), ErrorReply), "the second is admitted")
        second.wait_subscribed()
        second.send([1])
        second.wait_acknowledged(1)
        assert journaled(peer) == [*same_numbers(3), (4, 1)]

    def test_a_process_that_comes_back_goes_on(self, cluster: Cluster, emitters: Start) -> None:
        cluster.start_relay()
        emitter = emitters()
        emitter.admitted()
        emitter.send([1, 2])
        emitter.wait_acknowledged(2)
        emitter.reconnect()
        assert emitter.admitted(1) == 2
        emitter.send([3])
        emitter.wait_acknowledged(3)

    def test_each_emitters_account_is_shown(self, cluster: Cluster, emitters: Start) -> None:
        cluster.start_relay()
        emitter = emitters("manager-1")
        emitter.admitted()
        emitter.send([1, 2, 2, 4])
        emitter.wait_acknowledged(2)
        emitter.account(accepted=5, acknowledged=2, outbox_full=1)
        stats = shown_stats(cluster)
        [shown] = stats["emitters"]
        assert (shown["name"], shown["epoch"], shown["sequence"]) == ("manager-1", 5, 2)
        assert (shown["taken"], shown["duplicate"], shown["out_of_sequence"]) == (2, 1, 1)
        assert shown["reported"] == {"accepted": 5, "acknowledged": 2, "outbox_full": 1}


def shown_stats(cluster: Cluster) -> dict[str, Any]:
    """What `event-relay stats` prints."""
    ended = run_cli("relay", "stats", env=cluster.env)
    assert ended.returncode == 0, ended.stderr
    shown: dict[str, Any] = json.loads(ended.stdout)
    return shown


class TestRestart:
    """A relay that is started again goes on where the first was."""

    def test_the_heartbeat_tells_of_the_restart_and_streams_go_on(
        self, cluster: Cluster, emitters: Start
    ) -> None:
        relay = cluster.start_relay(**QUICK)
        emitter = emitters()
        emitter.admitted()
        emitter.send([1, 2])
        emitter.send([3], "task:1", status="in_progress")
        emitter.wait_acknowledged(3)
        with closing(Subscriber(cluster, HEARTBEAT_TOPIC)) as subscriber:
            stamp, before = subscriber.heartbeat()
        relay.kill()
        cluster.start_relay(**QUICK)
        with closing(Subscriber(cluster, HEARTBEAT_TOPIC, b"event:")) as subscriber:
            again, after = subscriber.heartbeat()
            assert again.epoch == stamp.epoch
            assert after.started_at > before.started_at
            assert (after.tips, after.low) == ({"event": 2, "task": 1}, {"event": 1, "task": 1})
            assert (after.tips, after.low) == (before.tips, before.low)
            assert after.journaling

    def test_task_states_are_kept_and_the_finished_too(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer
    ) -> None:
        relay = cluster.start_relay()
        emitter = emitters()
        emitter.admitted()
        emitter.send([1], "task:1", status="in_progress")
        emitter.send([2], "task:2", status="in_progress")
        emitter.send([3], "task:2", status="success")
        emitter.wait_acknowledged(3)
        request = Retained(id=99, prefix="task:")
        before = peer.ask(request)
        assert isinstance(before, RetainedReply)
        assert [(item[0], unpack_stamp(item[1]).offset) for item in before.items] == [
            (b"task:1", 1),
            (b"task:2", 3),
        ]
        relay.kill()
        cluster.start_relay()
        assert peer.ask(request) == before

    def test_a_clean_end_loses_nothing_and_leaves_one_file(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer
    ) -> None:
        relay = cluster.start_relay()
        emitter = emitters()
        emitter.admitted()
        emitter.send(range(1, 101))
        emitter.wait_acknowledged(100)
        assert relay.terminate() == 0
        directory = Path(cluster.env["RELAY_DATA_DIR"])
        assert {each.name for each in directory.iterdir()} == {FILE_NAME, f"{FILE_NAME}.lock"}
        cluster.start_relay(RELAY_DURABILITY="power")
        assert journaled(peer) == same_numbers(100)


class TestRetention:
    """Old events go, and everybody can see from where on there are any."""

    def test_replay_starts_at_low(self, cluster: Cluster, emitters: Start, peer: RelayPeer) -> None:
        cluster.start_relay(RELAY_RETENTION_BYTES=str(64 * 1024), **QUICK)
        emitter = emitters()
        emitter.admitted()
        for number in range(1, 31):
            emitter.send([number], padding=8000)
            emitter.wait_acknowledged(number)
        with closing(Subscriber(cluster, HEARTBEAT_TOPIC)) as subscriber:
            _, heartbeat = subscriber.heartbeat()
        low = heartbeat.low["event"]
        assert 20 < low < 30
        assert heartbeat.tips["event"] == 30
        reply = peer.ask(Replay(id=99, stream="event", after=3))
        assert isinstance(reply, ReplayReply)
        assert (reply.low, reply.tip) == (low, 30)
        assert [unpack_stamp(item[1]).offset for item in reply.items] == list(range(low, 31))
        event = peer.stats()["streams"]["event"]
        assert (event["retention"], event["low"]) == (low - 1, low)
        assert event["stored_bytes"] <= 64 * 1024

    def test_old_events_go_without_new_ones(
        self, cluster: Cluster, emitters: Start, peer: RelayPeer
    ) -> None:
        cluster.start_relay(RELAY_RETENTION_S="0.5", **QUICK)
        emitter = emitters()
        emitter.admitted()
        for number in (1, 2, 3):
            emitter.send([number])
            emitter.wait_acknowledged(number)
        wait_for(lambda: peer.stats()["streams"]["event"]["low"] == 3, "low moves")
        assert peer.stats()["streams"]["event"]["tip"] == 3, "the newest row stays"


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
    """Write a file until nothing more fits; return it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


class TestFullDisk:
    """Nothing is acknowledged while nothing can be journaled, and it recovers by itself."""

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
            wait_for(lambda: peer.stats()["received"] == self.COUNT, "all have come")
            stats = shown_stats(cluster)
            assert stats["journaling"] is False
            assert stats["relayed"] == {"event": 10}
            assert stats["refused"] == {"journal_unavailable": self.COUNT - 10}
            assert emitter.acknowledged == 10
            emitter.send([0], "resource-monitor:a")
            assert subscriber.event()[0] == "resource-monitor:a", "live values still pass"
            with closing(Subscriber(cluster, HEARTBEAT_TOPIC)) as other:
                _, heartbeat = other.heartbeat()
            assert (heartbeat.journaling, heartbeat.tips["event"]) == (False, 10)
            again = emitter.hello(10)
            assert isinstance(again, HelloReply)
            assert again.sequence == 10
            ballast.unlink()
            wait_for(lambda: peer.stats()["journaling"], "there is room again")
            emitter.send([self.COUNT])
            wait_for(lambda: Resend(5, 10) in emitter.read_notices(), "the gap is told")
            emitter.send(range(11, self.COUNT + 1), padding=1000)
            emitter.wait_acknowledged(self.COUNT)
            heard = [subscriber.event() for _ in range(self.COUNT - 10)]
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
            wait_for(lambda: peer.stats()["received"] == 200, "all have come")
        finally:
            context.destroy(linger=0)
        stats = peer.stats()
        relayed = stats["relayed"].get("event", 0)
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
        assert "it is left as it is: move it away to begin a new journal" in self.refused(
            cluster, path
        )
        path.rename(path.with_suffix(".damaged"))
        cluster.start_relay()

    def test_a_file_of_something_else(self, cluster: Cluster, path: Path) -> None:
        path.write_text("Dear diary, today nothing was relayed.\n" * 100)
        assert "file is not a database" in self.refused(cluster, path)

    def test_another_programs_database(self, cluster: Cluster, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE notes (text)")
        assert "is not a journal of Event Relay" in self.refused(cluster, path)

    def test_a_newer_journal(self, cluster: Cluster, path: Path) -> None:
        def work() -> None:
            open_journal(path).append(batch(1))
            sqlite3.connect(path).execute("PRAGMA user_version = 2")

        in_killed_process(work)
        assert "has schema version 2, and this program knows 1: use a newer" in self.refused(
            cluster, path
        )

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
            assert line.startswith(f"event-relay: cannot use {directory / FILE_NAME}: ")

    def test_a_disk_that_is_read_only(self, cluster: Cluster, small_disk: Path) -> None:
        Journal(small_disk / FILE_NAME, ("event", "task"), power_safe=False).close()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        ended = run_cli("relay", env=cluster.env | {"RELAY_DATA_DIR": str(small_disk)})
        assert ended.returncode == 2
        [line] = ended.stderr.splitlines()
        assert line.startswith(f"event-relay: cannot use {small_disk / FILE_NAME}: ")
        assert "Read-only file system" in line


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
            assert lines[0] == ["epoch", str(inspection.epoch)]
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
        tail = cluster.start("tail", command)
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
            epoch = inspection.epoch
        assert relay.terminate() == 0
        copy.rename(path)
        cluster.start_relay()
        with inspecting(cluster) as inspection:
            assert inspection.epoch > epoch
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
