"""Numbers the events of a batch, has them journaled, and releases them to be published.

Nothing is published or acknowledged before its commit. While the journal cannot be written, no
event of a stream is taken, so that emitters keep theirs; every heartbeat tries to write again.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from relay.core.emitters import Cursor, KnownEmitter, Progress, Reach
from relay.core.intake import TakenEvent
from relay.core.once import OnceIds
from relay.core.orphans import TaskOwner
from relay.core.retained import task_key
from relay.journal.batch import JournalBatch, Run
from relay.journal.journal import JournalUnavailable
from relay.journal.reader import StoredTask
from relay.journal.writer import WriteOutcome
from relay.shared.logs import LimitedLog
from relay.state import SharedState
from relay.wire.envelope import unpack_envelope
from relay.wire.header import (
    SENT_AGAIN,
    Stamp,
    StampedFrames,
    pack_stamp,
    pack_stamps,
    unpack_header,
)
from relay.wire.topics import TASK, Topic

logger = logging.getLogger(__name__)


MAX_FLIGHTS = 256
MAX_FLIGHT_BYTES = 64 * 1024 * 1024
"""Batches that wait for the journal, and the bytes of their envelopes. With more, the relay reads
no event: publishers wait."""


class Committed(NamedTuple):
    """Batches that were journaled."""

    events: Sequence[StampedFrames]
    """To be published, in this order."""
    emitters: Sequence[KnownEmitter]
    """To be acknowledged, after the events are published."""


class BatchWriter(Protocol):
    """Writes the journal in the order of the calls, by a thread of its own perhaps."""

    def append(self, batch: JournalBatch) -> None:
        """Commit `batch`."""

    def maintain(self) -> None:
        """Remove old events; after an error, find out whether the journal can be written again."""

    def forget_silent_emitters(self) -> None:
        """Remove the cursors of emitters that are gone for good."""

    def outcomes(self) -> Sequence[WriteOutcome]:
        """Return the outcomes since the last call, in the order of the work."""


class _Flight(NamedTuple):
    """A batch that was handed over to be journaled."""

    runs: Mapping[str, Sequence[TakenEvent]]
    events: Sequence[StampedFrames]
    tasks: Mapping[str, StoredTask]
    forgotten_tasks: Sequence[str]
    progress: Sequence[Progress]
    once: Sequence[bytes]
    """Digests of ids that are taken once."""
    taken_at_s: int
    """Unix time in seconds."""
    size: int
    """Bytes of the envelopes."""


class Sequencer:
    """Turns gathered batches into stamped events, while others wait for the disk."""

    def __init__(self, state: SharedState, writer: BatchWriter) -> None:
        self._state = state
        self._writer = writer
        self._log = LimitedLog(logger)
        self._flights: deque[_Flight] = deque()
        """Batches without an outcome, oldest first."""
        self._flight_bytes = 0
        self._last_offsets = state.journal.last_offsets
        """Stream to the offset of the last event that was handed over."""
        self._relayed_at = {name: each.newest_at for name, each in state.journal.streams.items()}
        """Stream to the newest stamp. Stamps do not go back, even if the clock does."""
        self._forgotten_tasks: list[str] = []
        """Keys of tasks to be removed from the journal with the next commit. Each was remembered
        before, so that there are never more than `RetainedValues` holds."""

    def remember(self, tasks: Iterable[StoredTask], once: Iterable[tuple[bytes, int]] = ()) -> None:
        """Remember the states of tasks in the journal, and the ids that count once, oldest first.

        See `relay.core.once.OnceIds`.
        """
        self._state.intake.once = OnceIds(once)
        for task in tasks:
            self._remember(task)
            self._note_owners([task])

    @property
    def has_room(self) -> bool:
        """Whether further events may be gathered."""
        is_waiting = len(self._flights) >= MAX_FLIGHTS or self._flight_bytes >= MAX_FLIGHT_BYTES
        return not (is_waiting and self._state.intake.is_full)

    def stamp_live(self, now_ms: int) -> list[StampedFrames]:
        """Return the gathered live values to be published. They wait for no commit."""
        live = self._state.intake.take_live()
        if not live:
            return []
        stamp = pack_stamp(Stamp(self._state.journal.epoch, 0, now_ms))
        events: list[StampedFrames] = []
        for topic, (topic_frame, header, envelope), _, _ in live:
            if header and self._is_outdated(topic, header, envelope):
                self._state.counters.refused["outdated"] += 1
                continue
            frames = (topic_frame, stamp, envelope)
            self._state.retained.keep_live(topic.text, frames)
            self._state.counters.relayed[topic.kind] += 1
            events.append(frames)
        return events

    def hand_over(self, now_ms: int) -> Sequence[KnownEmitter]:
        """Hand the gathered events over to be journaled; return emitters to be acknowledged now.

        While batches wait for a slow disk, events are gathered up to a full batch.
        """
        intake, emitters = self._state.intake, self._state.emitters
        if self._flights and not intake.is_full:
            return ()
        if not self.has_room:
            return ()
        size = intake.run_bytes
        progress = emitters.take_progress()
        runs = intake.take_runs()
        if not runs and not any(each.has_moved for each in progress):
            # Only duplicates came: their emitters have missed an acknowledgement.
            return emitters.commit(progress)
        for stream in runs:
            self._relayed_at[stream] = max(now_ms, self._relayed_at[stream])
        flight = self._flight(runs, progress, now_ms // 1000, size)
        self._writer.append(
            JournalBatch(
                self._runs_to_store(runs),
                [
                    Cursor(each.emitter.emitter_id, each.emitter.name, each.epoch, each.sequence)
                    for each in progress
                    if each.has_moved
                ],
                flight.tasks.values(),
                flight.forgotten_tasks,
                flight.taken_at_s,
                flight.once,
            )
        )
        for stream, run in runs.items():
            self._last_offsets[stream] += len(run)
            self._state.counters.waiting += len(run)
        self._flights.append(flight)
        self._flight_bytes += size
        return ()

    def collect(self, reach: Reach) -> Committed:
        """Take the outcomes: return the events that were journaled.

        `reach` finds out whether an emitter is connected, of which the journal knows nothing.
        """
        events: list[StampedFrames] = []
        emitters: dict[KnownEmitter, None] = {}
        for outcome in self._writer.outcomes():
            self._state.journal.update(outcome.state)
            for _ in range(outcome.committed):
                flight = self._flights.popleft()
                self._flight_bytes -= flight.size
                events += flight.events
                for stream, run in flight.runs.items():
                    self._state.counters.waiting -= len(run)
                    self._state.counters.relayed[stream] += len(run)
                self._state.intake.once.commit(flight.once, flight.taken_at_s)
                self._remember_all(flight.tasks)
                self._note_owners(flight.tasks.values())
                emitters |= dict.fromkeys(self._state.emitters.commit(flight.progress))
            if outcome.error is not None:
                self._give_up(outcome.error)
            if outcome.is_writable and not self._state.intake.journaling:
                self._state.intake.journaling = True
                # What was given up does not count, and another file may be in the journal's place.
                self._last_offsets = self._state.journal.last_offsets
                self._state.emitters.request_dropped()
                logger.warning("the journal can be written again")
            if outcome.forgotten is not None:
                self._state.emitters.forget(outcome.forgotten, reach)
        return Committed(events, list(emitters))

    def _flight(
        self,
        runs: Mapping[str, Sequence[TakenEvent]],
        progress: Sequence[Progress],
        now_s: int,
        size: int,
    ) -> _Flight:
        events, tasks = self._stamp(runs)
        once = self._state.intake.once.take_gathered()
        return _Flight(
            runs, events, tasks, self._take_forgotten_tasks(), progress, once, now_s, size
        )

    def _is_outdated(self, topic: Topic, header: bytes, envelope: bytes) -> bool:
        """Whether a live value is sent again, and is not newer than the remembered one."""
        known = self._state.retained.get(topic.text)
        if known is None or unpack_header(header).sequence != SENT_AGAIN:
            return False
        before, again = (unpack_envelope(each, topic.kind) for each in (known[2], envelope))
        # By the clocks of their emitters, which are not the same for one that took a topic over.
        return before.id == again.id or before.emitted_at > again.emitted_at

    def _give_up(self, error: JournalUnavailable) -> None:
        """The journal cannot be written: nothing that waits for it counts as taken."""
        intake = self._state.intake
        intake.journaling = False
        self._log.error("journal", "no event of a stream is taken: %s", error)
        self._state.emitters.roll_back(each for flight in self._flights for each in flight.progress)
        for flight in self._flights:
            self._state.counters.waiting = 0
            intake.count_lost(flight.runs)
            self._forgotten_tasks += flight.forgotten_tasks
        intake.count_lost(intake.take_runs())
        intake.once.roll_back()
        self._flights.clear()
        self._flight_bytes = 0

    def _stamp(
        self, runs: Mapping[str, Sequence[TakenEvent]]
    ) -> tuple[list[StampedFrames], dict[str, StoredTask]]:
        """Return the events to publish, and the latest state of each task among them."""
        journal = self._state.journal
        events: list[StampedFrames] = []
        tasks: dict[str, StoredTask] = {}
        for stream, run in runs.items():
            first = self._last_offsets[stream] + 1
            stamps = pack_stamps(
                journal.epoch, range(first, first + len(run)), self._relayed_at[stream]
            )
            stamped = [
                (event.frames[0], stamp, event.frames[2])
                for event, stamp in zip(run, stamps, strict=True)
            ]
            events += stamped
            if stream == TASK:
                for event, frames in zip(run, stamped, strict=True):
                    assert event.username is not None, "a task has a user"
                    key = task_key(event.topic.text, event.username)
                    # Removed first, so that the dict is in the order of the last updates.
                    tasks.pop(key, None)
                    tasks[key] = StoredTask(key, frames, event.finishes_task, event.frames[1])
        return events, tasks

    def _runs_to_store(self, runs: Mapping[str, Sequence[TakenEvent]]) -> dict[str, Run]:
        return {
            stream: Run(
                self._last_offsets[stream] + 1,
                self._relayed_at[stream],
                [event.frames for event in run],
            )
            for stream, run in runs.items()
        }

    def _take_forgotten_tasks(self) -> list[str]:
        """Return the keys to be removed with the next batch."""
        if not self._forgotten_tasks:
            return []
        # A batch on its way may bring a forgotten task back.
        waiting = {key for flight in self._flights for key in flight.tasks}
        taken = [key for key in self._forgotten_tasks if key not in waiting]
        self._forgotten_tasks = [key for key in self._forgotten_tasks if key in waiting]
        return taken

    def _remember_all(self, tasks: Mapping[str, StoredTask]) -> None:
        for task in tasks.values():
            self._remember(task)
        # A task may be forgotten for another one of this batch and remembered again by its own.
        self._forgotten_tasks = [
            key
            for key in self._forgotten_tasks
            if key not in tasks or self._state.retained.get(key) is None
        ]

    def _remember(self, task: StoredTask) -> None:
        self._forgotten_tasks += self._state.retained.keep_task(
            task.key, task.frames, is_finished=task.is_finished
        )

    def _note_owners(self, tasks: Iterable[StoredTask]) -> None:
        owners = self._state.owners
        for task in tasks:
            if task.is_finished or not task.header:
                owners.forget(task.key)
            else:
                emitter_id, epoch, sequence = unpack_header(task.header)
                owners.keep(task.key, TaskOwner(emitter_id, epoch), sequence)
        for key in self._forgotten_tasks:
            owners.forget(key)
