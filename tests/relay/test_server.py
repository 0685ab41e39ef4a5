"""The relay's loop with real sockets, in a thread of the test."""

import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

import relay.answering
import relay.sequencer
from relay.answering import MAX_REPLAYS
from relay.config import RelaySettings
from relay.core.intake import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES
from relay.journal.file import FILE_NAME
from relay.journal.reader import reading_journal
from relay.net.listening import AddressInUse
from relay.replay import MAX_PAGE_EVENTS, PIECE_EVENTS
from relay.server import MAX_ENDED_AT_ONCE, MAX_SUBSCRIPTIONS_AT_ONCE, Relay
from relay.shared import sqlite_file
from relay.shared.kind_counter import MAX_OTHER_KINDS, OTHER_KINDS
from relay.shared.sync import SyncHandshake
from relay.shared.time_share import TimeShare
from relay.shared.transport import Socket, open_socket
from relay.wire.control import (
    ReplayReply,
    ReplayRequest,
    StatsReply,
    StatsRequest,
    pack_message,
    unpack_heartbeat,
    unpack_reply,
)
from relay.wire.envelope import Envelope, pack_envelope
from relay.wire.header import unpack_stamp
from relay.wire.kinds import Kind, Kinds
from tests.support.zmtp_peer import ZmtpPeer, message

WAIT_MS = 10_000
LARGE = 2**20 - 200


@pytest.fixture
def settings(tmp_path: Path) -> RelaySettings:
    return RelaySettings(
        ingress=f"ipc://{tmp_path}/ingress",
        egress=f"ipc://{tmp_path}/egress",
        control=f"ipc://{tmp_path}/control",
        data_dir=tmp_path / "data",
    )


@contextmanager
def running(relay: Relay) -> Iterator[None]:
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield
    finally:
        relay.stop()
        thread.join(WAIT_MS / 1000)
        assert not thread.is_alive(), "the relay has not ended"


def receive(socket: Socket) -> list[bytes]:
    assert socket.poll(WAIT_MS), "nothing arrives"
    return socket.recv_multipart()


def publisher(
    context: "zmq.Context[Socket]", settings: RelaySettings, prefixes: set[bytes]
) -> Socket:
    """A connected publisher; the relay has subscribed to `prefixes`."""
    socket = open_socket(context, zmq.XPUB)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.connect(settings.ingress)
    missing = set(prefixes)
    while missing:
        missing.discard(receive(socket)[0][1:])
    return socket


def subscriber(context: "zmq.Context[Socket]", settings: RelaySettings, *prefixes: bytes) -> Socket:
    """A connected subscriber whose subscriptions are in place."""
    socket = open_socket(context, zmq.SUB)
    # ZeroMQ drops subscriptions above the high-water mark.
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    # Connected first: subscriptions made before are sent in the order of their bytes, `!` first.
    socket.connect(settings.egress)
    for prefix in prefixes:
        socket.subscribe(prefix)
    handshake = SyncHandshake(socket)
    handshake.begin()
    while not handshake.is_answer(receive(socket)[0]):
        pass
    return socket


def test_a_batch_is_bounded_in_bytes_with_its_live_values(
    settings: RelaySettings, context: "zmq.Context[Socket]"
) -> None:
    """Otherwise a batch would hold as many live values of 1 MiB as have arrived."""
    data = {"padding": "x" * LARGE}
    envelope = pack_envelope(Envelope("any", data, None, "m", 5, "id"), "event")
    topics = [b"event:x", b"resource-monitor:a", b"resource-monitor:b"] * 10
    with running(Relay(settings)):
        listener = subscriber(context, settings, b"event:", b"resource-monitor:")
        source = publisher(context, settings, {b"event:", b"resource-monitor:"})
        for topic in topics:
            source.send_multipart([topic, envelope])
        arrived = [receive(listener)[0] for _ in topics]
    assert sorted(arrived) == sorted(topics)
    with reading_journal(settings.data_dir / FILE_NAME) as reader:
        rows = [row.last_offset - row.first_offset + 1 for row in reader.rows("event")]
    assert sum(rows) == 10
    assert max(rows) <= MAX_BATCH_BYTES // LARGE + 1


