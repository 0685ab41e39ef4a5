"""The relay's one loop over its sockets. The docstring of `relay` explains the order of steps."""

import logging
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial

import zmq

from relay.call_service import CallService
from relay.clock import RelayClock
from relay.config import RelaySettings
from relay.control import ControlService, PassingOn
from relay.core.egress_budget import wire_bytes
from relay.core.intake import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES
from relay.core.retention import Limits
from relay.core.subscription_router import (
    LiveSubscriptions,
    SubscriptionRoute,
    SubscriptionRouter,
)
from relay.demand_service import DemandService
from relay.journal.file import FILE_NAME
from relay.journal.journal import Journal
from relay.journal.replayer import PublishedJournal
from relay.journal.tail_note import TailNote
from relay.journal.writer import JournalWriter
from relay.notifier import Notifier
from relay.sequencer import Sequencer
from relay.shared.logs import LimitedLog
from relay.shared.transport import receive_frames, send_frames
from relay.sockets import RelaySockets
from relay.state import SharedState
from relay.subscribers import Subscribers
from relay.task_watch import TaskWatch
from relay.wire.control import HEARTBEAT_TOPIC, pack_message
from relay.wire.errors import InvalidFrame, WireError
from relay.wire.header import Stamp, StampedFrames, pack_stamp
from relay.wire.kinds import Kinds

MAX_SUBSCRIPTIONS_AT_ONCE = 1_000
"""Subscriptions read before the other sockets are served."""
MAX_REQUESTS_AT_ONCE = 16
"""Requests answered before the other sockets are served. A reply has at most about 1 MiB."""
FORGET_INTERVAL_S = 600.0
NO_FILE = Kinds()

logger = logging.getLogger(__name__)


