"""A sequencer over a real journal and its thread, as the relay puts them together."""

import threading
from functools import partial
from pathlib import Path

from relay.core.emitters import KnownEmitter
from relay.core.retention import Limits
from relay.journal.journal import Journal
from relay.journal.replayer import PublishedJournal
from relay.journal.writer import JournalWriter, WriteOutcome
from relay.sequencer import Committed, Sequencer
from relay.state import SharedState
from relay.wire.header import StampedFrames
from tests.relay.journal.journals import SetClock, reopened

STREAMS = ("event", "task")
UNLIMITED = Limits(2**60, 2**60)
DEADLINE_S = 20.0


class Sequencing:
    """The parts; `clock` is the time that the writer's thread sees."""

    def __init__(self, path: Path, limits: Limits = UNLIMITED, task_grace_s: float = 30.0) -> None:
        self.clock = SetClock()
        self.journal = Journal(path, STREAMS, power_safe=False)
        self.writer = JournalWriter(self.journal, limits, self.clock, partial(reopened, path))
        self.published = PublishedJournal(path, self.journal.state, self.writer.begin_epoch)
        self.state = SharedState.of(self.published, self.journal.cursors(), task_grace_s)
        self.sequencer = Sequencer(self.state, self.writer)
        self.sequencer.remember(self.journal.tasks(), self.journal.once())

    def settle(self) -> Committed:
        """Wait until the writer has done all its work; return what was journaled."""
        done = threading.Event()

        def barrier() -> WriteOutcome:
            done.set()
            return WriteOutcome(self.journal.state)

        self.writer._hand_over(barrier)
        assert done.wait(DEADLINE_S), "the writer stands still"
        events: list[StampedFrames] = []
        emitters: list[KnownEmitter] = []
        # All outcomes but that of the barrier have been reported when it is passed.
        committed = self.sequencer.collect(lambda _: False)
        events += committed.events
        emitters += committed.emitters
        return Committed(events, emitters)

    def commit(self) -> Committed:
        """Hand the gathered events over, and wait for the outcome."""
        at_once = self.sequencer.hand_over(self.clock.now)
        events, emitters = self.settle()
        return Committed(events, [*at_once, *emitters])

    def close(self) -> None:
        """End the thread and close the journal."""
        self.published.close()
        self.writer.close()
