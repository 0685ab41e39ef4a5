"""The relay's journal with real processes: acknowledged events survive each kind of end."""

from contextlib import closing
from pathlib import Path

import zmq

from relay.journal.file import FILE_NAME
from relay.journal.verify import problems
from relay.shared.transport import Socket, open_socket
from relay.wire.control import (
    HEARTBEAT_TOPIC,
    ErrorReply,
    ReplayReply,
    ReplayRequest,
    RetainedReply,
    RetainedRequest,
)
from relay.wire.header import unpack_stamp
from relay.wire.notices import Acknowledged, Resend
from tests.e2e.journaled import (
    QUICK,
    Start,
    Subscriber,
    inspecting,
    journaled,
    same_numbers,
    shown_stats,
)
from tests.support.cluster import Cluster
from tests.support.relay_peer import RelayPeer
from tests.support.waiting import wait_for


class TestAcknowledgement:
    """An acknowledgement follows the commit and stays true."""

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
                assert list(problems(inspection)) == []
                event = inspection.stream("event")
                others = [each.rows for each in inspection.streams() if each.name != "event"]
                assert others == [0, 0, 0], "nothing is in another stream"
                [emitter_row] = inspection.emitters()
                assert event.last_offset == emitter_row.cursor.sequence >= acknowledged
                assert epoch in (None, inspection.epoch()), "a restart keeps the epoch"
                epoch = inspection.epoch()
            relay = cluster.start_relay()
            emitter.reconnect()
            assert emitter.admitted(acknowledged) == event.last_offset
            sequence = event.last_offset
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
            assert inspection.stream("event").last_offset >= 10
            assert {stamp.epoch for _, stamp, _ in heard} == {inspection.epoch()}

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


def test_numbers_that_no_emitter_can_have_do_not_end_the_relay(
    cluster: Cluster, emitters: Start
) -> None:
    relay = cluster.start_relay()
    for name in ("one", "two"):
        emitter = emitters(name)
        emitter.hello(0)
        emitter.hello(2**64 - 1)
    assert shown_stats(cluster)["lost_by_rollback"] == 2**64 - 1
    assert relay.returncode is None


def test_what_a_subscriber_says_beside_subscriptions_is_counted(
    cluster: Cluster, peer: RelayPeer
) -> None:
    cluster.start_relay()
    context: zmq.Context[Socket] = zmq.Context()
    try:
        chatty = open_socket(context, zmq.XSUB)
        chatty.connect(cluster.egress)

        def counted() -> bool:
            chatty.send(b"\x05hello")
            return bool(peer.stats()["malformed"])

        wait_for(counted, "they are counted")
        stats = peer.stats()
        assert stats["malformed"] == {"invalid_frame": stats["received"]}
    finally:
        context.destroy(linger=0)


class TestRestart:
    """A restarted relay continues with the next offset."""

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
            assert after.tips == {"event": 2, "task": 1, "addressed": 0, "revocation": 0}
            assert after.low == {"event": 1, "task": 1, "addressed": 1, "revocation": 1}
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
        request = RetainedRequest(id=99, prefix="task:")
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
        left = {each.name for each in directory.iterdir()}
        assert left == {FILE_NAME, f"{FILE_NAME}.lock", f"{FILE_NAME}-tail"}
        cluster.start_relay(RELAY_DURABILITY="power")
        assert journaled(peer) == same_numbers(100)


class TestRetention:
    """Old events are removed, and the first offset that is left is published."""

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
        reply = peer.ask(ReplayRequest(id=99, stream="event", after=3))
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
