"""A port with real connections: turns, bounds, and what its listener is told."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial

import pytest
import zmq

from relay.net import acceptor
from relay.net import port as ports
from relay.net.peer import Peer
from relay.net.port import CHUNK_BYTES, MIN_CHUNK_BYTES
from relay.shared.time_share import TimeShare
from relay.shared.transport import Socket, open_socket
from tests.relay.ports import MIB, PORT_BOUNDS, OpenPort, open_port
from tests.support.waiting import is_readable
from tests.support.zmtp_peer import GREETING, ZmtpPeer, frame, message, ping, ready


class Told:
    """The calls of a port, in order."""

    def __init__(self, opened: OpenPort) -> None:
        self.calls: list[str] = []
        opened.port.listener = self

    def peer_opened(self, peer: Peer) -> None:
        assert not peer.is_ended
        self.calls.append("opened")

    def peer_ended(self, peer: Peer) -> None:
        assert peer.is_ended
        self.calls.append("ended")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def xsub(stack: ExitStack) -> OpenPort:
    return open_port(stack, b"XSUB")


def cut(opened: OpenPort) -> dict[str, int]:
    return dict(opened.counters.peers_cut.get("ingress", {}))


def assert_nothing_left(opened: OpenPort) -> None:
    """A bound is only as good as the sums that it is compared with."""
    port = opened.port
    assert len(port) == 0
    assert (port._queued_bytes, port._incomplete_bytes) == (0, 0)
    assert not port._readable
    assert not port._dirty
    assert not port.has_readable
    assert port.newcomers.due_at == float("inf")


def test_messages_go_both_ways_with_a_peer_of_libzmq(
    xsub: OpenPort, context: "zmq.Context[Socket]"
) -> None:
    publisher = open_socket(context, zmq.XPUB)
    publisher.connect(xsub.endpoint)
    peer = xsub.wait_for_peer()
    xsub.port.send(peer, message(b"\1event:"))
    xsub.port.send(peer, message(b"\1task:"))
    xsub.turn()
    assert [publisher.recv(), publisher.recv()] == [b"\1event:", b"\1task:"]
    publisher.send_multipart([b"event:x", b"", bytes(100_000)])
    xsub.wait_until(lambda: bool(xsub.received), "a message arrives")
    assert xsub.received == [(peer, [b"event:x", b"", bytes(100_000)])]
    assert xsub.port.get(peer.id) is peer
    publisher.close()
    xsub.wait_until(lambda: len(xsub.port) == 0, "its connection is gone")
    assert xsub.port.get(peer.id) is None
    assert_nothing_left(xsub)
    assert cut(xsub) == {}


def test_a_peer_is_told_of_once_and_its_end_once(xsub: OpenPort, stack: ExitStack) -> None:
    told = Told(xsub)
    quiet, known = xsub.connect(stack), xsub.connect(stack, b"PUB")
    assert told.calls == ["opened"]
    quiet.close()
    known.close()
    xsub.wait_until(lambda: len(xsub.port) == 0, "both have gone")
    xsub.turn()
    assert told.calls == ["opened", "ended"], "nobody was told of the one that said nothing"
    assert_nothing_left(xsub)


def test_messages_before_a_half_close_are_read(xsub: OpenPort, stack: ExitStack) -> None:
    peer = xsub.connect(stack, b"PUB")
    peer.send(b"".join(message(b"%d" % number) for number in range(500)))
    peer.socket.shutdown(socket.SHUT_WR)
    xsub.wait_until(lambda: len(xsub.port) == 0, "it has ended")
    assert [frames for _, frames in xsub.received] == [[b"%d" % each] for each in range(500)]


def test_peers_take_turns(xsub: OpenPort, stack: ExitStack) -> None:
    busy, calm = xsub.connect(stack, b"PUB"), xsub.connect(stack, b"PUB")
    busy.send(message(b"busy") * 1000)
    calm.send(message(b"calm"))
    xsub.wait_until(lambda: len(xsub.received) > 1, "messages arrive")
    xsub.turn(share=10)
    order = [frames[0] for _, frames in xsub.received]
    assert b"calm" in order
    xsub.wait_until(lambda: len(xsub.received) == 1001, "all have arrived")


def test_a_caller_that_stops_goes_on_with_the_others(xsub: OpenPort, stack: ExitStack) -> None:
    for peer in [xsub.connect(stack, b"PUB") for _ in range(3)]:
        peer.send(message(b"x") * 100)
    turns: list[bytes] = []
    while len(turns) < 9:
        xsub.port.poll(0.0)
        for sender, messages in xsub.port.receive(5):
            assert len(messages) <= 5
            turns.append(sender.id)
            break
    assert turns[:3] == turns[3:6] == turns[6:9]
    assert len(set(turns)) == 3


def test_a_turn_ends_in_its_time_whatever_came(
    xsub: OpenPort, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if nothing that came is a message."""
    monkeypatch.setattr(ports, "TURN_S", 0.0)
    senders = [xsub.connect(stack, b"PUB") for _ in range(4)]
    for peer in senders:
        peer.send(frame(bytes(1000))[:500])
    xsub.port.poll(0.0)
    for left in (3, 2, 1, 0):
        assert list(xsub.port.receive(100)) == []
        assert len(xsub.port._readable) == left


