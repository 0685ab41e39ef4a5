"""`RelayReader`: a subscriber on the relay's egress socket, for tools; an edge has its own."""

import logging
import time
from typing import NamedTuple, Self

import zmq

from relay.shared.curve_keys import ClientKeys
from relay.shared.interruptible import poll_in_slices
from relay.shared.logs import LimitedLog
from relay.shared.sync import SyncHandshake
from relay.shared.transport import Socket, connect, open_socket, receive_frames
from relay.wire.control import HEARTBEAT_TOPIC, unpack_heartbeat
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Stamp, unpack_stamp
from relay.wire.topics import ADDRESSED, EDGE, REVOCATION, Topic, decode_topic

QUEUE_EVENTS = 1_000
"""The most events that libzmq queues for a slow reader. Further ones wait at the relay, up to its
bounds; those beyond are missing, which shows in the offsets."""

READ_EVENTS = 1000
READ_BYTES = 4 * 1024 * 1024
"""The most that is read at a time, and the most that is read ahead of `read`; the event that passes
this limit is the last."""

logger = logging.getLogger(__name__)


class RelayedEvent(NamedTuple):
    """One event as the relay sent it out."""

    topic: Topic
    stamp: Stamp
    envelope: Envelope


class RelayReader:
    """Subscribes to every topic that starts with `prefix` (protocol section 4), also of events that
    are for one user."""

    def __init__(self, endpoint: str, prefix: str, keys: ClientKeys | None = None) -> None:
        self.endpoint = endpoint
        self.heard_at = time.monotonic()
        """When the last message of the relay was read, heartbeats included."""
        self._shows_internal = prefix.startswith((EDGE, REVOCATION))
        """Whether events that edges send each other are read: not unless asked for."""
        self.heartbeat_s = 0.0
        """The interval of heartbeats, 0 before the first one."""
        self._log = LimitedLog(logger)
        self._context: zmq.Context[Socket] = zmq.Context()
        self._socket = open_socket(self._context, zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE_EVENTS)
        # Connected first: on connecting, libzmq sends the subscriptions that are there already in
        # the order of their bytes, and `!sync:` would come before the prefix.
        connect(self._socket, endpoint, keys)
        self._socket.subscribe(prefix.encode())
        self._socket.subscribe(f"{ADDRESSED}:{prefix}".encode())
        self._socket.subscribe(HEARTBEAT_TOPIC)
        self._handshake = SyncHandshake(self._socket)
        self._handshake.begin()
        self._read_ahead: list[RelayedEvent] = []
        self._read_ahead_bytes = 0

    def wait_subscribed(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the relay has every subscription."""
        give_up_at = time.monotonic() + timeout
        while (left_s := give_up_at - time.monotonic()) > 0:
            if not poll_in_slices(self._socket.poll, left_s):
                return False
            # Where that many events arrive, the prefix is subscribed to; more must not pile up.
            if self._read() or self._read_ahead_bytes >= READ_BYTES:
                self._handshake.end()
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
        return self._socket in dict(poll_in_slices(poller.poll, timeout))

    def read(self) -> list[RelayedEvent]:
        """Return the events that have arrived, about 4 MiB at most."""
        self._read()
        events, self._read_ahead = self._read_ahead, []
        self._read_ahead_bytes = 0
        return events

    def close(self) -> None:
        """Unsubscribe and disconnect."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> bool:
        """Read messages that have arrived; return whether one of them answers the handshake."""
        synchronised = False
        for _ in range(READ_EVENTS):
            if self._read_ahead_bytes >= READ_BYTES:
                break
            try:
                frames = receive_frames(self._socket)
            except zmq.Again:
                break
            self.heard_at = time.monotonic()
            if self._handshake.is_answer(frames[0]):
                synchronised = True
            if not frames[0].startswith(b"!"):
                self._keep(frames)
            elif len(frames) == 3:
                self._take_heartbeat(frames[2])
        return synchronised

    def _take_heartbeat(self, body: bytes) -> None:
        try:
            self.heartbeat_s = unpack_heartbeat(body).heartbeat_s or 0.0
        except WireError as error:
            self._log.warning("heartbeat", "the relay's heartbeat is not understood: %s", error)

    def _keep(self, frames: list[bytes]) -> None:
        try:
            topic_frame, stamp_frame, payload = frames
            topic = decode_topic(topic_frame)
            if topic.is_internal and not self._shows_internal:
                return
            envelope = unpack_envelope(payload, topic.kind)
            self._read_ahead.append(RelayedEvent(topic, unpack_stamp(stamp_frame), envelope))
            self._read_ahead_bytes += len(payload)
        except (WireError, ValueError) as error:
            self._log.warning("malformed", "left out a malformed event: %s", error)
