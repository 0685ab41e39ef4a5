"""A journal that has lost its newest events never gives their offsets out again unnoticed.

The relay is killed, its files are set back, and it starts again on the same boot of the machine.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay.journal.file import FILE_NAME
from relay.wire.control import HelloReply
from tests.e2e.journaled import QUICK, Start, shown_stats
from tests.support.clients import Client
from tests.support.cluster import Cluster, Edge
from tests.support.raw_emitter import RawEmitter
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for

BEFORE = 40
AFTER = 60


def copy_of(directory: Path) -> Path:
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    return copy


def wal_is_deleted(directory: Path, _copy: Path) -> None:
    assert (directory / f"{FILE_NAME}-wal").stat().st_size
    (directory / f"{FILE_NAME}-wal").unlink()


def wal_is_cut(directory: Path, _copy: Path) -> None:
    wal = directory / f"{FILE_NAME}-wal"
    with wal.open("rb+") as file:
        file.truncate(wal.stat().st_size // 2)


def wal_has_a_flipped_byte(directory: Path, _copy: Path) -> None:
    wal = directory / f"{FILE_NAME}-wal"
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 1
    wal.write_bytes(content)


def journal_is_older(directory: Path, copy: Path) -> None:
    # New files: a running relay has the old ones open.
    for suffix in ("", "-wal"):
        (directory / f"{FILE_NAME}{suffix}").unlink()
        shutil.copyfile(copy / f"{FILE_NAME}{suffix}", directory / f"{FILE_NAME}{suffix}")
    (directory / f"{FILE_NAME}-shm").unlink(missing_ok=True)


def directory_is_older(directory: Path, copy: Path) -> None:
    """As when the file system forgets its newest writes: the note beside the journal as well."""
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)


def journal_is_removed(directory: Path, _copy: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        (directory / f"{FILE_NAME}{suffix}").unlink()


def directory_is_removed(directory: Path, _copy: Path) -> None:
    shutil.rmtree(directory)


Damage = Callable[[Path, Path], None]
DAMAGES = [
    wal_is_deleted,
    wal_is_cut,
    wal_has_a_flipped_byte,
    journal_is_older,
    directory_is_older,
    journal_is_removed,
]


class TestRollback:
    """Live clients receive every new event under a new epoch; resuming ones are told of losses."""

    @pytest.fixture
    def edge(self, cluster: Cluster) -> Edge:
        self.relay = cluster.start_relay()
        return patient_edge(cluster)

    @pytest.fixture
    def client(self, cluster: Cluster, edge: Edge) -> Client:
        client = cluster.connect(edge, "alice")
        self.epoch = client.subscribe("event:*")["epoch"]
        return client

    def roll_back(self, cluster: Cluster, emitter: RawEmitter, damage: Damage) -> None:
        """Have twenty events acknowledged that the journal no longer has after the restart."""
        directory = Path(cluster.env["RELAY_DATA_DIR"])
        emitter.admitted()
        emitter.send(range(1, BEFORE // 2 + 1), padding=1000)
        emitter.wait_acknowledged(BEFORE // 2)
        copy = copy_of(directory)
        for number in range(BEFORE // 2 + 1, BEFORE + 1):
            emitter.send([number], padding=1000)
            emitter.wait_acknowledged(number)
        self.relay.kill()
        damage(directory, copy)
        self.relay = cluster.start_relay()

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_nothing_is_dropped_as_repeated(
        self, cluster: Cluster, edge: Edge, client: Client, emitters: Start, damage: Damage
    ) -> None:
        first = emitters("first")
        self.roll_back(cluster, first, damage)
        # An emitter that knows nothing of the lost events: only note and edge can prove the loss.
        second = emitters("second")
        second.admitted()
        second.send(range(1, AFTER + 1), by="second")
        second.wait_acknowledged(AFTER)
        receive_all_numbers(client, AFTER)
        positions = [m for m in client.received if m.get("type") == "position"]
        assert positions[-1]["epoch"] > self.epoch
        again = cluster.connect(edge, "alice")
        reply = again.ask(
            {
                "action": "subscribe",
                "topic": "event:*",
                "since": {"event": BEFORE},
                "epoch": self.epoch,
            }
        )
        assert (reply["recovered"], reply["epoch"]) == (False, positions[-1]["epoch"])
        assert shown_stats(cluster)["rollbacks"] == 1
        assert "epoch" in next(line for line in self.relay.output().splitlines() if "ERROR" in line)

    def test_an_emitter_proves_it_while_the_relay_runs(
        self, cluster: Cluster, edge: Edge, client: Client, emitters: Start
    ) -> None:
        """The edge was away as well, and has nothing to compare."""
        first = emitters("first")
        client.close()
        edge.process.terminate()
        self.roll_back(cluster, first, directory_is_older)
        edge = patient_edge(cluster)
        client = cluster.connect(edge, "alice")
        epoch = client.subscribe("event:*")["epoch"]
        assert epoch == self.epoch, "nobody knows yet"
        second = emitters("second")
        second.admitted()
        second.send(range(1, 6), by="second")
        second.wait_acknowledged(5)
        first.reconnect()
        assert first.admitted(BEFORE) == BEFORE
        second.send(range(6, AFTER + 1), by="second")
        second.wait_acknowledged(AFTER)
        assert receive_numbers(client, AFTER) == list(range(1, AFTER + 1))
        positions = [m for m in client.received if m.get("type") == "position"]
        assert positions[-1]["epoch"] > epoch
        assert shown_stats(cluster)["lost_by_rollback"] == BEFORE // 2

    def test_what_a_killed_relay_has_kept_keeps_its_epoch(
        self, cluster: Cluster, edge: Edge, client: Client, emitters: Start
    ) -> None:
        assert edge.status("/readyz") == 200
        emitter = emitters()
        self.roll_back(cluster, emitter, lambda *_: None)
        emitter.reconnect()
        assert emitter.admitted(BEFORE) == BEFORE
        emitter.send([BEFORE + 1], by="second")
        assert receive_numbers(client, 1) == [BEFORE + 1]
        again = client.ask({"action": "subscribe", "topic": "event:y"})
        assert again["epoch"] == self.epoch


@pytest.mark.parametrize("damage", [journal_is_removed, journal_is_older, directory_is_removed])
def test_a_journal_that_is_lost_while_the_relay_runs_is_replaced(
    cluster: Cluster, emitters: Start, peer: RelayPeer, damage: Damage
) -> None:
    relay = cluster.start_relay(**QUICK)
    edge = patient_edge(cluster)
    client = cluster.connect(edge, "alice")
    epoch = client.subscribe("event:*")["epoch"]
    emitter = emitters()
    emitter.admitted()
    emitter.send(range(1, 11), by="second")
    emitter.wait_acknowledged(10)
    directory = Path(cluster.env["RELAY_DATA_DIR"])
    copy = copy_of(directory)
    emitter.send(range(11, 21), by="second")
    emitter.wait_acknowledged(20)
    damage(directory, copy)
    wait_for(lambda: peer.stats()["epoch"] > epoch, "a new epoch begins")
    wait_for(lambda: peer.stats()["journaling"], "there is a journal again")
    reply = emitter.hello(20)
    assert isinstance(reply, HelloReply)
    assert (reply.sequence, reply.proof) == (20, None), "the journal has none of them"
    emitter.send(range(21, 31), by="second")
    emitter.wait_acknowledged(30)
    receive_all_numbers(client, 30)
    positions = [m for m in client.received if m.get("type") == "position"]
    assert positions[-1]["epoch"] == peer.stats()["epoch"] > epoch
    assert (directory / FILE_NAME).exists()
    assert "while it was in use" in relay.output()
    assert relay.returncode is None
    assert peer.stats()["lost_by_rollback"] == 0
    assert relay.terminate() == 0


def patient_edge(cluster: Cluster) -> Edge:
    """Clients stay while the relay is away, so that they are live in both epochs."""
    return cluster.start_edge(EDGE_RELAY_TIMEOUT_S="20")


def receive_all_numbers(client: Client, count: int) -> None:
    """Receive all events of the second emitter; since the last position, in order.

    The first ones may come a second time, under the new epoch.
    """
    missing = set(range(1, count + 1))
    ordered: list[int] = []
    while missing:
        message = client.receive()
        if message.get("type") == "position":
            ordered = []
        if message.get("data", {}).get("by") == "second":
            number = message["data"]["n"]
            missing.discard(number)
            ordered.append(number)
    assert ordered == sorted(set(ordered))


def receive_numbers(client: Client, count: int) -> list[Any]:
    """The numbers of the next `count` events of the second emitter."""
    numbers: list[Any] = []
    while len(numbers) < count:
        message = client.receive()
        if message.get("data", {}).get("by") == "second":
            numbers.append(message["data"]["n"])
    return numbers