def test_a_flood_of_pings_leaves_its_turn_to_others(xsub: OpenPort, stack: ExitStack) -> None:
    flood, calm = xsub.connect(stack, b"PUB"), xsub.connect(stack, b"PUB")
    flood.send(ping(b"c" * 16) * 1000)
    calm.send(message(b"calm"))
    xsub.wait_until(lambda: bool(xsub.received), "the message arrives")
    assert xsub.port.has_readable, "most pings wait"
    xsub.wait_until(lambda: not xsub.port.has_readable, "all pings are read")
    for _ in range(1000):
        assert flood.read_frame() == (4, b"\x04PONG" + b"c" * 16)


def test_who_does_not_read_the_answers_to_pings_is_cut_off_and_forgotten(
    stack: ExitStack,
) -> None:
    opened = open_port(stack, b"XSUB", port_bounds=PORT_BOUNDS._replace(unread_bytes=20_000))
    told = Told(opened)
    peer = opened.connect(stack, b"PUB")
    # The messages are behind pings: they are read in the turn in which the peer is cut off.
    flood = (ping(b"c" * 16) * 50 + message(b"x")) * 20
    peer.socket.setblocking(False)
    while not cut(opened):
        with suppress(BlockingIOError):
            peer.socket.send(flood)
        opened.turn(0)
    assert cut(opened) == {"slow": 1}
    assert told.calls == ["opened", "ended"]
    assert all(not sender.is_ended or len(opened.port) == 0 for sender, _ in opened.received)
    assert_nothing_left(opened)


def test_messages_of_a_peer_that_was_just_cut_off_are_not_given(stack: ExitStack) -> None:
    """Its listener has forgotten it, and nobody would tell it again."""
    opened = open_port(stack, b"XSUB", port_bounds=PORT_BOUNDS._replace(unread_bytes=100))
    peer = opened.connect(stack, b"PUB")
    peer.send(ping(b"c" * 16) * 10 + message(b"x"))
    while not cut(opened):
        opened.port.poll(0.0)
        assert list(opened.port.receive(100)) == []
    assert_nothing_left(opened)


def test_bytes_that_were_written_before_an_error_do_not_count_as_waiting(stack: ExitStack) -> None:
    opened = open_port(stack, b"XPUB")
    for _ in range(5):
        hand = opened.connect(stack, b"SUB")
        peer = opened.wait_for_peer()
        opened.port.send(peer, bytes(50_000))

        class Breaks:
            """Takes some bytes, and then the connection is gone."""

            def __init__(self, inner: socket.socket) -> None:
                self.inner, self.left = inner, 1

            def send(self, data: memoryview) -> int:
                if not self.left:
                    raise ConnectionResetError
                self.left -= 1
                return self.inner.send(data[:1000])

            def fileno(self) -> int:
                return self.inner.fileno()

            def close(self) -> None:
                self.inner.close()

        peer.socket = Breaks(peer.socket)  # type: ignore[assignment]
        opened.port.flush()
        assert_nothing_left(opened)
        hand.close()


def test_a_subscriber_that_does_not_read_is_cut_off_and_the_other_gets_everything(
    stack: ExitStack, context: "zmq.Context[Socket]"
) -> None:
    opened = open_port(stack, b"XPUB")
    opened.connect(stack, b"SUB")
    quick = open_socket(context, zmq.SUB)
    quick.subscribe(b"")
    quick.connect(opened.endpoint)
    opened.wait_for_peer(2)
    body = bytes(200_000)
    for number in range(200):
        for peer in opened.port.peers():
            opened.port.send(peer, message(b"%d" % number, body))
        opened.turn(0)
        while not quick.poll(0):
            opened.turn()
        assert quick.recv_multipart() == [b"%d" % number, body]
        if cut(opened):
            break
    assert cut(opened) == {"slow": 1}
    assert 5 <= number < 30, "its bound, and what the kernel takes"
    assert len(opened.port) == 1


