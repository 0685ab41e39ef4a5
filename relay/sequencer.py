"""Numbers the events of a batch, commits them to the journal, and keeps the journal bounded.

Nothing is published or acknowledged before its commit. While the journal cannot be written, no
event of a stream is taken, so that emitters keep theirs; every heartbeat tries to write again.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from relay.core.emitters import KnownEmitter, Reach
from relay.core.intake import TakenEvent
from relay.core.orphans import TaskOwner
from relay.core.retention import Limits
from relay.journal.batch import JournalBatch, Run
from relay.journal.journal import JournalUnavailable
from relay.journal.reader import StoredTask
from relay.shared.logs import LimitedLog
from relay.state import SharedState
from relay.wire.header import Stamp, StampedFrames, pack_stamp, pack_stamps, unpack_header
from relay.wire.topics import TASK

logger = logging.getLogger(__name__)


class Committed(NamedTuple):
    """The outcome of a commit."""

    events: Sequence[StampedFrames]
    """To be published, in this order."""
    emitters: Sequence[KnownEmitter]
    """To be acknowledged, after the events are published."""


class Sequencer:
    """Turns the gathered batch into stamped events."""

    def __init__(self, state: SharedState, limits: Limits) -> None:
        self._state = state
        self._limits = limits
        self._log = LimitedLog(logger)
        self._forgotten_tasks: list[str] = []
        """Tasks to be removed from the journal with the next commit. Each was remembered before,
        so that there are never more than `RetainedValues` holds."""
        for task in state.journal.tasks():
            self._remember(task)
            if not task.is_finished:
                state.owners.keep_unknown(task.topic)
        self._probe()

    def stamp_live(self, now_ms: int) -> list[StampedFrames]:
        """Return the gathered live values to be published. They wait for no commit."""
        live = self._state.intake.live
        if not live:
            return []
        stamp = pack_stamp(Stamp(self._state.journal.epoch, 0, now_ms))
        events: list[StampedFrames] = []
        for topic, (topic_frame, _, envelope), _ in live:
            frames = (topic_frame, stamp, envelope)
            self._state.retained.keep_live(topic.text, frames)
            self._state.counters.count_relayed(topic.kind, 1)
            events.append(frames)
        return events

    def commit(self, now_ms: int) -> Committed:
        """Journal the gathered events; the outcome is empty if the journal cannot be written."""
        emitters, intake = self._state.emitters, self._state.intake
        runs = intake.runs
        cursors = emitters.cursors()
        if not runs and not cursors:
            # Only duplicates came: their emitters have missed an acknowledgement.
            return Committed((), emitters.commit())
        events, tasks = self._stamp(runs, now_ms)
        batch = JournalBatch(
            self._runs_to_store(runs, now_ms), cursors, tasks.values(), self._forgotten_tasks
        )
        try:
            self._state.journal.append(batch)
        except JournalUnavailable as error:
            self._stop_journaling(error)
            emitters.roll_back()
            intake.count_lost_batch()
            return Committed((), ())
        for stream, run in runs.items():
            self._state.counters.count_relayed(stream, len(run))
        self._remember_all(tasks)
        self._note_owners(runs.get(TASK, ()))
        # A little with each batch: removing much at once would keep events waiting.
        self._retire(now_ms)
        return Committed(events, emitters.commit())

    def maintain(self, now_ms: int) -> None:
        """Remove old events, and try to write again after a failure. Called each heartbeat."""
        self._retire(now_ms)
        if not self._state.intake.journaling and self._probe():
            self._state.intake.journaling = True
            logger.warning("the journal can be written again")

    def forget_silent_emitters(self, now_ms: int, reach: Reach) -> None:
        """Drop the emitters that are gone for good. Called every few minutes."""
        try:
            silent = self._state.journal.forget_silent_emitters(now_ms // 1000)
        except JournalUnavailable as error:
            self._stop_journaling(error)
        else:
            self._state.emitters.forget(silent, reach)

    def _stamp(
        self, runs: Mapping[str, Sequence[TakenEvent]], now_ms: int
    ) -> tuple[list[StampedFrames], dict[str, StoredTask]]:
        """Return the events to publish, and the latest state of each task among them."""
        journal = self._state.journal
        events: list[StampedFrames] = []
        tasks: dict[str, StoredTask] = {}
        for stream, run in runs.items():
            first = journal.streams[stream].last_offset + 1
            stamps = pack_stamps(journal.epoch, range(first, first + len(run)), now_ms)
            stamped = [
                (event.frames[0], stamp, event.frames[2])
                for event, stamp in zip(run, stamps, strict=True)
            ]
            events += stamped
            if stream == TASK:
                for event, frames in zip(run, stamped, strict=True):
                    topic = event.topic.text
                    # Removed first, so that the dict is in the order of the last updates.
                    tasks.pop(topic, None)
                    tasks[topic] = StoredTask(topic, frames, event.finishes_task)
        return events, tasks

    def _runs_to_store(
        self, runs: Mapping[str, Sequence[TakenEvent]], now_ms: int
    ) -> dict[str, Run]:
        streams = self._state.journal.streams
        return {
            stream: Run(streams[stream].last_offset + 1, now_ms, [event.frames for event in run])
            for stream, run in runs.items()
        }

    def _remember_all(self, tasks: Mapping[str, StoredTask]) -> None:
        self._forgotten_tasks.clear()
        for task in tasks.values():
            self._remember(task)
        # A task may be forgotten for another one of this batch and remembered again by its own.
        self._forgotten_tasks = [
            topic
            for topic in self._forgotten_tasks
            if topic not in tasks or self._state.retained.get(topic) is None
        ]

    def _remember(self, task: StoredTask) -> None:
        topic, frames, is_finished = task
        self._forgotten_tasks += self._state.retained.keep_task(
            topic, frames, is_finished=is_finished
        )

    def _note_owners(self, run: Sequence[TakenEvent]) -> None:
        owners = self._state.owners
        for event in run:
            topic, header_frame = event.topic.text, event.frames[1]
            if event.finishes_task or not header_frame:
                owners.forget(topic)
            else:
                emitter_id, epoch, sequence = unpack_header(header_frame)
                owners.keep(topic, TaskOwner(emitter_id, epoch), sequence)
        for topic in self._forgotten_tasks:
            owners.forget(topic)

    def _probe(self) -> bool:
        try:
            self._state.journal.probe()
        except JournalUnavailable as error:
            self._stop_journaling(error)
            return False
        return True

    def _retire(self, now_ms: int) -> None:
        try:
            self._state.journal.retire(self._limits, now_ms)
        except JournalUnavailable as error:
            self._stop_journaling(error)

    def _stop_journaling(self, error: JournalUnavailable) -> None:
        self._state.intake.journaling = False
        self._log.error("journal", "no event of a stream is taken: %s", error)
