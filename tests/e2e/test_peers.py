"""Keys and rights of those who connect to the relay, with real programs."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from emitters import Emitter, NotPermitted
from relay.shared.transport import Socket, connect, open_socket
from relay.testing.processes import ManagedProcess
from relay.wire.control import (
    ErrorReply,
    HelloReply,
    HelloRequest,
    ReplayRequest,
    Reply,
    Request,
    RetainedRequest,
    StatsReply,
    StatsRequest,
    pack_message,
    unpack_reply,
)
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import Header, pack_header
from tests.support.cluster import Cluster
from tests.support.http_api import publish
from tests.support.keys import Keys
from tests.support.processes import run_cli
from tests.support.waiting import wait_for

WAIT_MS = 20_000
PEERS = """
[peers.edge-1]
role = "edge"
key = "{edge}"

[peers.manager-1]
role = "emitter"
key = "{manager}"
publish = ["event:*", "task:*", "resource-monitor:*"]
users = ["alice"]

[peers.manager-2]
role = "emitter"
key = "{other}"
publish = ["event:backup_*"]
sources = ["manager-2", "nightly-*"]

[peers.watcher]
role = "tool"
key = "{tool}"
"""
NAMES = ("edge", "manager", "other", "tool", "stranger")


class Keyed:
    """A cluster whose relay has a key and a list of peers."""

    def __init__(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster = cluster
        self.keys = Keys(cluster.directory, *NAMES)
        self._monkeypatch = monkeypatch
        cluster.configure(PEERS.format(**{name: self.keys.public(name) for name in NAMES}))
        cluster.env |= self.keys.relay_env() | self.keys.env("EDGE", "edge")

    def env(self, name: str) -> dict[str, str]:
        """The environment of a program that connects with the key `name`."""
        return self.cluster.env | self.keys.env("EMITTER", name)

    def emitter(self, name: str, source: str | None = None) -> Emitter:
        """Return an emitter of this process that uses the key `name`."""
        for variable, value in self.keys.env("EMITTER", name).items():
            self._monkeypatch.setenv(variable, value)
        return Emitter(
            name=source or name, ingress=self.cluster.ingress, control=self.cluster.control
        )


@pytest.fixture
def keyed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Keyed:
    return Keyed(cluster, monkeypatch)


class RawPeer:
    """One connection to the control socket, and one to the ingress."""

    def __init__(self, keyed: Keyed, name: str) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._keys = keyed.keys.client(name)
        self._cluster = keyed.cluster
        self.control = self._open(zmq.DEALER, keyed.cluster.control)

    def _open(self, kind: int, endpoint: str) -> Socket:
        socket = open_socket(self._context, kind)
        connect(socket, endpoint, self._keys)
        return socket

    def publisher(self) -> Socket:
        """Return a socket to which the relay has subscribed."""
        socket = self._open(zmq.XPUB, self._cluster.ingress)
        assert socket.poll(WAIT_MS), "the relay does not subscribe"
        return socket

    def subscriber(self) -> Socket:
        return self._open(zmq.XSUB, self._cluster.egress)

    def ask(self, request: Request) -> Reply:
        assert self.control.poll(WAIT_MS, zmq.POLLOUT), "not connected"
        self.control.send(pack_message(request))
        assert self.control.poll(WAIT_MS), "no answer"
        return unpack_reply(self.control.recv(), type(request))

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextmanager
def raw(keyed: Keyed, name: str) -> Iterator[RawPeer]:
    peer = RawPeer(keyed, name)
    try:
        yield peer
    finally:
        peer.close()


def stats(keyed: Keyed) -> dict[str, object]:
    counters = run_cli("relay", "stats", env=keyed.cluster.env)
    assert counters.returncode == 0, counters.stderr
    found: dict[str, object] = json.loads(counters.stdout)
    return found


def test_events_and_tasks_travel_encrypted_to_their_users(keyed: Keyed) -> None:
    keyed.cluster.start_relay()
    edge = keyed.cluster.start_edge(EDGE_WORKERS="2")
    emitter = keyed.emitter("manager", "manager-1")
    assert emitter.wait_connected(20)
    alice = keyed.cluster.connect(edge, "alice")
    alice.subscribe("event:*")
    emitter.emit("event:a", {"n": 1})
    assert alice.receive_on("event:a")["data"] == {"n": 1}
    state = {"status": "in_progress", "message": "", "result": None}
    emitter.emit("task:1", state, username="alice")
    assert alice.receive_on("task:1")["data"]["status"] == "in_progress"
    assert emitter.close(10) == 0


def test_what_an_edge_publishes_for_its_clients_has_the_edges_key(keyed: Keyed) -> None:
    keyed.cluster.start_relay()
    edge = keyed.cluster.start_edge()
    alice = keyed.cluster.connect(edge, "alice")
    alice.subscribe("event:*")
    answer = publish(
        edge.url, keyed.cluster.token("root", "admin"), {"topic": "event:a", "data": {}}
    )
    assert answer.status < 300, answer
    assert alice.receive_on("event:a")["data"] == {}


def test_emit_refuses_what_the_relay_would_refuse_and_names_the_field(keyed: Keyed) -> None:
    keyed.cluster.start_relay()
    emitter = keyed.emitter("other", "manager-2")
    assert emitter.wait_connected(20)
    emitter.emit("event:backup_done", {})
    with pytest.raises(NotPermitted, match=r"topic: .* it allows event:backup_\*") as refused:
        emitter.emit("event:restore_done", {})
    assert refused.value.field == "topic"
    with pytest.raises(NotPermitted, match=r"username: .*'alice'; it allows none"):
        emitter.emit("event:backup_done", {}, username="alice")
    assert emitter.close(10) == 0


def test_an_event_from_before_the_first_reply_is_refused_and_its_emitter_told(
    keyed: Keyed, caplog: pytest.LogCaptureFixture
) -> None:
    emitter = keyed.emitter("other", "manager-1")
    emitter.emit("event:backup_done", {})
    keyed.cluster.start_relay()
    wait_for(lambda: emitter.counters()["forbidden"] == 1, "the emitter is told")
    assert "the relay refused event 1, on event:backup_done: its source" in caplog.text
    assert stats(keyed)["refused"] == {"forbidden": 1}
    assert emitter.close(10) == 1, "the journal lacks an event"


@pytest.mark.parametrize("name", ["stranger", "tool"])
def test_a_key_without_the_right_to_publish_reaches_no_ingress(keyed: Keyed, name: str) -> None:
    relay = keyed.cluster.start_relay()
    emitter = keyed.emitter(name)
    emitter.emit("event:a", {})
    relay.wait_for_output("cut off a peer of the ingress: its public key is not in the list")
    assert not emitter.wait_acknowledged(0.5)
    assert emitter.close(0) == 1
    assert stats(keyed)["received"] == 0


def test_a_peer_without_a_key_is_named_in_the_log(keyed: Keyed) -> None:
    """libzmq tells its own user nothing."""
    relay = keyed.cluster.start_relay()
    where = keyed.cluster.ingress, keyed.cluster.control
    emitter = Emitter(name="manager", ingress=where[0], control=where[1])
    relay.wait_for_output("gave its handshake up: it needs the relay's public key here")
    emitter.emit("event:a", {})
    assert emitter.close(0) == 1


@pytest.mark.parametrize("has_key", [True, False])
def test_another_relay_than_the_one_with_the_key_gets_nothing(keyed: Keyed, has_key: bool) -> None:
    """To listen on the ports is not enough."""
    if has_key:
        keyed.cluster.env["RELAY_CURVE_KEY_FILE"] = str(keyed.keys.file("stranger"))
    else:
        del keyed.cluster.env["RELAY_CURVE_KEY_FILE"], keyed.cluster.env["EVENT_RELAY_CONFIG"]
    keyed.cluster.start_relay()
    emitter = keyed.emitter("manager", "manager-1")
    emitter.emit("event:a", {})
    assert not emitter.wait_connected(2)
    assert emitter.close(0) == 1


def test_an_emitter_cannot_read_and_not_subscribe(keyed: Keyed) -> None:
    keyed.cluster.start_relay()
    with raw(keyed, "manager") as peer:
        for request in (
            ReplayRequest(id=1, stream="task", after=0),
            RetainedRequest(id=2, prefix="task:"),
            StatsRequest(id=3),
            HelloRequest(id=4, role="edge", name="x"),
        ):
            reply = peer.ask(request)
            assert isinstance(reply, ErrorReply)
            assert (reply.id, reply.code) == (request.id, "forbidden")
        subscriber = peer.subscriber()
        subscriber.send(b"\x01")
        assert not subscriber.poll(1500), "not even a heartbeat arrives"
    cut = stats(keyed)["peers_cut"]
    assert isinstance(cut, dict)
    assert cut["egress"]["not_admitted"] > 0


def header_of(emitter_id: bytes, epoch: int, sequence: int) -> bytes:
    return pack_header(Header(emitter_id, epoch, sequence))


def forge_next_number(peer: RawPeer, victim: bytes, epoch: int) -> None:
    publisher = peer.publisher()
    envelope = pack_envelope(Envelope("event", {"forged": 1}, None, "manager-2", 1, "x"), "event")
    for sequence in range(1, 20):
        publisher.send_multipart(
            [b"event:backup_done", header_of(victim, epoch, sequence), envelope]
        )


def claim_acknowledgements(peer: RawPeer, victim: bytes, epoch: int) -> None:
    reply = peer.ask(
        HelloRequest(
            id=1,
            role="emitter",
            name="manager-1",
            emitter_id=victim,
            emitter_epoch=epoch,
            acknowledged=1000,
        )
    )
    assert isinstance(reply, HelloReply)


def claim_a_late_epoch(peer: RawPeer, victim: bytes, epoch: int) -> None:
    assert epoch
    peer.ask(
        HelloRequest(
            id=1,
            role="emitter",
            name="manager-1",
            emitter_id=victim,
            emitter_epoch=2**64 - 1,
            process=secrets.token_bytes(16),
        )
    )


@pytest.mark.parametrize("attack", [forge_next_number, claim_acknowledgements, claim_a_late_epoch])
def test_another_key_cannot_speak_for_an_emitter_even_with_its_id(
    keyed: Keyed, attack: Callable[[RawPeer, bytes, int], None]
) -> None:
    """Its next event is not taken for a repeated one, and it is not kept out."""
    keyed.cluster.start_relay()
    edge = keyed.cluster.start_edge()
    alice = keyed.cluster.connect(edge, "alice")
    alice.subscribe("event:mine")
    victim_id = secrets.token_bytes(16)
    with raw(keyed, "manager") as victim, raw(keyed, "other") as attacker:
        events = victim.publisher()
        reply = victim.ask(
            HelloRequest(
                id=1,
                role="emitter",
                name="manager-1",
                emitter_id=victim_id,
                process=secrets.token_bytes(16),
            )
        )
        assert isinstance(reply, HelloReply)
        assert reply.emitter_epoch is not None
        attack(attacker, victim_id, reply.emitter_epoch)
        for number in range(1, 6):
            data = {"n": number}
            envelope = Envelope("event", data, None, "manager-1", number, f"id-{number}")
            frames = [b"event:mine", header_of(victim_id, reply.emitter_epoch, number)]
            events.send_multipart([*frames, pack_envelope(envelope, "event")])
        arrived = [alice.receive_on("event:mine")["data"]["n"] for _ in range(5)]
    assert arrived == [1, 2, 3, 4, 5]


def test_statistics_need_no_other_key_than_that_of_the_relay(keyed: Keyed) -> None:
    keyed.cluster.start_relay()
    assert stats(keyed)["journaling"]


def test_tail_uses_the_key_of_a_tool(keyed: Keyed) -> None:
    keyed.cluster.start_relay()
    ended = run_cli("emitters", "tail", "!nothing", "--timeout", "1", env=keyed.env("stranger"))
    assert ended.returncode == 1
    assert "nothing is watched" in ended.stderr


def test_a_changed_list_counts_for_those_who_are_connected(keyed: Keyed) -> None:
    relay = keyed.cluster.start_relay(RELAY_HEARTBEAT_S="0.2")
    manager, other = keyed.emitter("manager", "manager-1"), keyed.emitter("other", "manager-2")
    assert manager.wait_connected(20)
    assert other.wait_connected(20)
    with raw(keyed, "tool") as watcher:
        subscriber = watcher.subscriber()
        subscriber.rcvtimeo = WAIT_MS
        for prefix in (b"event:", b"!sync:1"):
            subscriber.send(b"\x01" + prefix)
        assert subscriber.recv_multipart()[0] == b"!sync:1"
        assert isinstance(watcher.ask(StatsRequest(id=1)), StatsReply)
        before = (keyed.cluster.directory / "relay.toml").read_text()
        manager.emit("event:a", 0)
        assert manager.wait_acknowledged(20)
        other.emit("event:backup_1", 1)
        assert other.wait_acknowledged(20)
        # Another key is that of the second manager, and the first one may publish less.
        changed = before.replace(keyed.keys.public("other"), keyed.keys.public("stranger"))
        keyed.cluster.configure(changed.replace('"task:*", ', ""))
        relay.wait_for_output("the peers of ")
        newcomer = keyed.emitter("stranger", "manager-2")
        newcomer.emit("event:backup_2", 2)
        assert newcomer.wait_acknowledged(20)
        wait_for(lambda: _refuses(manager, "task:1"), "the manager knows its new rights")
        manager.emit("event:a", 3)
        assert manager.wait_acknowledged(20)
        other.emit("event:backup_3", 4)
        assert not other.wait_acknowledged(0.5)
        received = [subscriber.recv_multipart()[0] for _ in range(4)]
        assert received == [b"event:a", b"event:backup_1", b"event:backup_2", b"event:a"]
        assert watcher.control.poll(0) == 0
    cut = stats(keyed)["peers_cut"]
    assert isinstance(cut, dict)
    # Of each of two managers, and nobody else.
    assert (cut["ingress"]["other_rights"], cut["control"]["other_rights"]) == (2, 2)
    assert "other_rights" not in cut.get("egress", {})
    _stays_with_a_wrong_list(keyed, relay, newcomer, changed)
    for emitter in (manager, other, newcomer):
        emitter.close(0)


def _stays_with_a_wrong_list(
    keyed: Keyed, relay: ManagedProcess, newcomer: Emitter, changed: str
) -> None:
    """A broken list, and none at all, change nothing."""
    keyed.cluster.configure(changed.replace('role = "edge"', 'role = "ede"'))
    relay.wait_for_output("what it said before stays in force")
    keyed.cluster.configure("[kinds.other]\n")
    relay.wait_for_output("lists no peers any more: those before stay, until a start")
    newcomer.emit("event:backup_5", 5)
    assert newcomer.wait_acknowledged(20)
    with raw(keyed, "other") as stranger:
        stranger.control.sndtimeo = 300
        with pytest.raises(zmq.Again):
            # Still nobody else gets in.
            stranger.control.send(pack_message(StatsRequest(id=1)))
    assert "Traceback" not in relay.output()


def _refuses(emitter: Emitter, topic: str) -> bool:
    try:
        emitter.emit(topic, {"status": "success"}, username="alice")
    except NotPermitted:
        return True
    return False
