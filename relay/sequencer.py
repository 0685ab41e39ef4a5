"""Commits what was taken in, and keeps the journal within its bounds and alive.

Nothing is published or acknowledged before its commit. While the journal cannot be written no
event of a stream is taken, so that emitters hold theirs; it is tried again with every heartbeat.
"""

import logging
from collections.abc import Callable

from relay.core.emitters import Emitter, Emitters
from relay.core.intake import Intake, Taken
from relay.core.retained import Item, RetainedValues
from relay.core.retention import Limits
from relay.core.stats import RelayCounters
from relay.journal.journal import Batch, Journal, JournalUnavailable, Run, TaskChange
from relay.shared.logs import LimitedLog
from relay.wire.envelope import is_finished_task
from relay.wire.header import pack_stamps
from relay.wire.topics import TASK, decode_topic

Frames = tuple[bytes, bytes, bytes]

logger = logging.getLogger(__name__)


class Ledger:
    """The relay's journal, and what the relay remembers beside it."""

    def __init__(
        self,
        journal: Journal,
        emitters: Emitters,
        retained: RetainedValues,
        intake: Intake,
        stats: RelayCounters,
        limits: Limits,
    ) -> None:
        self._journal = journal
        self._emitters = emitters
        self._retained = retained
        self._intake = intake
        self._stats = stats
        self._limits = limits
        self._forgotten_tasks: list[str] = []
        self._log = LimitedLog(logger)
        for item, finished in journal.tasks():
            topic = decode_topic(item.topic)
            self._forgotten_tasks += retained.keep_task(topic, item, finished=finished)
        self._probe()

    def commit(self, now_ms: int) -> tuple[list[Frames], list[Emitter]]:
        """Journal what the intake has gathered.

        Returns the events to publish, in order, and the emitters to whom something can be
        acknowledged. When the journal cannot be written there are none of either.
        """
        intake = self._intake
        runs = intake.runs
        cursors = self._emitters.cursors()
        if not runs and not cursors:
            return [], self._emitters.commit()
        published, tasks = self._stamp(runs, now_ms)
        batch = Batch(
            runs={
                stream: Run(
                    self._journal.streams[stream].tip + 1,
                    now_ms,
                    [(taken.frame, taken.header, taken.payload) for taken in run],
                )
                for stream, run in runs.items()
            },
            cursors=cursors,
            tasks=[
                *(TaskChange(topic, None, False) for topic in self._forgotten_tasks),
                *(TaskChange(topic, *state) for topic, state in tasks.items()),
            ],
        )
        try:
            self._journal.append(batch)
        except JournalUnavailable as error:
            self._stop_journaling(error)
            self._emitters.roll_back()
            intake.count_lost_batch()
            return [], []
        self._forgotten_tasks.clear()
        for stream, run in runs.items():
            self._stats.relayed[stream] += len(run)
        for topic, (item, finished) in tasks.items():
            parsed = decode_topic(topic.encode())
            self._forgotten_tasks += self._retained.keep_task(parsed, item, finished=finished)
        # One that was forgotten for another of this batch may have been in it as well.
        self._forgotten_tasks = [
            topic
            for topic in self._forgotten_tasks
            if topic not in tasks or self._retained.item(topic) is None
        ]
        self._retire(now_ms)
        return published, self._emitters.commit()

    def maintain(self, now_ms: int) -> None:
        """Retire what is too old, and try again to write if that has failed. Once a heartbeat."""
        self._retire(now_ms)
        if not self._intake.journaling and self._probe():
            self._intake.journaling = True
            logger.warning("the journal can be written again")

    def forget_silent_emitters(self, now_ms: int, is_connected: Callable[[Emitter], bool]) -> None:
        """Drop the cursors of emitters that are gone for good. Once in a while."""
        try:
            silent = self._journal.forget_silent_emitters(now_ms // 1000)
        except JournalUnavailable as error:
            self._stop_journaling(error)
        else:
            self._emitters.forget(silent, is_connected)

    def _probe(self) -> bool:
        try:
            self._journal.probe()
        except JournalUnavailable as error:
            self._stop_journaling(error)
            return False
        return True

    def _stamp(
        self, runs: dict[str, list[Taken]], now_ms: int
    ) -> tuple[list[Frames], dict[str, tuple[Item, bool]]]:
        """Return the frames to publish, and the latest state of each task among them."""
        published: list[Frames] = []
        tasks: dict[str, tuple[Item, bool]] = {}
        epoch = self._journal.epoch
        for stream, run in runs.items():
            first = self._journal.streams[stream].tip + 1
            stamps = pack_stamps(epoch, range(first, first + len(run)), now_ms)
            frames = [
                (taken.frame, stamp, taken.payload)
                for taken, stamp in zip(run, stamps, strict=True)
            ]
            published += frames
            if stream == TASK:
                for taken, item in zip(run, frames, strict=True):
                    topic = taken.topic.text
                    tasks.pop(topic, None)
                    tasks[topic] = (Item(*item), is_finished_task(taken.envelope))
        return published, tasks

    def _retire(self, now_ms: int) -> None:
        try:
            self._journal.retire(self._limits, now_ms)
        except JournalUnavailable as error:
            self._stop_journaling(error)

    def _stop_journaling(self, error: JournalUnavailable) -> None:
        self._intake.journaling = False
        self._log.error("journal", "no event of a stream is taken: %s", error)