def test_of_all_that_wait_the_one_with_the_most_is_cut_off(stack: ExitStack) -> None:
    bounds = PORT_BOUNDS._replace(total_unread_bytes=MIB)
    opened = open_port(stack, b"XPUB", port_bounds=bounds)
    for _ in range(4):
        opened.connect(stack, b"SUB")
    first, second, third, fourth = opened.port.peers()
    for peer, size in ((first, 200_000), (second, 400_000), (third, 300_000), (fourth, 200_000)):
        opened.port.send(peer, bytes(size))
    assert second.is_ended
    assert not any(each.is_ended for each in (first, third, fourth))
    assert opened.port._queued_bytes == 700_000


def test_of_all_incomplete_messages_the_largest_ends(stack: ExitStack) -> None:
    bounds = PORT_BOUNDS._replace(total_incomplete_bytes=MIB)
    opened = open_port(stack, b"XSUB", port_bounds=bounds)
    begun = [opened.connect(stack, b"PUB") for _ in range(4)]
    for peer, size in zip(begun, (100_000, 400_000, 300_000, 350_000), strict=True):
        opened.push(peer, frame(bytes(500_000))[:size])
    assert cut(opened) == {"incomplete": 1}
    assert begun[1].is_cut()
    rest = frame(bytes(500_000))[350_000:]
    opened.push(begun[3], rest)
    opened.wait_until(lambda: bool(opened.received), "the message of another one is complete")
    assert [len(frames[0]) for _, frames in opened.received] == [500_000]
    for peer in begun:
        peer.close()
    opened.wait_until(lambda: len(opened.port) == 0, "all have gone")
    assert_nothing_left(opened)


def test_very_many_peers_are_read_in_smaller_pieces(stack: ExitStack) -> None:
    """Complete messages that wait for their turn must cut nobody off."""
    bounds = PORT_BOUNDS._replace(total_incomplete_bytes=16 * MIN_CHUNK_BYTES)
    opened = open_port(stack, b"XSUB", port_bounds=bounds)
    senders = [opened.connect(stack, b"PUB") for _ in range(8)]
    for peer in senders:
        peer.send(message(bytes(200)) * 200)
    opened.wait_until(lambda: len(opened.received) == 1600, "all messages arrive")
    assert cut(opened) == {}
    assert len(senders) * CHUNK_BYTES > bounds.total_incomplete_bytes


def test_a_peer_that_does_not_read_its_answers_is_not_read_either(stack: ExitStack) -> None:
    bounds = PORT_BOUNDS._replace(unread_bytes=100_000, pauses=True)
    opened = open_port(stack, b"ROUTER", port_bounds=bounds)
    asking = opened.connect(stack, b"DEALER")
    asking.socket.setblocking(False)
    answered = 0

    def serve() -> None:
        nonlocal answered
        for peer, _ in opened.received:
            opened.port.send(peer, message(bytes(50_000)))
            answered += 1
        opened.received.clear()
        opened.turn(0, share=1)

    for _ in range(100):
        try:
            asking.socket.send(message(b"ask"))
        except BlockingIOError:
            break
        serve()
    (peer,) = opened.port.peers()
    assert peer.queued_bytes <= 200_000
    assert answered < 20
    assert cut(opened) == {}
    assert not is_readable(opened.port.fileno()), "the loop has nothing to do"
    assert not opened.port.has_readable
    asking.socket.settimeout(10)
    read = 0
    while read < answered or opened.port.has_readable or peer.queued_bytes:
        if read < answered:
            opened.turn(0)
            assert len(asking.read_message()[0]) == 50_000
            read += 1
        serve()
    assert read > 20, "when it reads, the rest is answered"


def test_a_peer_at_rest_is_not_read_and_goes_on_in_its_time(
    xsub: OpenPort, stack: ExitStack
) -> None:
    peer, other = xsub.connect(stack, b"PUB"), xsub.connect(stack, b"PUB")
    resting, _ = xsub.port.peers()
    peer.send(message(b"first") * 3)
    xsub.port.poll(0.0)
    (_, messages), *_ = xsub.port.receive(1)
    assert messages == [[b"first"]]
    now = time.monotonic()
    for until in (now + 1000, now + 2000):
        xsub.port.rest(resting, until)
    assert xsub.port.due_at == now + 1000, "it rests already"
    peer.send(message(b"second"))
    other.send(message(b"other"))
    xsub.wait_until(lambda: bool(xsub.received), "the other one is read")
    xsub.port.send(resting, message(b"answer"))
    xsub.turn(0)
    assert peer.read_message() == [b"answer"], "it is written to"
    assert [frames for _, frames in xsub.received] == [[b"other"]]
    assert not is_readable(xsub.port.fileno()), "the loop has nothing to do"
    assert not xsub.port.has_readable
    xsub.port.tick(now + 1000)
    xsub.wait_until(lambda: len(xsub.received) == 4, "it is read again")
    assert [frames for _, frames in xsub.received[1:]] == [[b"first"]] * 2 + [[b"second"]]


