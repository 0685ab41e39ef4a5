"""A tool's subscriber knows when it is subscribed, and holds little of a flood of events."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import zmq

from emitters.relay_reader import READ_BYTES, RelayedEvent, RelayReader
from relay.shared.transport import Socket
from relay.wire.envelope import MAX_ENVELOPE_BYTES, Envelope, pack_envelope
from relay.wire.header import Stamp, pack_stamp
from tests.support.waiting import wait_for

TIMEOUT_S = 10.0
LARGE = MAX_ENVELOPE_BYTES - 1000


class Publisher:
    """The relay's end: an XPUB that sends what the test says."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = f"ipc://{directory}/egress"
        self._context: zmq.Context[Socket] = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.bind(self.endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(linger=0)

    def read_subscription(self) -> bytes:
        """Return the next prefix that was subscribed to or not any more."""
        assert self._socket.poll(int(TIMEOUT_S * 1000)), "no subscription"
        return self._socket.recv()

    def answer_sync(self) -> list[bytes]:
        """Read subscriptions up to the nonce, and send it back; return those before it."""
        before = []
        while not (frame := self.read_subscription()).startswith(b"\x01!sync:"):
            before.append(frame)
        self._socket.send_multipart([frame[1:], pack_stamp(Stamp(1, 0, 1)), b"{}"])
        return before

    def send(self, offset: int, *, size: int = 0, topic: str = "event:a") -> None:
        """Send one event with about `size` bytes of data."""
        envelope = Envelope("any", {"padding": "x" * size}, None, "raw", 1, f"id-{offset}")
        stamp = pack_stamp(Stamp(1, offset, 1))
        self._socket.send_multipart([topic.encode(), stamp, pack_envelope(envelope, "event")])

    def send_frames(self, *frames: bytes) -> None:
        """Send a message of any frames."""
        self._socket.send_multipart(frames)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    with Publisher(tmp_path) as publisher:
        yield publisher


@pytest.fixture
def egress(publisher: Publisher) -> Iterator[RelayReader]:
    with RelayReader(publisher.endpoint, "event:") as egress:
        yield egress


def read_all(egress: RelayReader, count: int) -> list[list[RelayedEvent]]:
    """Return the batches in which `count` events come."""
    batches: list[list[RelayedEvent]] = []
    while sum(map(len, batches)) < count:
        assert egress.wait(TIMEOUT_S), f"{count} events do not come"
        batches.append(egress.read())
    return batches


def test_it_is_subscribed_when_the_nonce_comes_back(
    publisher: Publisher, egress: RelayReader
) -> None:
    assert not egress.wait_subscribed(0.01)
    assert publisher.answer_sync() == [b"\x01event:", b"\x01addressed:event:", b"\x01!heartbeat"]
    publisher.send(1)
    assert egress.wait_subscribed(TIMEOUT_S)
    assert publisher.read_subscription().startswith(b"\x00!sync:"), "it is taken back"
    [[event]] = read_all(egress, 1)
    assert (event.topic.shown, event.stamp.offset, event.envelope.id) == ("event:a", 1, "id-1")


def test_events_of_1_mib_are_read_a_few_at_a_time(
    publisher: Publisher, egress: RelayReader
) -> None:
    publisher.answer_sync()
    assert egress.wait_subscribed(TIMEOUT_S)
    for offset in range(1, 41):
        publisher.send(offset, size=LARGE)
    batches = read_all(egress, 40)
    assert max(map(len, batches)) <= READ_BYTES // LARGE + 1
    assert [event.stamp.offset for batch in batches for event in batch] == list(range(1, 41))


def test_events_that_come_before_the_nonce_do_not_pile_up(
    publisher: Publisher, egress: RelayReader
) -> None:
    """They show that the prefix is subscribed to, so there is nothing more to wait for."""
    while publisher.read_subscription() != b"\x01event:":
        pass
    for offset in range(1, 21):
        publisher.send(offset, size=LARGE)
    assert egress.wait_subscribed(TIMEOUT_S)
    batches = read_all(egress, 20)
    assert max(map(len, batches)) <= READ_BYTES // LARGE + 1


def test_the_relays_own_messages_and_malformed_ones_are_no_events(
    publisher: Publisher, egress: RelayReader, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.answer_sync()
    assert egress.wait_subscribed(TIMEOUT_S)
    heard_at = egress.heard_at
    publisher.send_frames(b"!heartbeat", b"", b"")
    publisher.send_frames(b"event:a", b"not a stamp", b"\xff")
    publisher.send_frames(b"event:a")
    publisher.send(7)
    [event] = [event for batch in read_all(egress, 1) for event in batch]
    assert event.stamp.offset == 7
    assert "left out a malformed event" in caplog.text
    wait_for(lambda: egress.heard_at > heard_at, "the relay was heard")
