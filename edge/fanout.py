"""From the relay's frames to the clients' frames: decode once, JSON once, frame once.

`Fanout` owns what this worker knows of the world: its clients, streams, tasks and live values. It
is told of events by `RelayLink` and asks it for what the clients want.
"""

import logging
from collections.abc import Callable, Iterable
from time import monotonic

from edge.core.catch_up.ports import Upstream
from edge.core.hub.audience import Deliver, deliver_to_each
from edge.core.hub.connections import ConnectionManager
from edge.core.protocol import messages
from edge.core.stats import EdgeStats
from edge.core.streams.live_values import LiveValue, LiveValues
from edge.core.streams.record import Record
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import DEFAULT_HISTORY_BYTES, Stream, Streams
from edge.core.streams.task_board import TaskBoard
from edge.upstream.replayer import RelayLibrary
from relay.shared.logs import LimitedLog
from relay.wire.control import Heartbeat, ReplayReply
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.errors import InvalidTopic, WireError
from relay.wire.header import Stamp, unpack_stamp
from relay.wire.topics import TASK, Pattern, Topic, decode_topic

UNKNOWN_KIND = "unknown"
"""Of events whose topic cannot be read."""
REPAIR_EVENTS = 1024
"""Asked for at a time when this edge has missed events."""

logger = logging.getLogger(__name__)


