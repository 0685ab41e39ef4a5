"""Gathers one batch of messages from the ingress: events by stream, and live values.

An `Intake` checks each message and keeps the events that pass. The sequencer then takes live values
to be published, and the events of streams to be journaled as a batch, or counts them as lost.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from relay.core.counters import RelayCounters
from relay.core.emitters import KnownEmitters, SequenceVerdict
from relay.core.once import OnceIds
from relay.core.permission import UNLIMITED, Rights
from relay.wire.envelope import (
    Envelope,
    complete_envelope,
    is_finished_task,
    pack_envelope,
    unpack_envelope,
)
from relay.wire.errors import InvalidFrame, InvalidTopic, WireError
from relay.wire.header import SENT_AGAIN, Header, ReceivedFrames, pack_header, unpack_header
from relay.wire.once import is_once
from relay.wire.peers import PublishRights
from relay.wire.topics import PERSONAL_KINDS, TASK, Topic, addressed_topic, decode_topic

MAX_BATCH_MESSAGES = 256
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""A batch is complete at the message that reaches either limit. So is a turn of the loop: then the
other sockets are served, while further messages wait at
their publishers."""


class TakenEvent(NamedTuple):
    """An event of the batch. Its unpacked envelope is not kept: it can be many times larger."""

    topic: Topic
    frames: ReceivedFrames
    finishes_task: bool
    username: str | None


class ForbiddenEvent(Exception):  # noqa: N818 - clear without a suffix
    """The publisher has no right to one field of its event; the event is counted."""

    def __init__(self, topic: Topic, field: str, header: Header | None) -> None:
        super().__init__(f"an event on {topic.text!r} has a {field} that is not allowed")
        self.topic = topic
        self.field = field
        self.header = header


