"""From the relay's frames to the clients' frames: decode once, JSON once, frame once.

`Fanout` owns what this worker knows of the world: its clients, stream positions, tasks and live
values. It is told of events by `RelayLink` and asks it for what the clients want.
"""

import logging
from collections.abc import Iterable
from typing import Protocol

from edge.core import messages
from edge.core.access import Identity, may_receive
from edge.core.connections import ConnectionManager
from edge.core.live_values import LiveValue, LiveValues
from edge.core.streams import StreamPositions
from edge.core.task_board import TaskBoard
from edge.stats import EdgeStats
from relay.logs import LimitedLog
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Stamp, unpack_stamp
from relay.wire.topics import TASK, Pattern, Topic, decode_topic

logger = logging.getLogger(__name__)


class Upstream(Protocol):
    """The relay, as the fan-out sees it."""

    def want(self, selector: Pattern) -> None:
        """Have events that `selector` matches sent."""

    def unwant(self, selector: Pattern) -> None:
        """Undo `want`."""

    def request_retained(self, selector: Pattern) -> None:
        """Have `Fanout.take_retained` called with what the relay remembers of `selector`."""


class Fanout:
    """Forwards events to connections."""

    def __init__(self, stats: EdgeStats) -> None:
        self.stats = stats
        self.manager = ConnectionManager(self)
        self.positions = StreamPositions()
        self.tasks = TaskBoard()
        self._live = LiveValues()
        self._has_stale_values = False
        self._upstream: Upstream | None = None
        self._log = LimitedLog(logger)

    def attach(self, upstream: Upstream) -> None:
        """Use `upstream` from now on."""
        self._upstream = upstream

    # Told by the relay link.

    def synchronize(self, epoch: int, tips: dict[str, int]) -> None:
        """The streams are at `tips`; whatever follows will arrive."""
        self.positions.synchronize(epoch, tips)
        self.tasks.begin_epoch(epoch)
        if self._upstream is not None:
            self._upstream.request_retained(Pattern(f"{TASK}:", exact=False))

    def take_event(self, frames: list[bytes]) -> None:
        """Forward an event that the relay sent: topic, stamp, envelope."""
        try:
            topic = decode_topic(frames[0])
            stamp = unpack_stamp(frames[1])
            self.stats.events_received[topic.kind] += 1
            self._forward(topic, stamp, frames[2])
        except (WireError, IndexError) as error:
            reason = error.reason if isinstance(error, WireError) else "invalid_frame"
            self.stats.malformed[reason] += 1
            self._log.warning(reason, "dropped a malformed event from the relay: %s", error)

    def take_retained(self, items: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Take what the relay remembered, where nothing newer has arrived meanwhile."""
        for topic_frame, stamp_frame, payload in items:
            try:
                topic = decode_topic(topic_frame)
                stamp = unpack_stamp(stamp_frame)
                envelope = unpack_envelope(payload, topic.kind)
            except WireError as error:
                self.stats.malformed[error.reason] += 1
                self._log.warning(error.reason, "dropped a malformed retained event: %s", error)
                continue
            if topic.kind == TASK:
                self._forward_task(topic, stamp, envelope)
            elif not self.positions.is_stream(topic.kind) and self.manager.receivers(topic.text):
                value = _live_value(topic, stamp, envelope)
                if self._live.keep_retained(topic.text, value):
                    self._send_live(topic, value)

    def housekeep(self) -> None:
        """Forget live values that nobody wants any more. Called about once a second."""
        if self._has_stale_values:
            self._has_stale_values = False
            self._live.keep_only(lambda topic: bool(self.manager.receivers(topic)))

    # Asked by sessions.

    def unfinished_tasks(self, username: str) -> Iterable[bytes]:
        """See `Snapshots`."""
        return self.tasks.unfinished_of(username)

    def last_values(
        self, identity: Identity, patterns: tuple[Pattern, ...]
    ) -> Iterable[tuple[str, bytes]]:
        """See `Snapshots`."""
        return [
            (topic, value.frame)
            for topic, value in self._live.matching(patterns)
            if may_receive(identity, value.addressed_to)
        ]

    # Told by the connection manager.

    def wanted(self, selector: Pattern) -> None:
        """See `Interest`."""
        if self._upstream is None:
            return
        self._upstream.want(selector)
        kind, colon, _ = selector.prefix.partition(":")
        if not (colon and self.positions.is_stream(kind)):
            self._upstream.request_retained(selector)

    def unwanted(self, selector: Pattern) -> None:
        """See `Interest`."""
        if self._upstream is not None:
            self._upstream.unwant(selector)
        self._has_stale_values = True

    def _forward(self, topic: Topic, stamp: Stamp, payload: bytes) -> None:
        is_stream = self.positions.is_stream(topic.kind)
        try:
            if topic.kind == TASK:
                self._forward_task(topic, stamp, unpack_envelope(payload, topic.kind))
            elif not self.manager.receivers(topic.text):
                self.stats.events_filtered[topic.kind] += 1
            elif is_stream:
                self._forward_journaled(topic, stamp, unpack_envelope(payload, topic.kind))
            else:
                self._forward_live(topic, stamp, unpack_envelope(payload, topic.kind))
        finally:
            if is_stream:
                self.positions.advance(topic.kind, stamp)

    def _forward_task(self, topic: Topic, stamp: Stamp, envelope: Envelope) -> None:
        state = self.tasks.update(topic.text, stamp, envelope)
        if state is None or envelope.username is None:
            return
        if self.manager.connections_of(envelope.username):
            self.stats.deliveries += self.manager.send_to_user(envelope.username, state.frame)

    def _forward_journaled(self, topic: Topic, stamp: Stamp, envelope: Envelope) -> None:
        frame = messages.frame(messages.event_fields(topic.text, stamp, envelope))
        self.stats.deliveries += self.manager.broadcast_to_topic(
            topic.text, frame, addressed_to=envelope.username
        )

    def _forward_live(self, topic: Topic, stamp: Stamp, envelope: Envelope) -> None:
        value = _live_value(topic, stamp, envelope)
        self._live.keep(topic.text, value)
        self._send_live(topic, value)

    def _send_live(self, topic: Topic, value: LiveValue) -> None:
        self.stats.deliveries += self.manager.broadcast_to_topic(
            topic.text, value.frame, addressed_to=value.addressed_to, live=True
        )


def _live_value(topic: Topic, stamp: Stamp, envelope: Envelope) -> LiveValue:
    frame = messages.frame(messages.event_fields(topic.text, stamp, envelope))
    return LiveValue(stamp.relayed_at, envelope.username, frame)
