"""A subscriber on the relay's egress socket, for tools; an edge has its own."""

import logging
import secrets
import time
from typing import NamedTuple, Self

import zmq

from relay.shared.logs import LimitedLog
from relay.shared.transport import Socket, open_socket, receive_frames
from relay.wire.control import HEARTBEAT_TOPIC, SYNC_PREFIX
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Stamp, unpack_stamp
from relay.wire.topics import decode_topic

QUEUE_EVENTS = 100_000
"""Held for a slow reader; more are dropped at the relay, which shows in the offsets."""

READ_BATCH = 1000

logger = logging.getLogger(__name__)


class Event(NamedTuple):
    """One event as the relay sent it out."""

    topic: str
    stamp: Stamp
    envelope: Envelope


class Egress:
    """Subscribes to every topic that starts with `prefix` (protocol section 4)."""

    def __init__(self, endpoint: str, prefix: str) -> None:
        self.endpoint = endpoint
        self.heard_at = time.monotonic()
        """When the relay said anything last, heartbeats included."""
        self._log = LimitedLog(logger)
        self._context: zmq.Context[Socket] = zmq.Context()
        self._socket = open_socket(self._context, zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE_EVENTS)
        self._nonce = SYNC_PREFIX + secrets.token_hex(8).encode()
        for topic in (prefix.encode(), HEARTBEAT_TOPIC, self._nonce):
            self._socket.subscribe(topic)
        self._socket.connect(endpoint)
        self._read_ahead: list[Event] = []

    def wait_subscribed(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the relay has every subscription."""
        give_up_at = time.monotonic() + timeout
        while (left_s := give_up_at - time.monotonic()) > 0:
            if not self._socket.poll(int(left_s * 1000) + 1):
                return False
            if self._read():
                self._socket.unsubscribe(self._nonce)
                return True
        return False

    def wait(self, timeout: float, other: int | None = None) -> bool:
        """Wait until there is something to `read`, or an error on file descriptor `other`."""
        if self._read_ahead:
            return True
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        if other is not None:
            poller.register(other, zmq.POLLERR)
        return self._socket in dict(poller.poll(int(timeout * 1000)))

    def read(self) -> list[Event]:
        """Return the events that are there."""
        self._read()
        events, self._read_ahead = self._read_ahead, []
        return events

    def close(self) -> None:
        """Unsubscribe and disconnect."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> bool:
        """Take in what is there; return whether our nonce came back."""
        synchronised = False
        for _ in range(READ_BATCH):
            try:
                frames = receive_frames(self._socket)
            except zmq.Again:
                break
            self.heard_at = time.monotonic()
            if frames[0] == self._nonce:
                synchronised = True
            elif not frames[0].startswith(b"!"):
                self._keep(frames)
        return synchronised

    def _keep(self, frames: list[bytes]) -> None:
        try:
            topic_frame, stamp_frame, payload = frames
            topic = decode_topic(topic_frame)
            envelope = unpack_envelope(payload, topic.kind)
            self._read_ahead.append(Event(topic.text, unpack_stamp(stamp_frame), envelope))
        except (WireError, ValueError) as error:
            self._log.warning("malformed", "left out a malformed event: %s", error)