class Intake:
    """Checks each message by itself, in the order of arrival."""

    def __init__(
        self,
        journaled_kinds: Sequence[str],
        emitters: KnownEmitters,
        counters: RelayCounters,
        new_id: Callable[[], str],
    ) -> None:
        self._journaled_kinds = frozenset(journaled_kinds)
        self._emitters = emitters
        self._counters = counters
        self._new_id = new_id
        self.once = OnceIds()
        self.journaling = True
        """False while the journal cannot be written. Events of streams are refused then."""
        self.runs: dict[str, list[TakenEvent]] = {}
        """Stream to its events that wait for the commit."""
        self.live: list[TakenEvent] = []
        self.useless = 0
        """Messages so far that no honest publisher sends: malformed, or not allowed."""
        self.run_events = 0
        self.run_bytes = 0
        """The number of events in `runs`, and the bytes of their envelopes."""

    def take(self, frames: list[bytes], now_ms: int, rights: Rights = UNLIMITED) -> None:
        """Take the message `frames` of a peer with `rights`.

        Raises the `WireError` that is wrong with it, or `ForbiddenEvent`.
        """
        self._counters.received += 1
        try:
            self._take(frames, now_ms, rights)
        except (WireError, ForbiddenEvent):
            self.useless += 1
            raise

    def _take(self, frames: list[bytes], now_ms: int, rights: Rights) -> None:
        try:
            topic = decode_topic(frames[0])
        except InvalidTopic:
            self._use_up_number(frames, rights)
            raise
        kind = topic.kind
        is_journaled = kind in self._journaled_kinds
        if len(frames) == 3:
            payload = frames[2]
            numbered = self._number(frames[1], rights, is_journaled=is_journaled)
            if numbered is None:
                return
            header_frame = numbered
            # After `advance`: a malformed event uses its number up, or it would come for ever.
            envelope = unpack_envelope(payload, kind)
        elif len(frames) == 2:
            header_frame = b""
            payload, envelope = self._complete(frames[1], kind, now_ms)
        else:
            raise InvalidFrame(f"an event has 2 or 3 frames, not {len(frames)}")
        if header_frame == b"" and envelope.username is not None and kind not in PERSONAL_KINDS:
            topic = addressed_topic(topic)
            kind, is_journaled = topic.kind, True
            frames[0] = topic.text.encode()
        if rights.publishing is not None:
            self._check(rights.publishing, topic, envelope, header_frame)
        frames_taken = (frames[0], header_frame, payload)
        self._keep(topic, frames_taken, envelope, now_ms, is_journaled=is_journaled)

    def _keep(
        self,
        topic: Topic,
        frames: ReceivedFrames,
        envelope: Envelope,
        now_ms: int,
        *,
        is_journaled: bool,
    ) -> None:
        """Gather an event that may be published, unless it is to be dropped."""
        if is_journaled and not self.journaling:
            self._counters.refused["best_effort_drop"] += 1
        elif is_once(envelope.id) and not self._takes_once(
            envelope.id, frames[1], now_ms, is_journaled=is_journaled
        ):
            self._counters.refused["repeated"] += 1
        else:
            finishes_task = topic.kind == TASK and is_finished_task(envelope)
            event = TakenEvent(topic, frames, finishes_task, envelope.username)
            self._gather(event, is_journaled=is_journaled)

    def _number(self, frame: bytes, rights: Rights, *, is_journaled: bool) -> bytes | None:
        """Return the header of an event, with the relay's own id of its emitter.

        It is empty for an event without a number, and None if the event is not to be taken.
        """
        header = unpack_header(frame)
        if rights.role is not None:
            header = header._replace(emitter_id=rights.own_id(header.emitter_id))
            frame = pack_header(header)
        if header.sequence == 0:
            return b""
        return frame if self._is_next(header, is_journaled=is_journaled) else None

    def _check(
        self, rights: PublishRights, topic: Topic, envelope: Envelope, header_frame: bytes
    ) -> None:
        field = rights.refuses(topic, envelope.source, envelope.username)
        if field:
            self._counters.refused["forbidden"] += 1
            header = unpack_header(header_frame) if header_frame else None
            raise ForbiddenEvent(topic, field, header)

    @property
    def is_full(self) -> bool:
        """Whether the events of streams are a whole batch."""
        return self.run_events >= MAX_BATCH_MESSAGES or self.run_bytes >= MAX_BATCH_BYTES

    def take_live(self) -> list[TakenEvent]:
        """Return the gathered live values, in the order of arrival."""
        live, self.live = self.live, []
        return live

    def take_runs(self) -> dict[str, list[TakenEvent]]:
        """Return the gathered events of streams, and start the next batch."""
        runs, self.runs = self.runs, {}
        self.run_events = self.run_bytes = 0
        return runs

    def count_lost(self, runs: Mapping[str, Sequence[TakenEvent]]) -> None:
        """Count the events of `runs` as refused: the journal could not be written.

        Emitters send their tracked events again; untracked events are lost.
        """
        for run in runs.values():
            for event in run:
                is_tracked = event.frames[1] != b""
                reason = "journal_unavailable" if is_tracked else "best_effort_drop"
                self._counters.refused[reason] += 1

    def _takes_once(
        self, event_id: str, header_frame: bytes, now_ms: int, *, is_journaled: bool
    ) -> bool:
        """Return whether an event whose id counts once is the first with that id."""
        now_s = now_ms // 1000
        if is_journaled:
            return self.once.take(event_id, now_s)
        is_again = header_frame != b"" and unpack_header(header_frame).sequence == SENT_AGAIN
        return self.once.take_live(event_id, now_s, is_again=is_again)

    def _gather(self, event: TakenEvent, *, is_journaled: bool) -> None:
        if not is_journaled:
            self.live.append(event)
            return
        payload = event.frames[2]
        self.runs.setdefault(event.topic.kind, []).append(event)
        self.run_events += 1
        self.run_bytes += len(payload)

    def _is_next(self, header: Header, *, is_journaled: bool) -> bool:
        """Return whether a numbered event may be taken by its number; if not, it is counted."""
        if header.sequence == SENT_AGAIN and not is_journaled:
            return True  # No number. The sequencer looks at the time of such a value.
        # Before `advance`: the emitter has to send the event again once the journal is back.
        if is_journaled and not self.journaling:
            self._counters.refused["journal_unavailable"] += 1
            self._emitters.note_dropped(header)
            return False
        verdict = self._emitters.advance(header)
        if verdict is not SequenceVerdict.TAKE:
            self._counters.refused[verdict.name.lower()] += 1
        return verdict is SequenceVerdict.TAKE

    def _complete(self, payload: bytes, kind: str, now_ms: int) -> tuple[bytes, Envelope]:
        """Return the envelope of a plain publisher with its missing fields, packed and unpacked."""
        envelope = complete_envelope(payload, kind, now_ms=now_ms, new_id=self._new_id())
        return pack_envelope(envelope, kind), envelope

    def _use_up_number(self, frames: list[bytes], rights: Rights) -> None:
        """Advance past an event with an invalid topic, or its emitter would send it for ever."""
        if len(frames) == 3 and (header := unpack_header(frames[1])).sequence:
            self._emitters.advance(header._replace(emitter_id=rights.own_id(header.emitter_id)))
