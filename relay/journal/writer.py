"""`JournalWriter`: writes the journal in its own thread, so that a slow disk stops nobody else.

The relay's loop hands work over and collects the outcomes, in the same order. Only this thread uses
the `Journal`; the loop reads by a `PublishedJournal`.
"""

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from relay.core.retention import Limits
from relay.journal.batch import JournalBatch
from relay.journal.file import JournalRefused
from relay.journal.journal import Journal, JournalUnavailable
from relay.journal.state import NEVER_MS, JournalState
from relay.journal.tail_note import TailNote
from relay.shared.logs import LimitedLog

SLOW_COMMIT_S = 1.0

logger = logging.getLogger(__name__)


class WriteOutcome(NamedTuple):
    """The result of some work."""

    state: JournalState
    """Afterwards."""
    committed: int = 0
    """So many batches, the oldest that were handed over and have no outcome yet."""
    error: JournalUnavailable | None = None
    """The journal cannot be written: every batch without an outcome was given up."""
    is_writable: bool = False
    """The journal can be written again after an error."""
    forgotten: Sequence[bytes] | None = None
    """Ids of emitters whose cursors were removed, if that was the work."""


class Clock(Protocol):
    """The time, for stamps and retention."""

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""

    def may_judge_age(self) -> bool:
        """Whether the clock is sure enough to remove what is old by it."""


_Work = Callable[[], WriteOutcome]


class JournalWriter:
    """Does one thing after the other with `journal`, until `close`.

    `readable` can be polled: it is readable while outcomes wait.
    """

    def __init__(
        self,
        journal: Journal,
        limits: Limits,
        clock: Clock,
        reopen: Callable[[TailNote], Journal],
    ) -> None:
        """`reopen` opens the journal anew after its file was lost, or begins a new one."""
        self._journal = journal
        self._limits = limits
        self._clock = clock
        self._reopen = reopen
        self.readable, self._wake_writer = socket.socketpair()
        self.readable.setblocking(False)
        self._wake_writer.setblocking(False)
        self._changed = threading.Condition()
        """Guards all of the following."""
        self._work: deque[JournalBatch | _Work] = deque()
        self._outcomes: deque[WriteOutcome] = deque()
        self._has_failed = False
        """The journal could not be written when that was tried last."""
        self._gives_up = False
        """Batches are given up. They count on the one that failed until the loop knows of it."""
        self._is_closing = False
        self._log = LimitedLog(logger)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def append(self, batch: JournalBatch) -> None:
        """Commit `batch` soon, in one transaction with others that wait."""
        self._hand_over(batch)

    def maintain(self) -> None:
        """Remove old events; after an error, find out whether the journal can be written again."""
        with self._changed:
            if self._maintain in self._work:
                return  # A disk that is slower than heartbeats come: one is enough.
        self._hand_over(self._maintain)

    def forget_silent_emitters(self) -> None:
        """Remove the cursors of emitters that are gone for good."""
        self._hand_over(self._forget_silent_emitters)

    def begin_epoch(self, reason: str) -> JournalState:
        """Begin a new epoch after all that was handed over, and wait for it."""
        done = threading.Event()

        def work() -> WriteOutcome:
            try:
                self._journal.begin_epoch(reason)
                return WriteOutcome(self._state)
            finally:
                done.set()

        self._hand_over(work)
        done.wait()
        return self._state

    def outcomes(self) -> list[WriteOutcome]:
        """Return the outcomes since the last call."""
        with self._changed:
            if self._outcomes:
                self.readable.recv(4096)
            found = list(self._outcomes)
            self._outcomes.clear()
            self._gives_up = self._has_failed
        return found

    def close(self) -> None:
        """Do the work that was handed over, and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        self._journal.close()
        self.readable.close()
        self._wake_writer.close()

    @property
    def _state(self) -> JournalState:
        return self._journal.state

    def _hand_over(self, work: JournalBatch | _Work) -> None:
        with self._changed:
            if self._gives_up and isinstance(work, JournalBatch):
                # The outcome that says so is on its way, and counts for this batch as well.
                return
            self._work.append(work)
            self._changed.notify()

    def _run(self) -> None:
        while (work := self._take_work()) is not None:
            try:
                self._do(work)
            except JournalUnavailable as error:
                self._fail(error)
            except Exception as error:
                # A fault of ours; without this thread the relay could only end.
                logger.exception("the journal could not be written")
                self._fail(JournalUnavailable(f"internal error: {error}"))

    def _take_work(self) -> list[JournalBatch] | _Work | None:
        """Wait for work: all batches up to other work, or other work; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._work or self._is_closing)
            if not self._work:
                return None
            batches: list[JournalBatch] = []
            while self._work and isinstance(self._work[0], JournalBatch):
                batches.append(self._work.popleft())  # type: ignore[arg-type]
            return batches or self._work.popleft()  # type: ignore[return-value]

    def _do(self, work: list[JournalBatch] | _Work) -> None:
        if not isinstance(work, list):
            self._report(work())
            return
        began = time.monotonic()
        self._journal.append(*work)
        if (took_s := time.monotonic() - began) > SLOW_COMMIT_S:
            self._log.warning("slow", "the disk is slow: a commit took %.1f s", took_s)
        self._report(WriteOutcome(self._state, committed=len(work)))
        # A little with each batch, after the outcome: removing much at once would keep events
        # waiting.
        if self._retire():
            self._report(WriteOutcome(self._state))

    def _forget_silent_emitters(self) -> WriteOutcome:
        if not self._clock.may_judge_age():
            return WriteOutcome(self._state)
        forgotten = self._journal.forget_silent_emitters(self._clock.now_ms() // 1000)
        return WriteOutcome(self._state, forgotten=forgotten)

    def _maintain(self) -> WriteOutcome:
        if not self._has_failed:
            self._journal.check_place()
            self._retire()
            self._journal.bound_wal()
            return WriteOutcome(self._state)
        if not self._journal.has_its_tail():
            self._replace_journal()
        self._journal.probe()
        with self._changed:
            self._has_failed = False
        return WriteOutcome(self._state, is_writable=True)

    def _retire(self) -> bool:
        limits = self._limits
        if not self._clock.may_judge_age():
            limits = limits.with_age(NEVER_MS)
        return self._journal.retire(limits, self._clock.now_ms())

    def _replace_journal(self) -> None:
        """Continue with the file that is at the journal's place now, under a new epoch."""
        noted = self._journal.note
        # Closed first: SQLite removes the files beside it by their names.
        self._journal.close()
        try:
            self._journal = self._reopen(noted)
        except JournalRefused as error:
            raise JournalUnavailable(str(error)) from None

    def _fail(self, error: JournalUnavailable) -> None:
        with self._changed:
            self._has_failed = self._gives_up = True
            # Batches that waited assumed the offsets of the one that failed.
            others = [work for work in self._work if not isinstance(work, JournalBatch)]
            self._work = deque(others)
        self._report(WriteOutcome(self._state, error=error))

    def _report(self, outcome: WriteOutcome) -> None:
        with self._changed:
            self._outcomes.append(outcome)
            if len(self._outcomes) == 1:
                self._wake_writer.send(b"\0")