def test_a_peer_that_goes_while_it_rests_is_forgotten_later(
    xsub: OpenPort, stack: ExitStack
) -> None:
    peer = xsub.connect(stack, b"PUB")
    (resting,) = xsub.port.peers()
    now = time.monotonic()
    xsub.port.rest(resting, now + 1000)
    peer.close()
    xsub.port.send(resting, message(b"answer"))
    xsub.turn(0)
    xsub.port.tick(now + 1000)
    xsub.wait_until(lambda: len(xsub.port) == 0, "its end is seen")
    xsub.port.rest(resting, now + 2000)
    assert_nothing_left(xsub)


def test_handshakes_do_not_wait_behind_those_that_send_much(
    xsub: OpenPort, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "TURN_S", 0.0)
    monkeypatch.setattr(ports, "MAX_HANDSHAKES_AT_ONCE", 3)
    for busy in [xsub.connect(stack, b"PUB") for _ in range(5)]:
        busy.send(message(b"x") * 1000)
    for new in [xsub.connect(stack) for _ in range(5)]:
        new.send(GREETING + ready(b"PUB"))
    xsub.port.poll(time.monotonic())
    assert len(xsub.port) == 10
    xsub.port.poll(time.monotonic())
    assert len(tuple(xsub.port.peers())) == 8, "so many in a turn"
    xsub.port.poll(time.monotonic())
    assert len(tuple(xsub.port.peers())) == 10
    assert xsub.port.newcomers.due_at == float("inf")