def test_a_publisher_cannot_take_the_names_of_listed_kinds(
    settings: RelaySettings, context: "zmq.Context[Socket]"
) -> None:
    """Neither of streams nor of live kinds: whoever comes first with others has no names left."""
    others = [f"other{number}" for number in range(MAX_OTHER_KINDS + 10)]
    kinds = Kinds.with_built_in([Kind("order", is_stream=False)])
    with running(Relay(settings, kinds)):
        listener = subscriber(context, settings, b"other", b"order:")
        source = publisher(context, settings, {b"other", b"order:"})
        for kind in (*others, "order"):
            envelope = Envelope(kind, {}, None, "m", 5, "id")
            source.send_multipart([f"{kind}:1".encode(), pack_envelope(envelope, kind)])
        while receive(listener)[0] != b"order:1":
            pass
        relayed = stats(context, settings)["relayed"]
    assert relayed["order"] == 1
    assert relayed[OTHER_KINDS] == 10


def test_a_publisher_of_junk_waits_and_another_one_does_not(
    settings: RelaySettings, context: "zmq.Context[Socket]"
) -> None:
    with running(Relay(settings)), ExitStack() as stack:
        listener = subscriber(context, settings, b"event:")
        source = publisher(context, settings, {b"event:"})
        rogue = stack.enter_context(ZmtpPeer(settings.ingress, b"PUB"))
        rogue.socket.settimeout(0.01)
        number, junk = 0, b""
        while not stats(context, settings)["peers_delayed"]:
            with suppress(TimeoutError):
                junk = junk or message(b"event:junk", b"\xc1") * 1000
                junk = junk[rogue.socket.send(junk) :]
            source.send_multipart([b"event:%d" % number, b"\x80"])
            assert receive(listener)[0] == b"event:%d" % number
            number += 1


def stats(context: "zmq.Context[Socket]", settings: RelaySettings) -> dict[str, Any]:
    """Ask the relay about itself."""
    control = open_socket(context, zmq.DEALER)
    control.connect(settings.control)
    control.send(pack_message(StatsRequest(id=1)))
    reply = unpack_reply(receive(control)[-1], StatsRequest)
    control.close(linger=0)
    assert isinstance(reply, StatsReply)
    return reply.stats


def test_a_long_replay_comes_in_one_reply_and_requests_behind_it_in_their_order(
    settings: RelaySettings, context: "zmq.Context[Socket]"
) -> None:
    with running(Relay(settings)):
        listener = subscriber(context, settings, b"event:")
        source = publisher(context, settings, {b"event:"})
        for number in range(MAX_PAGE_EVENTS):
            source.send_multipart([b"event:%d" % number, b"\x80"])
        for _ in range(MAX_PAGE_EVENTS):
            receive(listener)
        clients = [open_socket(context, zmq.DEALER) for _ in range(MAX_REPLAYS + 2)]
        for client in clients:
            client.connect(settings.control)
            client.send(pack_message(ReplayRequest(id=1, stream="event", after=0)))
            client.send(pack_message(StatsRequest(id=2)))
        pages = []
        for client in clients:
            page = unpack_reply(receive(client)[-1], ReplayRequest)
            assert isinstance(page, ReplayReply)
            pages.append(len(page.items))
            assert isinstance(unpack_reply(receive(client)[-1], StatsRequest), StatsReply)
    assert set(pages) <= {PIECE_EVENTS, MAX_PAGE_EVENTS}
    assert pages.count(MAX_PAGE_EVENTS) >= MAX_REPLAYS


def test_more_subscriptions_than_one_turn_reads_are_all_covered(
    settings: RelaySettings, context: "zmq.Context[Socket]"
) -> None:
    topics = [f"mine:{number}".encode() for number in range(2 * MAX_SUBSCRIPTIONS_AT_ONCE + 1)]
    with running(Relay(settings)):
        # A socket without a reference is closed, and its subscriptions end.
        listener = subscriber(context, settings, *topics)
        source = publisher(context, settings, {b"mine:"})
        source.send_multipart([topics[-1], b"\x80"])
        assert receive(listener)[0] == topics[-1]