class Fanout:
    """Forwards events to connections."""

    def __init__(
        self,
        stats: EdgeStats,
        served_prefixes: tuple[str, ...] = ("",),
        history_bytes: int = DEFAULT_HISTORY_BYTES,
        deliver: Deliver = deliver_to_each,
    ) -> None:
        self.stats = stats
        self.manager = ConnectionManager(self, deliver)
        self._flush: Callable[[], object] = self.manager.flush
        self.streams = Streams(served_prefixes, history_bytes, stats.dropped, stats.unreadable)
        self.library = RelayLibrary(self.streams, stats)
        self.tasks = TaskBoard()
        self._live = LiveValues()
        self.snapshots = Snapshots(self.manager, self.streams, self.tasks, self._live)
        self._has_stale_values = False
        self._serves_all = "" in served_prefixes
        self._upstream: Upstream | None = None
        self._log = LimitedLog(logger)

    def attach(self, upstream: Upstream) -> None:
        """Use `upstream` from now on."""
        self._upstream = upstream

    def flush_by(self, flush: Callable[[], object]) -> None:
        """From now on call `flush` when clients may be sent what was gathered for them."""
        self._flush = flush

    # Told by the relay link.

    def synchronize(self, epoch: int, heartbeat: Heartbeat) -> None:
        """The streams are at the tips of `heartbeat`; whatever follows will arrive."""
        self.streams.synchronize(epoch, heartbeat.tips, heartbeat.low)
        self.tasks.begin_epoch(epoch)
        if self._upstream is not None and self.streams.is_stream(TASK):
            self._upstream.request_retained(Pattern(f"{TASK}:", exact=False))
        self.repair()
        self.tell_progress()

    def hear(self, heartbeat: Heartbeat) -> None:
        """The relay says how far streams reach: what has not arrived by now is lost on the way."""
        self.streams.hear(heartbeat.tips, heartbeat.low)
        self.repair()

    def take_event(self, frames: list[bytes]) -> None:
        """Forward an event that the relay sent: topic, stamp, envelope."""
        try:
            topic = decode_topic(frames[0])
            stamp = unpack_stamp(frames[1])
            payload = frames[2]
        except (WireError, IndexError) as error:
            self.stats.events_received[UNKNOWN_KIND] += 1
            self._count_malformed(error)
            return
        self.stats.events_received[topic.kind] += 1
        stream = self.streams.get(topic.kind)
        if stream is None:
            self._take_live(topic, stamp, payload)
        elif stamp.epoch != self.streams.epoch:
            # Of before or after a restart that the next heartbeat tells us about.
            self.stats.dropped.out_of_order[topic.kind] += 1
        else:
            record = Record(topic, stamp.offset, stamp.relayed_at, payload)
            for each in stream.follower.take_live(record):
                self._forward(stream, each)
            if stream.follower.is_behind:
                self._ask_for_the_missing(stream)

    def take_replay(self, kind: str, reply: ReplayReply) -> None:
        """Forward what this edge had missed."""
        stream = self.streams.get(kind)
        if stream is None or reply.epoch != self.streams.epoch:
            return
        records = self.library.records(kind, reply)
        self.stats.events_received[kind] += len(records)
        replayed = stream.follower.take_replay(records, reply.low, reply.tip)
        stream.history.low = max(stream.history.low, reply.low)
        if replayed.gap is not None:
            self._tell_gap(stream, *replayed.gap)
        for record in replayed.records:
            self._forward(stream, record)
        self._ask_for_the_missing(stream)
        self.tell_progress()

    def take_retained(self, items: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Take what the relay remembered, where nothing newer has arrived meanwhile."""
        for topic_frame, stamp_frame, payload in items:
            try:
                topic = decode_topic(topic_frame)
                stamp = unpack_stamp(stamp_frame)
                envelope = unpack_envelope(payload, topic.kind)
            except WireError as error:
                self.stats.unreadable[error.reason] += 1
                self._log.warning("retained", "left out a retained event: %s", error)
                continue
            if topic.kind == TASK:
                self._take_retained_task(topic, stamp, envelope)
            elif not self.streams.is_stream(topic.kind) and self.manager.is_wanted(topic.text):
                value = _live_value(topic, stamp, envelope)
                if self._live.keep_retained(topic.text, value):
                    self._send_live(topic, value)
        self._flush()

    def tell_progress(self) -> None:
        """A batch of events was taken: let clients have them."""
        self._flush()
        self.library.streams_have_gone_on()

    def repair(self) -> None:
        """Ask for what is missing, and again for what was not answered in time."""
        for stream in self.streams:
            self._ask_for_the_missing(stream)

    def housekeep(self) -> None:
        """Forget live values that nobody wants any more. Called about once a second."""
        if self._has_stale_values:
            self._has_stale_values = False
            self._live.keep_only(self.manager.is_wanted)

    # Told by the connection manager.

    def wanted(self, selector: Pattern) -> None:
        """See `Interest`."""
        if self._upstream is None:
            return
        self._upstream.want(selector)
        if not self.streams.contain(selector):
            self._upstream.request_retained(selector)

    def unwanted(self, selector: Pattern) -> None:
        """See `Interest`."""
        if self._upstream is not None:
            self._upstream.unwant(selector)
        self._has_stale_values = True

    def _ask_for_the_missing(self, stream: Stream) -> None:
        if not stream.follower.is_behind or self._upstream is None:
            return
        after = stream.follower.replay_request(monotonic())
        if after is not None:
            self._upstream.request_replay(stream.kind, after, REPAIR_EVENTS)

    def _tell_gap(self, stream: Stream, first: int, last: int) -> None:
        """Tell whom it may concern that these events are lost, and go on behind them."""
        stream.history.skip_to(last + 1)
        self.stats.retention[stream.kind] += last - first + 1
        logger.warning("the relay no longer has %s %d to %d", stream.kind, first, last)
        frame = messages.gap(stream.kind, first, last)
        for connection in self.manager:
            if self.snapshots.follows(connection, stream.kind):
                self.manager.send_to_client(connection, frame)

    def _forward(self, stream: Stream, record: Record) -> None:
        stream.history.append(record)
        topic = record.topic
        if not topic.text:
            self.stats.malformed[InvalidTopic.reason] += 1
            return
        count: int | None = 0
        if not (self._serves_all or self.streams.serves(topic.text)):
            pass
        elif topic.kind == TASK:
            count = self._forward_task(record)
        elif self.manager.is_wanted(topic.text):
            count = self._forward_journaled(record)
        if count is None:
            return
        if count:
            self.stats.events_forwarded[stream.kind] += 1
            self.stats.deliveries += count
        else:
            self.stats.events_filtered[stream.kind] += 1

    def _forward_task(self, record: Record) -> int | None:
        """Return how many connections got it, None if it is malformed."""
        try:
            envelope = record.open()
        except WireError as error:
            self._count_malformed(error)
            return None
        stamp = Stamp(self.streams.epoch, record.offset, record.relayed_at)
        self.tasks.update(record.topic.text, stamp, envelope, record.frame)
        assert envelope.username is not None, "a task event is always addressed"
        return self.manager.send_to_user(envelope.username, record.frame)

    def _forward_journaled(self, record: Record) -> int | None:
        """Return how many connections got it, None if it is malformed."""
        try:
            record.open()
        except WireError as error:
            self._count_malformed(error)
            return None
        return self.manager.broadcast_to_topic(
            record.topic.text, record.frame, addressed_to=record.addressed_to
        )

    def _take_live(self, topic: Topic, stamp: Stamp, payload: bytes) -> None:
        if not self.manager.is_wanted(topic.text):
            self.stats.events_filtered[topic.kind] += 1
            return
        try:
            value = _live_value(topic, stamp, unpack_envelope(payload, topic.kind))
        except WireError as error:
            self._count_malformed(error)
            return
        self._live.keep(topic.text, value)
        if self._send_live(topic, value):
            self.stats.events_forwarded[topic.kind] += 1
        else:
            self.stats.events_filtered[topic.kind] += 1

    def _take_retained_task(self, topic: Topic, stamp: Stamp, envelope: Envelope) -> None:
        """Show a task's state to those who came before it was known here.

        One that is ahead of the stream comes in its place among the other events.
        """
        frame = messages.frame(messages.event_fields(topic.text, stamp, envelope))
        state = self.tasks.update(topic.text, stamp, envelope, frame)
        stream = self.streams.get(TASK)
        if state is None or state.finished or envelope.username is None or stream is None:
            return
        if stamp.epoch == self.streams.epoch and stamp.offset <= stream.history.head:
            shown = messages.retained(frame)
            for connection in tuple(self.manager.task_receivers(envelope.username)):
                self.manager.send_to_client(connection, shown)

    def _send_live(self, topic: Topic, value: LiveValue) -> int:
        count = self.manager.broadcast_to_topic(
            topic.text, value.frame, addressed_to=value.addressed_to, live=True
        )
        self.stats.deliveries += count
        return count

    def _count_malformed(self, error: Exception) -> None:
        reason = error.reason if isinstance(error, WireError) else "invalid_frame"
        self.stats.malformed[reason] += 1
        self._log.warning(reason, "dropped an event that is malformed: %s", error)


def _live_value(topic: Topic, stamp: Stamp, envelope: Envelope) -> LiveValue:
    frame = messages.frame(messages.event_fields(topic.text, stamp, envelope))
    return LiveValue(stamp.relayed_at, envelope.username, frame)