def test_while_the_port_holds_nothing_is_read_and_nothing_spins(
    xsub: OpenPort, stack: ExitStack
) -> None:
    peer = xsub.connect(stack, b"PUB")
    xsub.port.holds = True
    peer.send(message(b"x"))
    xsub.port.poll(0.0)
    assert xsub.port.has_readable
    assert not is_readable(xsub.port.fileno())
    # A handshake goes on, and is not ended as one that is silent.
    other = xsub.connect(stack)
    other.send(GREETING + ready(b"PUB") + message(b"y"))
    for _ in range(20):
        xsub.port.poll(0.0)
    xsub.port.flush()
    assert len(tuple(xsub.port.peers())) == 2
    assert not is_readable(xsub.port.fileno())
    assert xsub.port.newcomers.due_at == float("inf")
    xsub.port.holds = False
    xsub.wait_until(lambda: len(xsub.received) == 2, "both messages arrive")
    peer.close()
    other.close()
    xsub.wait_until(lambda: len(xsub.port) == 0, "the port watches them again")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not_zmtp"),
        (GREETING[:10] + b"\1", "old_zmtp"),
        (GREETING + message(b"early"), "invalid_handshake"),
        (GREETING + ready(b"SUB"), "wrong_socket_type"),
        (GREETING + ready(b"PUB") + b"\x02" + b"\xff" * 8, "too_large"),
        (GREETING + ready(b"PUB") + b"\x01\x00" * 8, "too_many_frames"),
        (GREETING + ready(b"PUB") + b"\xff\x00", "invalid_frame"),
    ],
)
def test_a_fault_cuts_the_peer_off_and_is_counted(
    xsub: OpenPort, stack: ExitStack, data: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    peer = xsub.connect(stack)
    peer.send(data)
    xsub.wait_until(lambda: bool(cut(xsub)), "it is cut off")
    assert cut(xsub) == {reason: 1}
    assert peer.is_cut()
    assert "cut off a peer of the ingress" in caplog.text
    assert_nothing_left(xsub)


def test_the_peer_is_told_why_its_handshake_is_refused(xsub: OpenPort, stack: ExitStack) -> None:
    peer = xsub.connect(stack)
    peer.send(GREETING + ready(b"SUB"))
    xsub.wait_until(lambda: bool(cut(xsub)), "it is cut off")
    peer.read_greeting()
    assert peer.read_frame() == (4, b"\x05ERROR\x1eit is a 'SUB', not PUB or XPUB")


def test_without_a_descriptor_the_port_waits_and_accepts_later(
    xsub: OpenPort, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoDescriptor:
        def accept(self) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def fileno(self) -> int:
            return listening.fileno()

    listening = xsub.port._acceptor._listening
    xsub.connect(stack)
    monkeypatch.setattr(xsub.port._acceptor, "_listening", NoDescriptor())
    xsub.port.poll(5.0)
    assert xsub.counters.connections_refused == 1
    assert not is_readable(xsub.port.fileno()), "it does not spin"
    assert 5.0 < xsub.port.due_at < 6.0
    xsub.port.tick(xsub.port.due_at - 0.01)
    assert not is_readable(xsub.port.fileno())
    monkeypatch.setattr(xsub.port._acceptor, "_listening", listening)
    xsub.port.tick(xsub.port.due_at)
    xsub.port.poll(6.0)
    assert len(xsub.port) == 1


def test_a_rush_is_accepted_in_parts_and_no_descriptor_is_left(
    xsub: OpenPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "MAX_ACCEPTED_AT_ONCE", 3)
    before = len(os.listdir("/dev/fd"))
    with ExitStack() as rush:
        for _ in range(8):
            rush.enter_context(ZmtpPeer(xsub.endpoint))
        xsub.port.poll(time.monotonic())
        assert len(xsub.port) == 3
        xsub.wait_until(lambda: len(xsub.port) == 8, "all are accepted")
    xsub.wait_until(lambda: len(xsub.port) == 0, "all have gone")
    assert len(os.listdir("/dev/fd")) == before
    assert_nothing_left(xsub)


def test_closing_ends_all_connections(stack: ExitStack) -> None:
    with ExitStack() as own:
        opened = open_port(own, b"XSUB")
        quiet, known = opened.connect(stack), opened.connect(stack, b"PUB")
    assert quiet.is_cut()
    assert known.is_cut()


def test_a_handshake_that_is_given_up_by_a_reset_is_logged(
    xsub: OpenPort, caplog: pytest.LogCaptureFixture
) -> None:
    """So libzmq ends a connection to a socket with another security: our greeting is unread."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(xsub.endpoint.removeprefix("ipc://"))
        # It ends with our greeting unread, and the kernel may have dropped what it has sent.
        xsub.wait_until(lambda: is_readable(peer.fileno()), "our greeting has come")
    xsub.wait_until(lambda: len(xsub.port) == 0, "it has ended")
    assert "gave its handshake up" in caplog.text


class TestRest:
    """The sender of what nobody can use waits, and nobody else."""

    def charged_and_not(self, xsub: OpenPort, stack: ExitStack) -> tuple[ZmtpPeer, ZmtpPeer]:
        """Two connections, the first of which has sent much that is refused."""
        bad, good = (xsub.connect(stack, b"PUB") for _ in range(2))
        bad.send(message(b"first"))
        xsub.wait_until(lambda: bool(xsub.received), "one has come")
        xsub.port.charge_refused(xsub.received[0][0], 1000.0)
        return bad, good

    def test_a_peer_that_is_charged_for_much_waits_and_loses_nothing(
        self, xsub: OpenPort, stack: ExitStack
    ) -> None:
        bad, good = self.charged_and_not(xsub, stack)
        assert xsub.counters.peers_delayed == 1
        bad.send(message(b"later"))
        good.send(message(b"good"))
        xsub.wait_until(lambda: len(xsub.received) == 2, "the other one is read")
        for _ in range(3):
            xsub.turn(0)
        assert [frames for _, frames in xsub.received] == [[b"first"], [b"good"]]
        xsub.port.tick(time.monotonic() + 20_000)
        xsub.wait_until(lambda: len(xsub.received) == 3, "the rest has come")

    def has(self, xsub: OpenPort, count: int) -> bool:
        return len(xsub.received) == count

    def test_who_sends_parts_of_messages_does_not_wait_for_the_junk_of_its_neighbour(
        self, xsub: OpenPort, stack: ExitStack
    ) -> None:
        """Both are of one party, as all of one machine are."""
        _, good = self.charged_and_not(xsub, stack)
        for number in range(3):
            whole = message(b"%d" % number, bytes(1000))
            good.send(whole[:500])
            xsub.turn(0.05)
            good.send(whole[500:])
            xsub.wait_until(partial(self.has, xsub, number + 2), "it is read")
        assert xsub.counters.peers_delayed == 1

    def test_pings_are_charged(
        self, xsub: OpenPort, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ports, "SHARE_OF_READS", TimeShare(0.1, burst_s=0.0))
        peer = xsub.connect(stack, b"PUB")
        before = xsub.counters.peers_delayed
        peer.send(ping())
        xsub.wait_until(lambda: xsub.counters.peers_delayed > before, "it waits")