def test_more_subscriptions_than_end_in_one_turn_all_end_without_a_message(
    settings: RelaySettings, context: "zmq.Context[Socket]"
) -> None:
    topics = [f"mine:{number}".encode() for number in range(2 * MAX_ENDED_AT_ONCE + 1)]
    rare = settings.model_copy(update={"heartbeat_s": 60.0})
    with running(Relay(rare)):
        listener = subscriber(context, rare, *topics)
        source = publisher(context, rare, {b"mine:"})
        listener.close(linger=0)
        while receive(source)[0] != b"\x00mine:":
            pass


def test_a_subscription_that_is_too_long_ends_its_connection_and_not_the_relay(
    settings: RelaySettings, context: "zmq.Context[Socket]"
) -> None:
    """libzmq ends a subscription by recursion, one call a byte: 150 KB were too much for it."""
    with running(Relay(settings)):
        for number in range(3):
            careless = open_socket(context, zmq.XSUB)
            careless.setsockopt(zmq.RECONNECT_IVL, -1)
            events = careless.get_monitor_socket(
                zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED,
                # The default is named after the descriptor, which the next socket may get again.
                f"inproc://careless-{number}",
            )
            careless.connect(settings.egress)
            receive(events)
            careless.send(b"\x01" + b"x" * 150_000)
            receive(events)
            careless.close()
        listener = subscriber(context, settings, b"mine:")
        source = publisher(context, settings, {b"mine:"})
        source.send_multipart([b"mine:a", b"\x80"])
        assert receive(listener)[0] == b"mine:a"


def test_events_are_relayed_in_order_and_journaled(
    settings: RelaySettings, context: "zmq.Context[Socket]"
) -> None:
    topics = [f"event:{number}".encode() for number in range(300)]
    with running(Relay(settings)):
        listener = subscriber(context, settings, b"event:")
        source = publisher(context, settings, {b"event:"})
        for topic in topics:
            source.send_multipart([topic, b"\x80"])
        assert [receive(listener)[0] for _ in topics] == topics
    with reading_journal(settings.data_dir / FILE_NAME) as reader:
        assert [event.frames[0] for event in reader.events("event", 0)] == topics


def test_a_second_relay_is_refused_and_leaves_nothing_open(
    settings: RelaySettings, tmp_path: Path
) -> None:
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    with running(Relay(settings)), pytest.raises(AddressInUse, match="RELAY_INGRESS: ipc://"):
        Relay(elsewhere)
    with running(Relay(elsewhere)):
        pass


def test_a_stop_before_and_after_the_run_is_harmless(settings: RelaySettings) -> None:
    relay = Relay(settings)
    relay.stop()
    relay.run()
    relay.stop()


