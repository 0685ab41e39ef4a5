"""The edge's connection to the relay, on the event loop.

Sockets are read by draining them when their file descriptors are readable. A descriptor becomes
readable once per change, so whoever touches a socket drains it afterwards.
"""

import asyncio
import logging
import secrets
from typing import Protocol

import zmq

from edge.config import EdgeSettings
from edge.core.hub.relay_subscriptions import stream_subscriptions, subscriptions
from edge.upstream.requests import ControlLink
from relay.shared.logs import LimitedLog
from relay.shared.transport import Socket, open_socket, receive_frames
from relay.wire.control import (
    HEARTBEAT_TOPIC,
    SYNC_PREFIX,
    Heartbeat,
    ReplayReply,
    unpack_heartbeat,
)
from relay.wire.errors import InvalidFrame, WireError
from relay.wire.header import unpack_stamp
from relay.wire.topics import EVENT, TASK, Pattern

BATCH = 512
"""Messages read before the event loop goes on with other work."""
TICK_S = 0.25
LATE_TICK_S = 1.0
"""A tick as late as that means that this process stood still."""
SYNC_RETRY_S = 1.0

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told what the relay says."""

    def synchronize(self, epoch: int, heartbeat: Heartbeat) -> None:
        """Subscriptions are in place; what follows the tips in `heartbeat` will arrive."""

    def hear(self, heartbeat: Heartbeat) -> None:
        """A heartbeat: everything up to its tips has arrived, or was lost on the way."""

    def take_event(self, frames: list[bytes]) -> None:
        """An event: topic, stamp, envelope, as far as they are well formed."""

    def take_replay(self, stream: str, reply: ReplayReply) -> None:
        """The answer to `request_replay`."""

    def take_retained(self, items: tuple[tuple[bytes, bytes, bytes], ...]) -> None:
        """The answer to `request_retained`."""

    def tell_progress(self) -> None:
        """A batch of events was read."""


class Host(Protocol):
    """Who is told whether there is a relay."""

    def relay_found(self) -> None:
        """Events arrive from now on, after `Listener.synchronize`."""

    def relay_lost(self) -> None:
        """Nothing was heard from the relay for `relay_timeout_s`."""


class RelayLink:
    """Subscribes, synchronizes, and listens for heartbeats; asks by way of `ControlLink`."""

    def __init__(self, settings: EdgeSettings, listener: Listener, host: Host, name: str) -> None:
        self._settings = settings
        self._listener = listener
        self._host = host
        self._context: zmq.Context[Socket] = zmq.Context()
        self._sub = open_socket(self._context, zmq.SUB)
        # Above the high-water mark a subscription would be dropped without a word.
        self._sub.setsockopt(zmq.SNDHWM, 0)
        self._sub.setsockopt(zmq.RCVHWM, 100_000)
        self._control = ControlLink(self._context, settings.relay_control, name)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._streams: frozenset[bytes] = frozenset()
        self._nonce = b""
        self._synchronized = False
        self._is_followed = False
        """Whether the listener was told that events arrive, and not yet that they ceased to."""
        self._epoch = 0
        self._ticked_at = 0.0
        self._sync_due_at = 0.0
        self._heard_at = 0.0
        self._started_at = 0
        """When the relay that is followed was started."""
        self._is_journaling = True
        self._log = LimitedLog(logger)

    @property
    def is_alive(self) -> bool:
        """Whether events arrive: subscriptions are in place and the relay was heard lately."""
        return self._synchronized

    @property
    def is_journaling(self) -> bool:
        """Whether the relay could write its journal when it was heard last."""
        return self._is_journaling

    def start(self) -> None:
        """Connect; needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._subscribe_streams((EVENT, TASK))
        self._sub.subscribe(HEARTBEAT_TOPIC)
        self._sub.connect(self._settings.relay_egress)
        self._loop.add_reader(self._sub.fileno(), self._read_events)
        self._control.start(self._loop)
        self._on_tick()

    def close(self) -> None:
        """Disconnect."""
        if self._loop is not None and not self._sub.closed:
            self._loop.remove_reader(self._sub.fileno())
            self._control.close()
        if self._tick is not None:
            self._tick.cancel()
        self._context.destroy(linger=0)

    def want(self, selector: Pattern) -> None:
        """See `Upstream`."""
        for prefix in subscriptions(selector, self._settings.topic_prefixes):
            self._sub.subscribe(prefix)
        self._drain_soon()

    def unwant(self, selector: Pattern) -> None:
        """See `Upstream`."""
        if self._sub.closed:
            return
        for prefix in subscriptions(selector, self._settings.topic_prefixes):
            self._sub.unsubscribe(prefix)
        self._drain_soon()

    def request_retained(self, selector: Pattern) -> None:
        """See `Upstream`."""
        self._control.retained(selector.prefix, selector.exact, self._listener.take_retained)

    def request_replay(self, stream: str, after: int, limit: int) -> None:
        """See `Upstream`."""

        def on_reply(reply: ReplayReply) -> None:
            self._listener.take_replay(stream, reply)

        self._control.request_replay(stream, after, limit, on_reply)

    async def replay(self, stream: str, after: int, limit: int) -> ReplayReply:
        """See `Replayer`."""
        return await self._control.replay(stream, after, limit)

    def _drain_soon(self) -> None:
        if self._loop is not None:
            self._loop.call_soon(self._read_events)

    def _on_tick(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        self._tick = self._loop.call_later(TICK_S, self._on_tick)
        self._read_events()
        self._notice_silence(now)
        if not self._synchronized and now >= self._sync_due_at:
            self._begin_sync(now)
        if self._synchronized:
            self._control.ask_again(now)
        else:
            self._control.send_unsent()

    def _notice_silence(self, now: float) -> None:
        """Count the relay as lost when it was silent while we listened."""
        if now - self._ticked_at > LATE_TICK_S:
            self._heard_at = max(self._heard_at, now)  # It was us who were not there.
        self._ticked_at = now
        if self._is_followed and now - self._heard_at > self._settings.relay_timeout_s:
            self._is_followed = self._synchronized = False
            logger.warning("lost the relay at %s", self._settings.relay_egress)
            self._host.relay_lost()

    def _begin_sync(self, now: float) -> None:
        """Subscribe to a fresh nonce; when it comes back, all before it is in place."""
        self._sync_due_at = now + SYNC_RETRY_S
        if self._nonce:
            self._sub.unsubscribe(self._nonce)
        self._nonce = SYNC_PREFIX + secrets.token_hex(8).encode()
        self._sub.subscribe(self._nonce)
        self._control.say_hello()

    def _finish_sync(self, epoch: int, heartbeat: Heartbeat) -> None:
        assert self._loop is not None
        if not self._subscribe_streams(tuple(heartbeat.tips)):
            # The relay journals other kinds than we thought: once more, with those in place.
            self._sync_due_at = 0.0
            return
        self._synchronized = self._is_followed = True
        self._sub.unsubscribe(self._nonce)
        self._nonce = b""
        logger.info("following the relay at %s, epoch %d", self._settings.relay_egress, epoch)
        self._epoch = epoch
        self._started_at = heartbeat.started_at
        self._control.ask_again(self._loop.time(), restarted=True)
        self._listener.synchronize(epoch, heartbeat)
        self._host.relay_found()

    def _subscribe_streams(self, journaled_kinds: tuple[str, ...]) -> bool:
        """Subscribe to the streams; return whether that was so before."""
        wanted = stream_subscriptions(journaled_kinds, self._settings.topic_prefixes)
        for prefix in wanted - self._streams:
            self._sub.subscribe(prefix)
        for prefix in self._streams - wanted:
            self._sub.unsubscribe(prefix)
        unchanged = wanted == self._streams
        self._streams = wanted
        return unchanged

    def _read_events(self) -> None:
        if self._sub.closed or self._loop is None:
            return
        for _ in range(BATCH):
            try:
                frames = receive_frames(self._sub)
            except zmq.Again:
                self._listener.tell_progress()
                return
            self._heard_at = self._loop.time()
            if frames[0][:1] == b"!":
                self._on_relay_word(frames)
            else:
                self._listener.take_event(frames)
        self._listener.tell_progress()
        self._drain_soon()

    def _on_relay_word(self, frames: list[bytes]) -> None:
        assert self._loop is not None
        try:
            topic, stamp_frame, body = _three(frames)
            epoch = unpack_stamp(stamp_frame).epoch
            heartbeat = unpack_heartbeat(body)
        except WireError as error:
            self._log.warning("heartbeat", "the relay's heartbeat is not understood: %s", error)
            return
        self._is_journaling = heartbeat.journaling
        if topic == self._nonce:
            self._finish_sync(epoch, heartbeat)
        elif not self._synchronized:
            return
        elif epoch != self._epoch or heartbeat.started_at != self._started_at:
            logger.warning("the relay at %s was started anew", self._settings.relay_egress)
            self._synchronized = False
            self._begin_sync(self._loop.time())
        else:
            self._listener.hear(heartbeat)


def _three(frames: list[bytes]) -> tuple[bytes, bytes, bytes]:
    if len(frames) != 3:
        raise InvalidFrame(f"expected 3 frames, got {len(frames)}")
    return frames[0], frames[1], frames[2]