class Relay:
    """Opens the journal and binds its sockets on construction, relays in `run` until `stop`.

    Raises `JournalRefused`, or `AddressInUse` when an endpoint cannot be bound.
    """

    def __init__(self, settings: RelaySettings, kinds: Kinds = NO_FILE) -> None:
        """`kinds` have the retention of their streams; `settings` say which are streams."""
        started = time.monotonic()
        self._settings = settings
        with ExitStack() as undo:
            journal = _open_journal(settings)
            reopen = partial(_open_journal, settings)
            newest = max(stream.newest_at for stream in journal.streams.values())
            self._clock = RelayClock(newest or None)
            self._writer = JournalWriter(journal, _limits(settings, kinds), self._clock, reopen)
            undo.enter_context(closing(self._writer))
            published = PublishedJournal(journal.path, journal.state, self._writer.begin_epoch)
            undo.enter_context(closing(published))
            self._sockets = undo.enter_context(closing(RelaySockets(settings)))
            self._stop_reader, self._stop_writer = socket.socketpair()
            undo.enter_context(self._stop_reader)
            undo.enter_context(self._stop_writer)
            # A signal handler writes to it and must never block.
            self._stop_writer.setblocking(False)
            self._is_stopping = False
            self._state = SharedState.of(published, journal.cursors(), settings.task_grace_s)
            self._router = SubscriptionRouter(settings.journaled_kinds)
            self._live = LiveSubscriptions()
            self._subscribers = Subscribers(settings.egress_bytes)
            self._sequencer = Sequencer(self._state, self._writer)
            self._sequencer.remember(journal.tasks(), journal.once())
            self._writer.maintain()
            self._notifier = Notifier(self._sockets.control, self._state.emitters.note_unasked)
            self._tasks = TaskWatch(self._state, self._notifier.acknowledge, settings.heartbeat_s)
            self._demand = DemandService(self._state.demand, self._notifier.tell, started)
            self._control = ControlService(
                self._state,
                settings.heartbeat_s,
                self._clock.started_ms,
                lambda: time.monotonic() - started,
                self._notifier.acknowledge,
                PassingOn(self._demand, CallService(self._notifier.tell)),
            )
            self._log = LimitedLog(logger)
            self._closing = undo.pop_all()

    def run(self) -> None:
        """Relay until `stop`, then close everything."""
        sockets, settings = self._sockets, self._settings
        poller = zmq.Poller()
        for source in (sockets.ingress, sockets.egress, sockets.control):
            poller.register(source, zmq.POLLIN)
        for reports in sockets.newcomers.reports:
            poller.register(reports, zmq.POLLIN)
        for wake in (self._stop_reader, self._writer.readable):
            poller.register(wake, zmq.POLLIN)
        for prefix in self._router.always:
            sockets.ingress.send(b"\x01" + prefix)
        logger.info(
            "relaying %s to %s, control at %s, epoch %d",
            settings.ingress,
            settings.egress,
            settings.control,
            self._state.journal.epoch,
        )
        heartbeat_due_at = forget_due_at = time.monotonic()
        with self._closing:
            while not self._is_stopping:
                now = time.monotonic()
                if now >= heartbeat_due_at:
                    self._writer.maintain()
                    if self._tasks.end_orphans(now, self._clock.now_ms()):
                        self._hand_over(self._clock.now_ms())
                    self._publish_heartbeat(HEARTBEAT_TOPIC)
                    heartbeat_due_at = now + settings.heartbeat_s
                if now >= forget_due_at:
                    self._writer.forget_silent_emitters()
                    forget_due_at = now + FORGET_INTERVAL_S
                due_at = min(heartbeat_due_at, self._demand.due_at(), self._live.due_at())
                wait_s = min(due_at - now, sockets.newcomers.wait_s())
                self._serve(poller, max(1, int(wait_s * 1000)))
                now = time.monotonic()
                self._pass_subscriptions_on(now)
                self._demand.tick(now)
        logger.info("stopped")

    def stop(self) -> None:
        """End `run` soon. Safe to call from a signal handler."""
        # A second signal may arrive while everything is being closed.
        if not self._is_stopping:
            # Woken first: the loop closes the socket as soon as it sees that it is to end.
            self._stop_writer.send(b"\0")
            self._is_stopping = True

    def _serve(self, poller: zmq.Poller, timeout_ms: int) -> None:
        """Wait for a socket, then take a bounded amount of work from each that is readable."""
        # A slow disk: events wait in ZeroMQ for as long as there is no room for them here.
        poller.modify(self._sockets.ingress, zmq.POLLIN if self._sequencer.has_room else 0)
        ready = dict(poller.poll(timeout_ms))
        epoch = self._state.journal.epoch
        # Events last: subscribers and peers wait for at most one batch, however many events come.
        if self._sockets.egress in ready:
            self._route_subscriptions()
        if self._sockets.control in ready:
            self._answer_requests()
        if self._writer.readable.fileno() in ready:
            self._release_committed()
        if self._state.journal.epoch != epoch:
            # At once: until edges know of the epoch, they take its events for repeated ones.
            self._publish_heartbeat(HEARTBEAT_TOPIC)
        if self._sockets.ingress in ready:
            self._relay_batch()
        for emitter in self._state.emitters.take_missing_events():
            self._notifier.request_resend(emitter)
        if self._sockets.newcomers.are_to_be_looked_at(ready):
            now = time.monotonic()
            self._state.counters.connections_refused += self._sockets.newcomers.look(now)

    def _route_subscriptions(self) -> None:
        for _ in range(MAX_SUBSCRIPTIONS_AT_ONCE):
            try:
                received = self._sockets.egress.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            self._subscribers.heard(received)
            frame = received.bytes
            if frame[:1] in (b"\x00", b"\x01"):
                self._route(frame[1:], is_made=frame[:1] == b"\x01")
            else:
                self._state.counters.received += 1
                self._count_malformed(InvalidFrame("a subscriber sent no subscription"))

    def _pass_subscriptions_on(self, now: float) -> None:
        for is_made, prefix in self._live.take_changes(now):
            self._sockets.ingress.send((b"\x01" if is_made else b"\x00") + prefix)

    def _route(self, prefix: bytes, *, is_made: bool) -> None:
        match self._router.route(prefix):
            case SubscriptionRoute.FORWARD:
                if not self._live.take(prefix, is_made=is_made):
                    self._log.error("subscriptions", "too many live subscriptions: one is ignored")
            case SubscriptionRoute.ANSWER if is_made:
                self._publish_heartbeat(prefix)
            case _:
                pass

    def _answer_requests(self) -> None:
        control = self._sockets.control
        for _ in range(MAX_REQUESTS_AT_ONCE):
            try:
                frames = control.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            peer, request = frames[0], frames[-1]
            try:
                reply = self._control.answer(peer, request if len(frames) == 2 else b"")
                control.send_multipart((peer, pack_message(reply)), zmq.NOBLOCK)
            except zmq.ZMQError as error:
                # The peer is gone, or does not read its replies; it asks again if it needs one.
                self._log.warning("reply", "a reply could not be sent: %s", error)
            except Exception:
                # A fault of ours; one request must not end the relay for everybody.
                logger.exception("a request could not be answered")

    def _relay_batch(self) -> None:
        now_ms = self._clock.now_ms()
        self._gather(now_ms)
        # Live values do not wait for the disk.
        self._publish(self._sequencer.stamp_live(now_ms))
        self._hand_over(now_ms)

    def _release_committed(self) -> None:
        """Publish and acknowledge the events that were journaled; journal those that waited."""
        committed = self._sequencer.collect(self._notifier.acknowledge)
        self._publish(committed.events)
        for emitter in committed.emitters:
            self._notifier.acknowledge(emitter)
        self._hand_over(self._clock.now_ms())

    def _hand_over(self, now_ms: int) -> None:
        for emitter in self._sequencer.hand_over(now_ms):
            self._notifier.acknowledge(emitter)

    def _gather(self, now_ms: int) -> None:
        """Take the messages that have arrived, up to a full batch or turn."""
        ingress, intake = self._sockets.ingress, self._state.intake
        turn_bytes = 0
        for _ in range(MAX_BATCH_MESSAGES):
            try:
                frames = receive_frames(ingress)
            except zmq.Again:
                return
            try:
                intake.take(frames, now_ms)
            except WireError as error:
                self._count_malformed(error)
            except Exception:
                # A fault of ours; one message must not end the relay for everybody.
                self._state.counters.malformed["internal_error"] += 1
                logger.exception("a message could not be relayed")
            # Also those of refused messages and live values: a flood of them would keep the other
            # sockets waiting just as well.
            turn_bytes += len(frames[-1])
            if intake.is_full or turn_bytes >= MAX_BATCH_BYTES:
                return

    def _publish(self, events: Sequence[StampedFrames]) -> None:
        egress = self._sockets.egress
        for frames in events:
            send_frames(egress, frames)
        if self._subscribers.budget.publish(wire_bytes(events)):
            self._state.counters.subscribers_cut += self._subscribers.cut_slow_ones()

    def _publish_heartbeat(self, topic: bytes) -> None:
        stamp = pack_stamp(Stamp(self._state.journal.epoch, 0, self._clock.now_ms()))
        self._publish([(topic, stamp, pack_message(self._control.heartbeat()))])

    def _count_malformed(self, error: WireError) -> None:
        self._state.counters.malformed[error.reason] += 1
        self._log.warning(error.reason, "dropped a malformed message: %s", error)


def _limits(settings: RelaySettings, kinds: Kinds) -> Limits:
    return Limits.of_kinds(kinds, settings.retention_s, settings.retention_bytes)


def _open_journal(settings: RelaySettings, noted: TailNote | None = None) -> Journal:
    return Journal(
        settings.data_dir / FILE_NAME,
        settings.journaled_kinds,
        power_safe=settings.durability == "power",
        noted=noted,
    )
