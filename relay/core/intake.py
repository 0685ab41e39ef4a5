"""Sorts what comes in on the ingress: taken events by stream, live values, and what is refused.

Between two commits an `Intake` gathers a batch. What becomes of the batch, the relay says with
`Emitters.commit` and `roll_back`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from relay.core.emitters import Emitters, Verdict
from relay.core.stats import RelayCounters
from relay.wire.envelope import Envelope, complete_envelope, pack_envelope, unpack_envelope
from relay.wire.errors import InvalidFrame, InvalidTopic
from relay.wire.header import unpack_header
from relay.wire.topics import Topic, decode_topic


class Taken(NamedTuple):
    """An event that passes; `header` is empty if nobody tracks it."""

    topic: Topic
    frame: bytes
    """The topic as it came."""
    header: bytes
    payload: bytes
    """The complete envelope."""
    envelope: Envelope


class Intake:
    """Judges each message by itself, in the order of arrival."""

    def __init__(
        self,
        journaled_kinds: Sequence[str],
        emitters: Emitters,
        stats: RelayCounters,
        new_id: Callable[[], str],
    ) -> None:
        self._journaled_kinds = frozenset(journaled_kinds)
        self._emitters = emitters
        self._stats = stats
        self._new_id = new_id
        self.journaling = True
        """False while the journal cannot be written: then no event of a stream is taken."""
        self.runs: dict[str, list[Taken]] = {}
        """By stream, what waits for the commit."""
        self.live: list[Taken] = []
        self.gathered_bytes = 0

    def take(self, frames: list[bytes], now_ms: int) -> None:
        """Take one message, or raise the `WireError` that it is."""
        stats = self._stats
        stats.received += 1
        try:
            topic = decode_topic(frames[0])
        except InvalidTopic:
            self._use_up_number(frames)
            raise
        is_journaled = topic.kind in self._journaled_kinds
        header = b""
        if len(frames) == 3:
            header = frames[1]
            unpacked = unpack_header(header)
            if unpacked.sequence == 0:
                header = b""
            else:
                if is_journaled and not self.journaling:
                    stats.refused["journal_unavailable"] += 1
                    return
                verdict = self._emitters.judge(unpacked)
                if verdict is not Verdict.TAKE:
                    stats.refused[verdict.name.lower()] += 1
                    return
            payload = frames[2]
            envelope = unpack_envelope(payload, topic.kind)
        elif len(frames) == 2:
            envelope = complete_envelope(
                frames[1], topic.kind, now_ms=now_ms, new_id=self._new_id()
            )
            payload = pack_envelope(envelope, topic.kind)
        else:
            raise InvalidFrame(f"an event has 2 or 3 frames, not {len(frames)}")
        taken = Taken(topic, frames[0], header, payload, envelope)
        if not is_journaled:
            self.live.append(taken)
        elif not self.journaling:
            stats.refused["best_effort_drop"] += 1
        else:
            self.gathered_bytes += len(payload)
            run = self.runs.get(topic.kind)
            if run is None:
                self.runs[topic.kind] = [taken]
            else:
                run.append(taken)

    def _use_up_number(self, frames: list[bytes]) -> None:
        """A number counts even if its topic is invalid, or the event would come for ever."""
        if len(frames) == 3 and (header := unpack_header(frames[1])).sequence:
            self._emitters.judge(header)

    def clear(self) -> None:
        """Begin a new batch."""
        self.runs = {}
        self.live = []
        self.gathered_bytes = 0

    def count_lost_batch(self) -> None:
        """The batch could not be journaled: tracked events come again, others are lost."""
        for run in self.runs.values():
            for taken in run:
                reason = "journal_unavailable" if taken.header else "best_effort_drop"
                self._stats.refused[reason] += 1
