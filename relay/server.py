"""The relay's one loop over its sockets. The docstring of `relay` explains the order of steps."""

import logging
import math
import selectors
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial

from relay.answering import Answering
from relay.call_service import CallService
from relay.clock import RelayClock
from relay.config import RelaySettings
from relay.control import ControlService, PassingOn
from relay.core.counters import RelayCounters
from relay.core.intake import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, ForbiddenEvent
from relay.core.permission import Rights
from relay.core.retention import Limits
from relay.core.subscription_router import (
    LiveSubscriptions,
    SubscriptionRoute,
    SubscriptionRouter,
)
from relay.demand_service import DemandService
from relay.egress import Egress
from relay.ingress import Ingress
from relay.journal.file import FILE_NAME
from relay.journal.journal import Journal
from relay.journal.replayer import PublishedJournal
from relay.journal.tail_note import TailNote
from relay.journal.writer import JournalWriter
from relay.notifier import Notifier
from relay.peer_changes import PeerChanges
from relay.sequencer import Sequencer
from relay.shared.freed_memory import FreedMemory
from relay.shared.logs import LimitedLog
from relay.shared.watched_config import WatchedConfig
from relay.sockets import RelaySockets
from relay.state import SharedState
from relay.stop_signal import StopSignal
from relay.task_watch import TaskWatch
from relay.wire.control import HEARTBEAT_TOPIC, pack_message
from relay.wire.errors import InvalidFrame, WireError
from relay.wire.header import Stamp, StampedFrames, pack_stamp
from relay.wire.kinds import Kinds
from relay.wire.peers import ListedPeer

MAX_SUBSCRIPTIONS_AT_ONCE = 1_000
"""Subscriptions read before the other sockets are served."""
SUBSCRIPTIONS_SHARE = 250
"""Of these, those of one subscriber."""
MAX_ENDED_AT_ONCE = 1_000
"""Subscriptions of subscribers that have gone, ended in a turn: no fewer than come in one."""
EVENTS_SHARE = 64
"""Events of one publisher before the others have their turn."""
FORGET_INTERVAL_S = 600.0
NO_FILE = Kinds()

logger = logging.getLogger(__name__)


