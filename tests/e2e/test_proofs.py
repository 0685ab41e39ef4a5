"""An emitter is believed about acknowledged events that the journal lacks if the relay can know it.

The relay is restarted before each claim: a process that has begun an epoch itself begins no other.
"""

from pathlib import Path

import pytest

from emitters import Emitter
from relay.wire.control import ErrorReply, Head, HelloReply, HelloRequest
from tests.e2e.journaled import Start, shown_stats
from tests.e2e.test_peers import Keyed, raw, stats
from tests.e2e.test_rollback import copy_of, directory_is_older
from tests.support.clients import Client
from tests.support.cluster import Cluster
from tests.support.processes import ManagedProcess
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for

WAIT_S = 20.0
BEFORE = 20
LOST = 15


class Attacked:
    """A relay with a journal of an earlier process, an edge, and a client that saw an event."""

    def __init__(self, cluster: Cluster, emitters: Start) -> None:
        self._cluster = cluster
        self.relay = cluster.start_relay()
        self._honest = emitters("honest")
        self._honest.admitted()
        self._honest.send([1])
        self._honest.wait_acknowledged(1)
        self.edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="20")
        self.client: Client = cluster.connect(self.edge, "alice")
        self.client.subscribe("event:*")
        self._last = 1
        self.restart()

    def restart(self) -> None:
        assert self.relay.terminate() == 0
        self.relay = self._cluster.start_relay()
        self._honest.reconnect()
        assert self._honest.admitted(self._last) == self._last

    def is_untouched(self, epoch: int) -> None:
        """The client gets the next event, and has heard of no other epoch."""
        self._last += 1
        self._honest.send([self._last])
        assert self.client.receive_on("event:x")["data"]["n"] == self._last
        told = {m["epoch"] for m in self.client.received if m.get("type") == "position"}
        assert told <= {epoch}
        shown = shown_stats(self._cluster)
        assert (shown["epoch"], shown["rollbacks"], shown["lost_by_rollback"]) == (epoch, 0, 0)


def test_a_claim_without_a_proof_begins_no_epoch(
    cluster: Cluster, emitters: Start, peer: RelayPeer
) -> None:
    attacked = Attacked(cluster, emitters)
    epoch = peer.stats()["epoch"]
    attacker = emitters("attacker")
    reply = attacker.hello(1_000, epoch)
    assert isinstance(reply, HelloReply)
    assert (reply.sequence, reply.epoch, reply.proof) == (1_000, epoch, None)
    attacked.is_untouched(epoch)
    assert shown_stats(cluster)["unproven"] == 1
    line = next(each for each in attacked.relay.output().splitlines() if "no proof" in each)
    assert "'attacker' says that 1000 events are acknowledged" in line
    # Its own number is none that the relay has acknowledged, and there is no use in what it has.
    attacked.restart()
    attacker.reconnect()
    assert attacker.hello(1_000, epoch)
    attacked.is_untouched(epoch)
    attacker.wait_subscribed()
    attacker.send([1_001], "event:other")
    attacker.wait_acknowledged(1_001)
    attacker.proofs[2_000] = attacker.proofs[1_001]
    attacked.restart()
    attacker.reconnect()
    assert attacker.hello(2_000, epoch)
    attacked.is_untouched(epoch)


class RollBack:
    """A relay whose journal and note are put back to an earlier moment, with its emitters."""

    def __init__(self, cluster: Cluster) -> None:
        self.directory = Path(cluster.env["RELAY_DATA_DIR"])
        self._cluster = cluster
        self._relay = cluster.start_relay()
        self._copy: Path | None = None

    def remember(self) -> None:
        self._copy = copy_of(self.directory)

    def happen(self) -> ManagedProcess:
        assert self._copy is not None
        self._relay.kill()
        directory_is_older(self.directory, self._copy)
        return self._cluster.start_relay()


def emit_all(emitter: Emitter, count: int) -> None:
    for number in range(count):
        emitter.emit("event:x", {"n": number})
    assert emitter.wait_acknowledged(WAIT_S)


def test_a_connected_emitter_proves_a_rollback(cluster: Cluster, peer: RelayPeer) -> None:
    roll_back = RollBack(cluster)
    with Emitter(name="manager-1", ingress=cluster.ingress, control=cluster.control) as emitter:
        emit_all(emitter, BEFORE)
        roll_back.remember()
        emit_all(emitter, LOST)
        epoch = peer.stats()["epoch"]
        roll_back.happen()
        wait_for(lambda: peer.stats()["rollbacks"], "the rollback is noticed")
        assert peer.stats()["epoch"] > epoch
        assert peer.stats()["lost_by_rollback"] == LOST
        emit_all(emitter, 1)
    assert peer.stats()["unproven"] == 0


def test_a_spool_that_is_opened_later_proves_it(
    cluster: Cluster, peer: RelayPeer, tmp_path: Path
) -> None:
    def opened() -> Emitter:
        return Emitter(
            name="manager-1",
            ingress=cluster.ingress,
            control=cluster.control,
            spool=tmp_path / "manager-1.spool",
        )

    roll_back = RollBack(cluster)
    with opened() as emitter:
        emit_all(emitter, BEFORE)
    roll_back.remember()
    with opened() as emitter:
        emit_all(emitter, LOST)
    epoch = peer.stats()["epoch"]
    roll_back.happen()
    assert peer.stats()["epoch"] == epoch, "nobody knows yet"
    with opened() as emitter:
        emit_all(emitter, 1)
    assert peer.stats()["epoch"] > epoch
    assert peer.stats()["lost_by_rollback"] == LOST
    assert peer.stats()["unproven"] == 0


def test_a_listed_peer_with_a_key_proves_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = Keyed(cluster, monkeypatch)
    roll_back = RollBack(cluster)
    with keyed.emitter("manager", "manager-1") as emitter:
        emit_all(emitter, BEFORE)
        roll_back.remember()
        emit_all(emitter, LOST)
        epoch = stats(keyed)["epoch"]
        roll_back.happen()
        wait_for(lambda: stats(keyed)["rollbacks"], "the rollback is noticed")
        shown = stats(keyed)
        assert (shown["epoch"] != epoch, shown["lost_by_rollback"]) == (True, LOST)
        assert shown["unproven"] == 0


def test_a_listed_emitter_has_no_heads(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed = Keyed(cluster, monkeypatch)
    relay = cluster.start_relay()
    epoch = stats(keyed)["epoch"]
    assert isinstance(epoch, int)
    assert relay.terminate() == 0
    cluster.start_relay()
    heads: dict[str, Head] = {"event": (10, None)}
    with raw(keyed, "manager") as peer:
        reply = peer.ask(HelloRequest(id=1, role="emitter", name="x", epoch=epoch, heads=heads))
        assert isinstance(reply, ErrorReply)
        assert (reply.code, reply.message) == (
            "forbidden",
            "'manager-1' is no edge, and has no heads",
        )
    assert stats(keyed)["epoch"] == epoch
    with raw(keyed, "edge") as peer:
        assert peer.ask(HelloRequest(id=1, role="edge", name="x", epoch=epoch, heads=heads))
    assert stats(keyed)["epoch"] != epoch
