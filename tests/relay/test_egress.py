"""Events go to their subscribers, and a subscriber that has gone leaves nothing behind."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from relay.core import subscribers
from relay.core.subscribers import MAX_PREFIX_BYTES
from relay.egress import Egress
from relay.net.peer import Peer
from tests.relay.ports import OpenPort, open_port
from tests.support.zmtp_peer import ZmtpPeer, command, message

STAMP = bytes(25)


class Routed:
    """An egress and the calls of its route."""

    def __init__(self, stack: ExitStack, max_queued: int = 100) -> None:
        self.opened: OpenPort = open_port(stack, b"XPUB")
        self.calls: list[tuple[bytes, bool, bool]] = []
        self.egress = Egress(self.opened.port, max_queued, self._route)
        self._stack = stack

    def _route(self, prefix: bytes, is_made: bool, is_change: bool) -> None:
        self.calls.append((prefix, is_made, is_change))

    def connect(self) -> ZmtpPeer:
        return self.opened.connect(self._stack, b"SUB")

    def take(self, count: int, share: int = 1000) -> None:
        """Receive until the route was called `count` times in all."""
        for _ in range(100):
            if len(self.calls) >= count:
                break
            self.turn(share)
        assert len(self.calls) == count

    def turn(self, share: int = 1000, most: int = 1000) -> None:
        self.opened.port.poll(0.0)
        self.egress.receive(share, most)
        self.egress.end_gone(1000)
        self.opened.port.flush()

    def publish(self, *topics: bytes) -> None:
        self.egress.publish([(topic, STAMP, b"body") for topic in topics])
        self.opened.port.flush()

    @property
    def cut(self) -> dict[str, int]:
        return dict(self.opened.counters.peers_cut.get("ingress", {}))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def routed(stack: ExitStack) -> Routed:
    return Routed(stack)


def test_a_subscriber_gets_each_event_of_its_prefixes_once(routed: Routed) -> None:
    peer, other = routed.connect(), routed.connect()
    peer.send(message(b"\1event:") + command(b"SUBSCRIBE", b"event:a"))
    other.send(message(b"\1task:"))
    routed.take(3)
    routed.publish(b"event:abc", b"task:1", b"room:1")
    assert peer.read_message() == [b"event:abc", STAMP, b"body"]
    assert other.read_message() == [b"task:1", STAMP, b"body"]
    peer.send(message(b"\0event:") + message(b"\0event:a"))
    routed.take(5)
    routed.publish(b"event:abc", b"task:2")
    assert other.read_message()[0] == b"task:2"
    assert all(not each.queued_bytes for each in routed.opened.port.peers())


def test_the_route_is_told_what_changes(routed: Routed) -> None:
    peer = routed.connect()
    peer.send(message(b"\1a") * 2 + message(b"\0a") * 2)
    routed.take(4)
    assert routed.calls == [
        (b"a", True, True),
        (b"a", True, False),
        (b"a", False, True),
        (b"a", False, False),
    ]


def test_the_subscriptions_of_a_peer_end_with_it(routed: Routed) -> None:
    peer = routed.connect()
    peer.send(message(b"\1a") + message(b"\1b"))
    routed.take(2)
    peer.close()
    routed.take(4)
    assert routed.calls[2:] == [(b"a", False, True), (b"b", False, True)]


def test_a_message_that_is_no_subscription_is_counted(routed: Routed) -> None:
    peer = routed.connect()
    peer.send(message(b"") + message(b"\2a") + message(b"\1a", b"more") + message(b"\1end"))
    routed.take(1)
    assert routed.calls == [(b"end", True, True)]
    assert routed.egress.take_malformed() == 3
    assert routed.egress.take_malformed() == 0


def left_behind(routed: Routed) -> dict[bytes, int]:
    """Prefix to how often it was made and not ended."""
    counts: dict[bytes, int] = {}
    for prefix, is_made, is_change in routed.calls:
        if is_change:
            counts[prefix] = counts.get(prefix, 0) + (1 if is_made else -1)
    return {prefix: count for prefix, count in counts.items() if count}


@pytest.mark.parametrize(
    "wrong",
    [message(b"\1" + b"x" * (MAX_PREFIX_BYTES + 1)), message(b"\1too many")],
    ids=["too long", "too many"],
)
def test_a_peer_over_its_bound_is_cut_off_and_nothing_behind_is_taken(
    routed: Routed, monkeypatch: pytest.MonkeyPatch, wrong: bytes
) -> None:
    monkeypatch.setattr(subscribers, "MAX_PREFIXES", 2)
    peer, other = routed.connect(), routed.connect()
    other.send(message(b"\1other"))
    routed.take(1)
    # All of it comes in one piece, and the peer is forgotten in its middle.
    peer.send(message(b"\1a") + message(b"\1b") + wrong + message(b"\1c") + message(b"\1d"))
    for _ in range(5):
        routed.turn()
    assert peer.is_cut()
    assert routed.cut == {"too_many_subscriptions": 1}
    assert left_behind(routed) == {b"other": 1}
    assert len(routed.egress._subscribers) == 1
    routed.publish(b"c", b"d", b"other")
    assert other.read_message()[0] == b"other"


def test_of_all_peers_the_one_with_the_most_subscriptions_gives_way(
    routed: Routed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribers, "MAX_PREFIXES_OF_ALL", 10)
    greedy, modest = routed.connect(), routed.connect()
    greedy.send(b"".join(message(b"\1%d" % number) for number in range(9)))
    routed.take(9)
    modest.send(message(b"\1a") + message(b"\1b"))
    for _ in range(5):
        routed.turn()
    assert greedy.is_cut()
    assert routed.cut == {"too_many_subscriptions": 1}
    assert left_behind(routed) == {b"a": 1, b"b": 1}


def test_one_call_takes_a_bounded_number(routed: Routed) -> None:
    for peer in [routed.connect() for _ in range(3)]:
        peer.send(b"".join(message(b"\1%d" % number) for number in range(100)))
    routed.turn(share=10, most=15)
    assert len(routed.calls) == 20
    assert len({number for number, _, _ in routed.calls}) == 10, "of two peers"


def test_above_the_high_water_mark_the_newest_events_are_dropped(stack: ExitStack) -> None:
    routed = Routed(stack, max_queued=3)
    peer = routed.connect()
    peer.send(message(b"\1"))
    routed.take(1)
    routed.egress.publish([(b"n:%d" % number, STAMP, b"") for number in range(5)])
    (queued,) = routed.opened.port.peers()
    assert len(queued.queue) == 3
    routed.opened.port.flush()
    assert [peer.read_message()[0] for _ in range(3)] == [b"n:0", b"n:1", b"n:2"]
    routed.publish(b"n:9")
    assert peer.read_message()[0] == b"n:9"


def test_subscribers_share_the_bytes_of_an_event(routed: Routed) -> None:
    for peer in (routed.connect(), routed.connect()):
        peer.send(message(b"\1"))
    routed.take(2)
    routed.egress.publish([(b"event:x", STAMP, bytes(1000))])
    first, second = routed.opened.port.peers()
    assert first.queue[0] is second.queue[0]


def test_an_event_goes_to_the_others_when_one_is_cut_off_for_it(routed: Routed) -> None:
    peers = [routed.connect() for _ in range(3)]
    for peer in peers:
        peer.send(message(b"\1"))
    routed.take(3)
    slow: Peer = tuple(routed.opened.port.peers())[1]
    routed.opened.port.send(slow, bytes(900_000))
    routed.publish(b"event:" + bytes(100))
    routed.egress.publish([(b"event:y", STAMP, bytes(200_000))])
    for _ in range(10):
        routed.turn()
    assert slow.is_ended or slow.queued_bytes
    for peer in (peers[0], peers[2]):
        assert peer.read_message()[0] == b"event:" + bytes(100)
        assert peer.read_message()[0] == b"event:y"


def test_many_subscriptions_of_a_peer_end_in_pieces(routed: Routed) -> None:
    """Nobody would get an event while ten thousand end."""
    peer, other = routed.connect(), routed.connect()
    peer.send(b"".join(message(b"\1event:%d" % number) for number in range(2500)))
    other.send(message(b"\1event:"))
    routed.take(2501)
    routed.calls.clear()
    peer.close()
    routed.opened.port.poll(0.0)
    ended: list[int] = []
    while len(routed.calls) < 2500:
        assert routed.egress.has_gone or not ended, "the loop would wait for a message"
        before = len(routed.calls)
        routed.turn()
        routed.publish(b"event:7")
        ended.append(len(routed.calls) - before)
    assert max(ended) == 1000
    assert not routed.egress.has_gone
    assert other.read_message()[0] == b"event:7"