class Relay:
    """Opens the journal and binds its sockets on construction, relays in `run` until `stop`.

    Raises `JournalRefused`, or `AddressInUse` when an endpoint cannot be bound.
    """

    _memory = FreedMemory()
    _peer_changes: PeerChanges | None = None

    def __init__(
        self, settings: RelaySettings, kinds: Kinds = NO_FILE, peers: Iterable[ListedPeer] = ()
    ) -> None:
        """`kinds` have the retention of their streams; `peers` may connect, or everybody."""
        started = time.monotonic()
        counters = RelayCounters(kinds.names)
        self._settings = settings
        with ExitStack() as undo:
            journal = _open_journal(settings)
            newest = max(stream.newest_at for stream in journal.streams.values())
            self._clock = RelayClock(newest or None)
            self._writer = undo.enter_context(closing(self._writer_of(journal, kinds)))
            published = PublishedJournal(journal.path, journal.state, self._writer.begin_epoch)
            undo.enter_context(closing(published))
            self._sockets = undo.enter_context(closing(RelaySockets(settings, counters, peers)))
            self._stop = undo.enter_context(closing(StopSignal()))
            self._state = SharedState.of(
                published, journal.cursors(), settings.task_grace_s, counters
            )
            self._router = SubscriptionRouter(settings.journaled_kinds)
            self._live = LiveSubscriptions()
            self._syncs: dict[bytes, None] = {}  # Nonces, to be published after a turn.
            self._ingress = Ingress(self._sockets.ingress, self._router.always)
            self._egress = Egress(self._sockets.egress, settings.egress_hwm, self._route)
            self._sequencer = Sequencer(self._state, self._writer)
            self._sequencer.remember(journal.tasks(), journal.once())
            self._writer.maintain()
            self._notifier = Notifier(self._sockets.control, self._state)
            self._tasks = TaskWatch(self._state, self._notifier.is_connected, settings.heartbeat_s)
            self._demand = DemandService(self._state.demand, self._notifier.tell, started)
            service = self._service(started)
            self._answering = Answering(self._sockets.control, service, counters)
            self._heartbeat = service.heartbeat
            self._log = LimitedLog(logger)
            self._closing = undo.pop_all()

    def _service(self, started: float) -> ControlService:
        return ControlService(
            self._state,
            self._settings.heartbeat_s,
            self._clock.started_ms,
            lambda: time.monotonic() - started,
            self._notifier.is_connected,
            PassingOn(self._demand, CallService(self._notifier.tell)),
        )

    def _writer_of(self, journal: Journal, kinds: Kinds) -> JournalWriter:
        settings = self._settings
        reopen = partial(_open_journal, settings)
        return JournalWriter(journal, _limits(settings, kinds), self._clock, reopen)

    def watch(self, file: WatchedConfig, peers: Iterable[ListedPeer]) -> None:
        """Take changes of the list of `peers` in `file` while it runs."""
        changes = PeerChanges(peers, file)
        self._peer_changes = self._closing.enter_context(closing(changes))

    def run(self) -> None:
        """Relay until `stop`, then close everything."""
        settings = self._settings
        logger.info(
            "relaying %s to %s, control at %s, epoch %d",
            settings.ingress,
            settings.egress,
            settings.control,
            self._state.journal.epoch,
        )
        heartbeat_due_at = forget_due_at = time.monotonic()
        with self._closing, selectors.DefaultSelector() as selector:
            for source in (self._stop, self._writer.readable, *self._sockets.all):
                selector.register(source, selectors.EVENT_READ)
            while not self._stop.is_set:
                now = time.monotonic()
                if now >= heartbeat_due_at:
                    self._writer.maintain()
                    if self._tasks.end_orphans(now, self._clock.now_ms()):
                        self._hand_over(self._clock.now_ms())
                    self._publish_heartbeat(HEARTBEAT_TOPIC)
                    self._look_at_peers()
                    heartbeat_due_at = now + settings.heartbeat_s
                if now >= forget_due_at:
                    self._writer.forget_silent_emitters()
                    forget_due_at = now + FORGET_INTERVAL_S
                self._serve(selector, min(heartbeat_due_at, self._due_at()) - now)
                self._egress.end_gone(MAX_ENDED_AT_ONCE)
                now = time.monotonic()
                self._ingress.change(self._live.take_changes(now))
                self._demand.tick(now)
                if self._memory.tick(now):
                    self._egress.shrink()
                    self._live.shrink()
                for port in self._sockets.all:
                    port.tick(now)
                    port.flush()
        logger.info("stopped")

    def stop(self) -> None:
        """End `run` soon. Safe to call from a signal handler."""
        self._stop.set()

    def _look_at_peers(self) -> None:
        changes = self._peer_changes
        if changes is not None and (peers := changes.look()) is not None:
            self._sockets.change_peers(peers)

    def _due_at(self) -> float:
        """Return the monotonic time at which something is to be done without a message."""
        ports = self._sockets.all
        # A slow disk: events wait at their publishers while there is no room for them here.
        self._sockets.ingress.holds = not self._sequencer.has_room
        requests_at = self._answering.due_at()
        is_readable = any(port.has_readable and not port.holds for port in ports)
        if is_readable or self._egress.has_gone:
            return -math.inf
        due_at = min(self._demand.due_at(), self._live.due_at(), *(port.due_at for port in ports))
        return min(due_at, requests_at)

    def _serve(self, selector: selectors.BaseSelector, timeout_s: float) -> None:
        """Wait for a socket, then take a bounded amount of work from each that is readable."""
        sockets = self._sockets
        ready = {key.fileobj for key, _ in selector.select(max(0.0, timeout_s))}
        now = time.monotonic()
        for port in sockets.all:
            if port in ready:
                port.poll(now)
        epoch = self._state.journal.epoch
        # Events last: subscribers and peers wait for at most one batch, however many events come.
        if sockets.egress.has_readable:
            self._take_subscriptions()
        self._answering.serve()
        if self._writer.readable in ready:
            self._release_committed()
        if self._state.journal.epoch != epoch:
            # At once: until edges know of the epoch, they take its events for repeated ones.
            self._publish_heartbeat(HEARTBEAT_TOPIC)
        if sockets.ingress.has_readable and self._sequencer.has_room:
            self._relay_batch()
        for emitter in self._state.emitters.take_missing_events():
            self._notifier.request_resend(emitter)

    def _take_subscriptions(self) -> None:
        self._egress.receive(SUBSCRIPTIONS_SHARE, MAX_SUBSCRIPTIONS_AT_ONCE)
        if self._syncs:
            # One heartbeat for all: a peer may ask thousands of times.
            self._publish_heartbeat(*self._syncs)
            self._syncs.clear()
        for _ in range(self._egress.take_malformed()):
            self._state.counters.received += 1
            self._count_malformed(InvalidFrame("a subscriber sent no subscription"))

    def _route(self, prefix: bytes, is_made: bool, is_change: bool) -> None:
        """See `relay.egress.Route`."""
        match self._router.route(prefix):
            case SubscriptionRoute.FORWARD if is_change:
                self._live.take(prefix, is_made=is_made)
            case SubscriptionRoute.ANSWER if is_made:
                self._syncs[prefix] = None
            case _:
                pass

    def _relay_batch(self) -> None:
        now_ms = self._clock.now_ms()
        self._gather(now_ms)
        # Live values do not wait for the disk.
        self._publish(self._sequencer.stamp_live(now_ms))
        self._hand_over(now_ms)

    def _release_committed(self) -> None:
        """Publish and acknowledge the events that were journaled; journal those that waited."""
        committed = self._sequencer.collect(self._notifier.is_connected)
        self._publish(committed.events)
        for emitter in committed.emitters:
            self._notifier.acknowledge(emitter)
        self._hand_over(self._clock.now_ms())

    def _hand_over(self, now_ms: int) -> None:
        for emitter in self._sequencer.hand_over(now_ms):
            self._notifier.acknowledge(emitter)

    def _gather(self, now_ms: int) -> None:
        """Take the messages that have arrived, up to a full batch or turn."""
        intake = self._state.intake
        turn_messages = turn_bytes = 0
        for peer, messages in self._ingress.receive(EVENTS_SHARE):
            # Here: others were read since the peer before.
            began, useless = time.thread_time(), intake.useless
            assert peer.rights is not None, "its connection is open"
            for frames in messages:
                self._take(frames, now_ms, peer.rights)
                # Also those of refused messages and live values: a flood of them would keep the
                # other sockets waiting just as well.
                turn_bytes += len(frames[-1])
            if refused := intake.useless - useless:
                cost_s = (time.thread_time() - began) * refused / len(messages)
                self._sockets.ingress.charge_refused(peer, cost_s)
            turn_messages += len(messages)
            is_over = turn_messages >= MAX_BATCH_MESSAGES or turn_bytes >= MAX_BATCH_BYTES
            if is_over or intake.is_full:
                return

    def _take(self, frames: list[bytes], now_ms: int, rights: Rights) -> None:
        try:
            self._state.intake.take(frames, now_ms, rights)
        except ForbiddenEvent as error:
            self._log.warning("forbidden", "refused an event of %r: %s", rights.name, error)
            self._notifier.forbid(error)
        except WireError as error:
            self._count_malformed(error)
        except Exception:  # noqa: BLE001 - logged
            # A fault of ours; one message must not end the relay for everybody.
            self._state.counters.malformed["internal_error"] += 1
            self._log.exception("message", "a message could not be relayed")

    def _publish(self, events: Sequence[StampedFrames]) -> None:
        self._egress.publish(events)
        # At once: a turn of the loop may take a while.
        self._sockets.egress.flush()

    def _publish_heartbeat(self, *topics: bytes) -> None:
        stamp = pack_stamp(Stamp(self._state.journal.epoch, 0, self._clock.now_ms()))
        body = pack_message(self._heartbeat())
        self._publish([(topic, stamp, body) for topic in topics])

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
