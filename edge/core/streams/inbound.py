"""`Inbound`: takes every message of the relay and decides which clients receive it (section 6).

It does no I/O, and returns the requests that the shell must make. Frames for clients are
gathered in the `ConnectionManager`; the shell flushes them after each batch of messages.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from edge.core.hub.connections import ConnectionManager
from edge.core.protocol import messages
from edge.core.stats import EdgeStats
from edge.core.streams.last_values import LastValue, LastValues
from edge.core.streams.record import Record, Warn, lost_run, read_items
from edge.core.streams.revocation_stream import RevocationStream
from edge.core.streams.streams import EdgePlace, Stream, Streams
from edge.core.streams.task_board import TaskBoard
from relay.wire.control import Heartbeat, ReplayReply
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.errors import InvalidTopic, WireError
from relay.wire.header import Stamp, unpack_stamp
from relay.wire.topics import (
    EDGE_STATE,
    PERSONAL_KINDS,
    REVOCATION,
    TASK,
    Pattern,
    Topic,
    decode_topic,
)

UNKNOWN_KIND = "unknown"
"""Counts events whose topic cannot be read."""
ALL_TASKS = Pattern(f"{TASK}:", exact=False)


DAMAGED: Literal["damaged"] = "damaged"
"""The reason under which events are counted that the relay cannot read."""


class InternalEvents(Protocol):
    """Takes the events that are from edge to edge. Its methods raise `InvalidEnvelope`."""

    def command(self, topic: Topic, relayed_at: int, envelope: Envelope) -> None:
        """Do as a command says, which the relay stamped with the Unix time `relayed_at` (ms)."""

    def state(self, topic: Topic, data: Any, *, is_live: bool) -> None:
        """Take a value that another worker publishes, or that the relay retained."""


class Repair(NamedTuple):
    """A replay to be requested, because events were lost on the way to this edge."""

    stream: str
    after: int


class Inbound:
    """Brings the relay's messages into streams, tasks and last values, and to the connections.

    Every event is counted exactly once: forwarded, filtered, repeated, out of order, malformed, or
    held (section 9).
    """

    def __init__(
        self,
        streams: Streams,
        manager: ConnectionManager,
        tasks: TaskBoard,
        live: LastValues,
        stats: EdgeStats,
        warn: Warn,
    ) -> None:
        self._streams = streams
        self._manager = manager
        self._tasks = tasks
        self._live = live
        self._stats = stats
        self._warn = warn
        self._serves_all = streams.serves_all
        self.internal: InternalEvents | None = None
        """Takes what other workers say."""
        self.revocations: RevocationStream | None = None
        """Takes the revoked tokens."""
        self._may_be_behind = False
        """False if no stream misses an event: then nothing has to be looked for after a batch."""
        self._seen_given_up = 0
        """The manager's `given_up_selectors` when live values were forgotten last."""

    @property
    def place(self) -> EdgePlace | None:
        """How far the streams were followed, for the relay to compare with its journal."""
        return self._streams.place

    def is_rolled_back(self, epoch: int, heartbeat: Heartbeat) -> bool:
        """Whether the relay's journal has lost events that this edge has received from it.

        A relay publishes its heartbeats in their place among the events, so that within an epoch
        and on one connection its tips are never below an event that it sent before.
        """
        return epoch == self._streams.epoch and self._streams.are_ahead_of(heartbeat)

    def synchronize(
        self, epoch: int, heartbeat: Heartbeat, *, has_clients: bool = False
    ) -> tuple[Pattern, ...]:
        """Follow the streams from now on: every event after the heartbeat's tips will arrive.

        With `has_clients`, clients have stayed since the last relay was followed: they receive the
        events of a new epoch from its begin. Returns the selectors whose retained events must be
        requested.
        """
        begins = self._streams.begins(heartbeat)
        self._streams.synchronize(
            epoch, heartbeat.tips, heartbeat.low, begins if has_clients else None
        )
        if self.revocations is not None:
            self.revocations.synchronize(epoch, heartbeat.tips)
        self._may_be_behind = True
        self._tasks.begin_epoch(epoch)
        return (ALL_TASKS,) if self._streams.is_stream(TASK) else ()

    def take_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Take the last offsets of the streams: events up to them have arrived, or were lost."""
        self._streams.take_heartbeat(heartbeat.tips, heartbeat.low)
        if self.revocations is not None:
            self.revocations.take_heartbeat(heartbeat.tips)
        self._may_be_behind = True

    def take_event(self, frames: list[bytes]) -> None:
        """Forward an event: topic, stamp, envelope. A malformed one is counted and dropped."""
        try:
            topic = decode_topic(frames[0])
            stamp = unpack_stamp(frames[1])
            payload = frames[2]
        except (WireError, IndexError) as error:
            self._stats.events_received[UNKNOWN_KIND] += 1
            self._count_malformed(error)
            return
        kind = topic.kind
        self._stats.events_received[kind] += 1
        stream = self._streams.get(kind)
        if kind == REVOCATION:
            self._take_revocation(
                stamp.epoch, Record(topic, stamp.offset, stamp.relayed_at, payload)
            )
        elif stream is None:
            self._take_live(topic, stamp, payload)
        elif stamp.epoch != self._streams.epoch:
            # From before or after a restart of the relay that the next heartbeat will reveal.
            self._stats.dropped.out_of_order[kind] += 1
        else:
            record = Record(topic, stamp.offset, stamp.relayed_at, payload)
            released = stream.take_live(record)
            if not released:
                self._may_be_behind = True
            for each in released:
                self._forward(each)

    def take_replay(self, name: str, reply: ReplayReply) -> bool:
        """Forward the events of the stream `name` that this edge had missed.

        Returns False if that did not bring the stream on: then the same request is to be repeated.
        """
        stream = self._streams.get(name)
        is_revocation = name == REVOCATION and self.revocations is not None
        if not (stream or is_revocation) or reply.epoch != self._streams.epoch:
            return False
        records = read_items(name, reply.items, self._stats.unreadable, self._warn)
        self._stats.events_received[name] += len(records)
        if stream is None:
            assert self.revocations is not None
            self._may_be_behind = True
            return self.revocations.take_replay(reply.epoch, records, reply.low, reply.tip)
        replayed = stream.take_replay(records, reply.low, reply.tip)
        self._may_be_behind = True
        if replayed.gap is not None:
            self._stats.retention[name] += replayed.gap[1] - replayed.gap[0] + 1
            self._send_gap(stream, *replayed.gap, "retention")
        self._forward_replayed(stream, replayed.records)
        return not stream.follower.is_asked

    def lose_repair(self, name: str) -> None:
        """The replay that was requested of the stream `name` will not come."""
        stream = self._streams.get(name)
        if stream is not None:
            stream.follower.forget_request()
        elif name == REVOCATION and self.revocations is not None:
            self.revocations.forget_request()

    def take_retained(self, items: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Take events that the relay retained, unless a newer one has arrived meanwhile."""
        for topic_frame, stamp_frame, payload in items:
            try:
                topic = decode_topic(topic_frame)
                stamp = unpack_stamp(stamp_frame)
                envelope = unpack_envelope(payload, topic.kind)
                if topic.kind == EDGE_STATE:
                    self._take_state(topic, envelope, is_live=False)
                    continue
            except WireError as error:
                self._stats.unreadable[error.reason] += 1
                self._warn("retained", "left out a retained event: %s", error)
                continue
            if not self._streams.serves(topic.text):
                continue
            if topic.kind == TASK:
                self._take_retained_task(topic, stamp, envelope)
            elif not self._streams.is_stream(topic.kind) and self._manager.is_wanted(topic.text):
                value = _last_value(topic, stamp, envelope)
                if self._live.keep_retained(topic.text, value):
                    self._send_live(topic, value)

    @property
    def is_behind(self) -> bool:
        """Whether a stream misses events, so that clients get nothing more of it."""
        if not self._may_be_behind:
            return False
        lacks_revocations = self.revocations is not None and self.revocations.is_behind
        return lacks_revocations or any(stream.follower.is_behind for stream in self._streams)

    def repairs_due(self) -> Sequence[Repair]:
        """Return the replays to request now, one at a time of each stream."""
        if not self._may_be_behind:
            return ()
        self._may_be_behind = self.is_behind
        followers = [(stream.kind, stream.follower.replay_request()) for stream in self._streams]
        if self.revocations is not None:
            # First: until they are known, nobody is let in.
            followers.insert(0, (REVOCATION, self.revocations.replay_request()))
        return [Repair(kind, after) for kind, after in followers if after is not None]

    def forget_unwatched(self) -> None:
        """Forget the last values that no client watches any more. Called about once a second."""
        given_up = self._manager.given_up_selectors
        if given_up != self._seen_given_up:
            self._seen_given_up = given_up
            self._live.keep_only(self._manager.is_wanted)

    def _forward_replayed(self, stream: Stream, records: Sequence[Record]) -> None:
        """Forward `records`, which are contiguous; those that are lost are a gap."""
        while records:
            count = lost_run(records)
            if count:
                self._stats.malformed[DAMAGED] += count
                self._send_gap(stream, records[0].offset, records[count - 1].offset, DAMAGED)
            while count < len(records) and not records[count].is_lost:
                self._forward(records[count])
                count += 1
            records = records[count:]

    def _send_gap(self, stream: Stream, first: int, last: int, reason: messages.GapReason) -> None:
        """Tell every connection that follows `stream` which events are lost."""
        self._warn(
            "gap", "the relay does not have %s %d to %d: %s", stream.kind, first, last, reason
        )
        frame = messages.gap(stream.kind, first, last, reason)
        for connection in self._manager:
            if self._manager.follows(connection, stream.kind):
                self._manager.send_to_client(connection, frame)

    def _forward(self, record: Record) -> None:
        topic = record.topic
        text = topic.text
        if not text:
            self._stats.malformed[InvalidTopic.reason] += 1
            return
        is_personal = topic.kind in PERSONAL_KINDS
        if is_personal and topic.is_internal:
            self._take_command(record)
            return
        is_served = self._serves_all or self._streams.serves(topic.subject)
        # An event without a receiver is never decoded; a personal one does not say before whose it
        # is.
        if not (is_served and (is_personal or self._manager.is_wanted(text))):
            self._stats.events_filtered[topic.kind] += 1
            return
        try:
            envelope = record.open()
        except WireError as error:
            self._count_malformed(error)
            return
        if is_personal:
            count = self._forward_personal(record, envelope)
        else:
            count = self._manager.broadcast_to_topic(
                text, record.frame, addressed_to=envelope.username
            )
        if count:
            self._stats.events_forwarded[topic.kind] += 1
            self._stats.deliveries += count
        else:
            self._stats.events_filtered[topic.kind] += 1

    def _take_revocation(self, epoch: int, record: Record) -> None:
        if self.revocations is None:
            self._stats.events_filtered[REVOCATION] += 1
        else:
            self.revocations.take_event(epoch, record)
            self._may_be_behind = True

    def _take_command(self, record: Record) -> None:
        """Take an event for edges; for clients it counts as filtered."""
        try:
            envelope = unpack_envelope(record.payload, record.topic.kind)
            if self.internal is not None:
                self.internal.command(record.topic, record.relayed_at, envelope)
        except WireError as error:
            self._count_malformed(error)
        else:
            self._stats.events_filtered[record.topic.kind] += 1

    def _take_state(self, topic: Topic, envelope: Envelope, *, is_live: bool) -> None:
        if self.internal is not None:
            self.internal.state(topic, envelope.data, is_live=is_live)

    def _forward_personal(self, record: Record, envelope: Envelope) -> int:
        if record.topic.kind == TASK:
            stamp = Stamp(self._streams.epoch, record.offset, record.relayed_at)
            self._tasks.update(record.topic.text, stamp, envelope, record.frame)
        assert envelope.username is not None, "a personal event is always addressed"
        return self._manager.send_to_user(envelope.username, record.frame)

    def _take_live(self, topic: Topic, stamp: Stamp, payload: bytes) -> None:
        if topic.kind == EDGE_STATE:
            self._take_live_state(topic, payload)
            return
        # ZeroMQ's prefixes bring `ab` where a client watches `a`, and more than this edge serves.
        is_served = self._serves_all or self._streams.serves(topic.text)
        if not (is_served and self._manager.is_wanted(topic.text)):
            self._stats.events_filtered[topic.kind] += 1
            return
        try:
            value = _last_value(topic, stamp, unpack_envelope(payload, topic.kind))
        except WireError as error:
            self._count_malformed(error)
            return
        self._live.keep(topic.text, value)
        if self._send_live(topic, value):
            self._stats.events_forwarded[topic.kind] += 1
        else:
            self._stats.events_filtered[topic.kind] += 1

    def _take_live_state(self, topic: Topic, payload: bytes) -> None:
        try:
            self._take_state(topic, unpack_envelope(payload, topic.kind), is_live=True)
        except WireError as error:
            self._count_malformed(error)
        else:
            self._stats.events_filtered[topic.kind] += 1

    def _take_retained_task(self, topic: Topic, stamp: Stamp, envelope: Envelope) -> None:
        """Show a task's state to the connections that came before it was known here."""
        frame = messages.event(topic, stamp.offset, envelope)
        state = self._tasks.update(topic.text, stamp, envelope, frame)
        stream = self._streams.get(TASK)
        if state is None or state.finished or envelope.username is None or stream is None:
            return
        # A state ahead of the stream is on its way as an event as well, and is sent then.
        if stamp.epoch == self._streams.epoch and stamp.offset <= stream.history.head:
            shown = messages.retained(frame)
            for connection in tuple(self._manager.personal_receivers(envelope.username)):
                self._manager.send_to_client(connection, shown)

    def _send_live(self, topic: Topic, value: LastValue) -> int:
        count = self._manager.broadcast_to_topic(
            topic.text, value.frame, addressed_to=value.addressed_to, live=True
        )
        self._stats.deliveries += count
        return count

    def _count_malformed(self, error: Exception) -> None:
        reason = error.reason if isinstance(error, WireError) else "invalid_frame"
        self._stats.malformed[reason] += 1
        self._warn(reason, "dropped a malformed event: %s", error)


def _last_value(topic: Topic, stamp: Stamp, envelope: Envelope) -> LastValue:
    # A live event has the offset 0, and its message none.
    frame = messages.event(topic, stamp.offset, envelope)
    return LastValue(stamp.relayed_at, envelope.username, frame)