class TestSlowDisk:
    """A commit waits for the disk: another connection holds the journal's lock for as long."""

    @pytest.fixture(autouse=True)
    def _patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", WAIT_MS / 1000)

    @pytest.fixture
    def quick(self, settings: RelaySettings) -> RelaySettings:
        return settings.model_copy(update={"heartbeat_s": 0.05})

    def test_only_events_of_streams_wait_for_it(
        self, quick: RelaySettings, context: "zmq.Context[Socket]"
    ) -> None:
        with running(Relay(quick)), closing(lock(quick)) as disk:
            listener = subscriber(context, quick, b"event:", b"resource-monitor:", b"!heartbeat")
            source = publisher(context, quick, {b"event:", b"resource-monitor:"})
            control = open_socket(context, zmq.DEALER)
            control.connect(quick.control)
            events = [f"event:{number}".encode() for number in range(1000)]
            for topic in events:
                source.send_multipart([topic, b"\x80"])
            source.send_multipart([b"resource-monitor:a", b"\x80"])
            seen: list[bytes] = []
            while b"resource-monitor:a" not in seen or seen.count(b"!heartbeat") < 5:
                seen.append(receive(listener)[0])
            control.send(pack_message(StatsRequest(id=1)))
            stats = unpack_reply(receive(control)[-1], StatsRequest)
            assert isinstance(stats, StatsReply)
            assert stats.stats["journaling"]
            late = subscriber(context, quick, b"event:")
            assert not [topic for topic in seen if topic.startswith(b"event:")]
            disk.execute("ROLLBACK")
            for socket in (listener, late):
                arrived: list[bytes] = []
                while len(arrived) < len(events):
                    topic = receive(socket)[0]
                    arrived += [topic] if topic.startswith(b"event:") else []
                assert arrived == events

    def test_so_many_events_wait_and_the_rest_in_zeromq(
        self,
        quick: RelaySettings,
        context: "zmq.Context[Socket]",
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(relay.sequencer, "MAX_FLIGHTS", 2)
        count = 5 * MAX_BATCH_MESSAGES
        with running(Relay(quick)), closing(lock(quick)) as disk:
            listener = subscriber(context, quick, b"event:")
            source = publisher(context, quick, {b"event:"})
            for number in range(count):
                source.send_multipart([f"event:{number}".encode(), b"\x80"])
            beats = subscriber(context, quick, b"!heartbeat")
            for _ in range(5):
                assert receive(beats)[0] == b"!heartbeat"
            disk.execute("ROLLBACK")
            arrived = [receive(listener)[0] for _ in range(count)]
        assert arrived == [f"event:{number}".encode() for number in range(count)]


def lock(settings: RelaySettings) -> sqlite3.Connection:
    """The lock on the journal, held until it is rolled back."""
    disk = sqlite3.connect(settings.data_dir / FILE_NAME, isolation_level=None)
    disk.execute("BEGIN IMMEDIATE")
    return disk


def test_a_clock_that_jumps_ahead_empties_no_journal(
    settings: RelaySettings,
    context: "zmq.Context[Socket]",
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ahead_ns = 0
    wall_ns = time.time_ns
    monkeypatch.setattr("relay.clock.time.time_ns", lambda: wall_ns() + ahead_ns)
    quick = settings.model_copy(update={"heartbeat_s": 0.05})
    topics = [f"event:{number}".encode() for number in range(5)]
    with running(Relay(quick)):
        listener = subscriber(context, quick, b"event:")
        source = publisher(context, quick, {b"event:"})
        stamps = []
        for topic in topics:
            source.send_multipart([topic, b"\x80"])
            stamps.append(unpack_stamp(receive(listener)[1]).relayed_at)
            ahead_ns = 40 * 86400 * 10**9
        beats = subscriber(context, quick, b"!heartbeat")
        for _ in range(5):
            body = receive(beats)[2]
        assert unpack_heartbeat(body).low["event"] == 1
    assert max(stamps) - min(stamps) < 3600 * 1000
    # A whole number of seconds: the time since the last look may round it down.
    assert re.search(r"clock jumped by (3456\d{3}|3455999) s", caplog.text)


class TestSharesOfRequests:
    """Of the processor; here they are so small that one request uses them up for a long time."""

    NEARLY_NONE = TimeShare(1e-9, burst_s=0.0)
    ALL = TimeShare(1.0, burst_s=WAIT_MS)

    def asks(self, context: "zmq.Context[Socket]", settings: RelaySettings) -> Socket:
        control = open_socket(context, zmq.DEALER)
        control.connect(settings.control)
        control.send(pack_message(StatsRequest(id=1)))
        return control

    def test_those_of_one_peer_wait_and_nobody_elses(
        self,
        settings: RelaySettings,
        context: "zmq.Context[Socket]",
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(relay.answering, "SHARE_OF_PEER", self.NEARLY_NONE)
        monkeypatch.setattr(relay.answering, "SHARE_OF_ALL", self.ALL)
        with running(Relay(settings)):
            greedy = self.asks(context, settings)
            greedy.send(pack_message(StatsRequest(id=2)))
            receive(greedy)
            others = [self.asks(context, settings) for _ in range(3)]
            replies = [unpack_reply(receive(other)[-1], StatsRequest) for other in others]
            assert not greedy.poll(0)
        last = replies[-1]
        assert isinstance(last, StatsReply)
        assert last.stats["requests_delayed"] >= len(others)

    def test_those_of_all_wait_and_no_event(
        self,
        settings: RelaySettings,
        context: "zmq.Context[Socket]",
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(relay.answering, "SHARE_OF_PEER", self.ALL)
        monkeypatch.setattr(relay.answering, "SHARE_OF_ALL", self.NEARLY_NONE)
        with running(Relay(settings)):
            receive(self.asks(context, settings))
            other = self.asks(context, settings)
            listener = subscriber(context, settings, b"event:")
            source = publisher(context, settings, {b"event:"})
            for _ in range(3):
                source.send_multipart([b"event:x", b"\x80"])
                assert receive(listener)[0] == b"event:x"
            assert not other.poll(0)
