"""`RelaySubscriber`: reads events and heartbeats, and keeps the edge synchronized (section 6)."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from edge.core.streams.inbound import Inbound
from edge.core.streams.relay_state import Heard, RelayPhase, RelayState
from edge.upstream.connection import RelayConnection
from relay.shared.logs import LimitedLog
from relay.wire.control import Heartbeat, unpack_heartbeat
from relay.wire.errors import InvalidFrame, WireError
from relay.wire.header import unpack_stamp

BATCH_MESSAGES = 512
BATCH_BYTES = 4 * 1024 * 1024
"""Messages read before the gathered frames are sent to clients and other work has its turn."""
TICK_S = 0.25

logger = logging.getLogger(__name__)


class RelayWatcher(Protocol):
    """Learns whether events arrive."""

    def relay_found(self) -> None:
        """Events arrive from now on."""

    def relay_lost(self) -> None:
        """The relay has been silent for too long, or does not replay what was missed."""


class RelaySubscriber:
    """Takes the relay's messages to `inbound`, and synchronizes whenever `state` says so."""

    def __init__(
        self,
        connection: RelayConnection,
        state: RelayState,
        inbound: Inbound,
        watcher: RelayWatcher,
        on_batch: Callable[[], None],
    ) -> None:
        """Needs a running event loop. `on_batch` is called after each batch of messages."""
        self._connection = connection
        self._state = state
        self._inbound = inbound
        self._watcher = watcher
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._log = LimitedLog(logger)
        self._is_stuck = False
        """Whether events are held behind a hole that the relay does not close."""
        connection.events.add_reader(self._read_events)
        connection.requests.socket.add_reader(self._read_replies)
        self._ticking = self._loop.call_soon(self._tick)

    def close(self) -> None:
        """Read no more."""
        self._ticking.cancel()
        self._connection.close()

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        # Before the silence is judged: an answer may wait in the sockets.
        self._read_events()
        self._read_replies()
        tick = self._state.tick(self._loop.time())
        if tick.is_lost:
            logger.warning("lost the relay at %s", self._connection.events.endpoint)
            self._watcher.relay_lost()
        if tick.is_handshake_due:
            self._begin_handshake()
        self._connection.requests.tick(self._inbound)
        self._connection.demand.send()
        self._connection.subscriptions.refresh()
        self._look_for_a_standstill()

    def _look_for_a_standstill(self) -> None:
        """Send clients away when a stream does not go on: they would wait without knowing it."""
        requests = self._connection.requests
        was_stuck = self._is_stuck
        self._is_stuck = self._inbound.is_behind and not requests.health.is_replaying
        if self._is_stuck and not was_stuck:
            endpoint = requests.socket.endpoint
            logger.warning("the relay at %s does not replay the events that are missing", endpoint)
            self._watcher.relay_lost()

    def _read_events(self) -> None:
        frames: list[bytes] = []
        for frames in self._connection.events.messages(BATCH_MESSAGES, BATCH_BYTES):
            if frames[0][:1] == b"!":
                self._take_heartbeat(frames)
            else:
                self._inbound.take_event(frames)
        if frames:
            self._state.hear(self._loop.time())
            self._end_batch()

    def _read_replies(self) -> None:
        if self._connection.requests.read_replies(self._inbound):
            self._state.hear_answer(self._loop.time())
            self._end_batch()

    def _end_batch(self) -> None:
        for repair in self._inbound.repairs_due():
            if not self._connection.requests.request_repair(repair):
                self._inbound.lose_repair(repair.stream)
        self._on_batch()

    def _take_heartbeat(self, frames: list[bytes]) -> None:
        try:
            topic, stamp_frame, body = _three(frames)
            stamp = unpack_stamp(stamp_frame)
            epoch = stamp.epoch
            heartbeat = unpack_heartbeat(body)
        except WireError as error:
            self._log.warning("heartbeat", "the relay's heartbeat is not understood: %s", error)
            return
        self._state.clock.hear(stamp.relayed_at, self._loop.time())
        self._state.is_journaling = heartbeat.journaling
        self._state.is_journal_damaged = bool(heartbeat.damaged)
        self._state.hear_interval(heartbeat.heartbeat_s or 0.0)
        is_answer = self._connection.handshake.is_answer(topic)
        is_rolled_back = self._inbound.is_rolled_back(epoch, heartbeat)
        match self._state.take_heartbeat(
            epoch, heartbeat.started_at, is_answer=is_answer, is_rolled_back=is_rolled_back
        ):
            case Heard.PROGRESS:
                self._inbound.take_heartbeat(heartbeat)
            case Heard.RECONNECTED:
                self._inbound.take_heartbeat(heartbeat)
                self._request_last_values()
            case Heard.ANSWER:
                self._end_handshake(epoch, heartbeat)
            case Heard.ROLLBACK:
                # Its epoch ends as soon as it has read our hello, which proves the rollback.
                self._log.error("rollback", "the relay's journal lacks events received here")
            case Heard.RESTART:
                endpoint = self._connection.events.endpoint
                logger.warning("the relay at %s was restarted", endpoint)
                self._begin_handshake()
            case Heard.NOTHING:
                pass

    def _begin_handshake(self) -> None:
        self._state.begin_handshake(self._loop.time())
        self._connection.handshake.begin()
        self._connection.events.read_soon()
        self._connection.requests.say_hello(self._inbound.place)

    def _end_handshake(self, epoch: int, heartbeat: Heartbeat) -> None:
        requests = self._connection.requests
        if not self._connection.subscriptions.follow_streams(heartbeat.tips):
            # The relay journals other kinds than we knew. Events of the streams that were just
            # subscribed to may have passed: once more, with those subscriptions in place.
            self._state.repeat_handshake()
            return
        has_clients = self._state.phase is RelayPhase.SYNCHRONIZING
        self._state.follow(epoch, heartbeat.started_at)
        endpoint = self._connection.events.endpoint
        logger.info("following the relay at %s, epoch %d", endpoint, epoch)
        requests.lose_all(self._inbound)
        self._connection.demand.relay_restarted()
        for selector in self._inbound.synchronize(epoch, heartbeat, has_clients=has_clients):
            requests.request_last_values(selector)
        self._request_last_values()
        # After the streams are known: clients are told their positions now.
        self._watcher.relay_found()

    def _request_last_values(self) -> None:
        """Request the live values that were sent while the subscriptions were not in place."""
        for selector in self._connection.subscriptions.live_selectors:
            self._connection.requests.request_last_values(selector)


def _three(frames: list[bytes]) -> tuple[bytes, bytes, bytes]:
    if len(frames) != 3:
        raise InvalidFrame(f"expected 3 frames, got {len(frames)}")
    return frames[0], frames[1], frames[2]
