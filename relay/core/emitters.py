"""The known emitters, and how far the relay has come with the events of each.

An emitter is known by its id, which is that of a process or of a spool. One live process at a time
uses it, under an epoch of its own, and numbers its events 1, 2, 3… The relay takes each number once
and in order (protocol section 5).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from typing import Any, Literal, NamedTuple

from relay.shared.last_use import LastUse
from relay.wire.header import Header

MAX_KNOWN_EMITTERS = 20_000
"""Above it, an emitter without a cursor in the journal is dropped for each new one. Nothing is
lost: it says hello again when its events stay unacknowledged."""
NO_SEQUENCE = -1
"""Differs from every sequence number."""


class Cursor(NamedTuple):
    """The last event of one emitter that the journal has."""

    emitter_id: bytes
    name: str
    epoch: int
    sequence: int


class SequenceVerdict(Enum):
    """The answer to an event, by the sequence number in its header."""

    TAKE = auto()
    """It is the next one."""
    DUPLICATE = auto()
    """It was taken before."""
    OUT_OF_SEQUENCE = auto()
    """An event before it is missing. The emitter sends both again."""
    NOT_ADMITTED = auto()
    """Its emitter has not said hello, or its hello was refused."""


class Refusal(Exception):  # noqa: N818 - clear without a suffix
    """An emitter that is not admitted; `code` is one of the error codes of `hello`."""

    def __init__(self, code: Literal["stale_epoch", "emitter_in_use"], text: str) -> None:
        super().__init__(text)
        self.code: Literal["stale_epoch", "emitter_in_use"] = code


class KnownEmitter:
    """One emitter as the relay knows it."""

    def __init__(self, cursor: Cursor, *, is_journaled: bool) -> None:
        self.emitter_id, self.name, self.epoch, self.sequence = cursor
        self.committed = cursor.sequence
        """The last sequence number in the journal; `sequence` is the last one taken."""
        self.handed_over = cursor.sequence
        """The last sequence number that was handed over to be journaled."""
        self.peer: bytes | None = None
        """Its identity on the control socket, None while it is not connected."""
        self.resend_requested_after = NO_SEQUENCE
        """The `sequence` at which a resend was requested last."""
        self.inherited = 0
        """The last sequence number of its epoch that an earlier process has used: the process that
        is connected goes on with a spool. 0 without one."""
        self.process = b""
        """The process that was admitted last, by a number of its own; empty if it gave none."""
        self.drops = 0
        """Another number after each drop of events that it was not asked for. By the number in the
        reply to hello it knows whether to send them again, even if an earlier reply was lost."""
        self.is_journaled = is_journaled
        """Whether the journal has its cursor."""
        self.is_committed = is_journaled
        """Whether the journal has `committed`, which otherwise is only what the emitter says."""
        self.is_epoch_past = False
        """Whether the clock has reached its epoch, so that no process may return behind it."""
        self.taken = 0
        self.refused: dict[SequenceVerdict, int] = {
            verdict: 0 for verdict in SequenceVerdict if verdict is not SequenceVerdict.TAKE
        }
        self.reported: dict[str, int] = {}
        """The counters in its last `account` request."""

    @property
    def may_have_proof(self) -> bool:
        """Whether the relay may prove that `committed` is acknowledged.

        The journal never goes behind such a number, unless it loses events.
        """
        return self.is_committed and self.is_epoch_past

    @property
    def may_be_forgotten(self) -> bool:
        """Whether the journal has no event of it, and gets none with a batch on its way.

        Otherwise a duplicate would be taken as a new event.
        """
        return not self.is_journaled and self.sequence == self.committed

    def start_at(self, epoch: int, sequence: int) -> None:
        """Continue after `sequence` of `epoch`."""
        self.epoch = epoch
        self.sequence = self.handed_over = self.committed = sequence
        self.is_committed = False
        self.resend_requested_after = NO_SEQUENCE

    def progress(self) -> "Progress":
        """Return how far it has come since events were handed over last."""
        return Progress(self, self.epoch, self.sequence, self.sequence != self.handed_over)

    def as_dict(self) -> dict[str, Any]:
        """Return its entry in the reply to `stats`."""
        return {
            "name": self.name,
            "epoch": self.epoch,
            "sequence": self.committed,
            "taken": self.taken,
            **{verdict.name.lower(): count for verdict, count in self.refused.items()},
            "reported": self.reported,
        }


class Progress(NamedTuple):
    """How far one batch takes an emitter's events."""

    emitter: KnownEmitter
    epoch: int
    sequence: int
    has_moved: bool
    """False if only events came that had come before."""


MAX_EPOCH = 2**63 - 1
"""The greatest epoch that is handed out: SQLite's greatest integer, for spools."""

Reach = Callable[[KnownEmitter], bool]
"""Sends an acknowledgement to the emitter; returns whether it is still connected."""


class KnownEmitters:
    """Admits emitters, checks the sequence numbers of their events, and tracks which to notify.

    Each event that was taken becomes final with `commit`, or is undone by `roll_back`.
    """

    def __init__(self, cursors: Iterable[Cursor]) -> None:
        journaled = (KnownEmitter(cursor, is_journaled=True) for cursor in cursors)
        self._known = {emitter.emitter_id: emitter for emitter in journaled}
        self._unjournaled: LastUse[KnownEmitter] = LastUse()
        """Those that the journal has no cursor of, by their last hello."""
        self._touched: set[KnownEmitter] = set()
        """Emitters of events that were taken, or came again, since the last batch."""
        self._replaced: list[Progress] = []
        """Of processes that were replaced since the last batch, in which their last events are."""
        self._missing_events: dict[KnownEmitter, None] = {}
        """Emitters that have to be asked for a resend, in order."""
        self._dropped: set[KnownEmitter] = set()
        """Emitters of events that were dropped because the journal could not be written."""
        self._drop_numbers = itertools.count(1)
        self.lost_by_rollback = 0
        """Events that were acknowledged and are not in the journal: lost in a power cut."""

    def __iter__(self) -> Iterator[KnownEmitter]:
        return iter(self._known.values())

    def get(self, emitter_id: bytes) -> KnownEmitter | None:
        """Return the emitter with that id."""
        return self._known.get(emitter_id)

    def hand_out_epoch(
        self, emitter_id: bytes, name: str, process: bytes, fresh: int, reach: Reach
    ) -> int:
        """Return the epoch of a process that has none: above every epoch known of its id.

        The same process gets the same one again. `fresh` is an epoch that was never handed out.
        Raises `Refusal` if another process under its id is still connected.
        """
        emitter = self._known.get(emitter_id)
        if emitter is None:
            return fresh
        if process and emitter.process == process:
            return emitter.epoch
        if emitter.peer is not None and reach(emitter):
            raise _in_use(name)
        # Clocks may be set back, so that a later process may come with a lower number.
        if (epoch := max(fresh, emitter.epoch + 1)) > MAX_EPOCH:
            # No relay has handed that one out; its process is gone.
            epoch = fresh
            self._keep_last(emitter.progress())
            emitter.start_at(epoch, 0)
        return epoch

    def admit(
        self,
        cursor: Cursor,
        peer: bytes,
        reach: Reach,
        *,
        process: bytes = b"",
        latest: int = 2**64,
    ) -> int:
        """Admit the emitter at `peer`, which says that `cursor.sequence` is acknowledged.

        Returns the last sequence number of its epoch that the journal has, or the emitter's own if
        that is above: it has dropped the events up to it, so that requesting them would stop it for
        ever. Raises `Refusal` if a newer process was admitted under its id, or if another process
        under its id is still connected. An epoch above `latest` is of a process whose clock was
        wrong: once that process is gone, it keeps no other out that has a clock of its own.
        """
        emitter = self._known.get(cursor.emitter_id)
        if emitter is None:
            emitter = self._know(cursor)
        elif cursor.epoch != emitter.epoch:
            last = emitter.progress()
            _replace(emitter, cursor, reach, 2**64 if process else latest)
            self._keep_last(last)
        elif _is_anothers(emitter, peer, process) and reach(emitter):
            # A copy of a spool has the same epoch, and would give other events the same numbers.
            raise _in_use(cursor.name)
        elif cursor.sequence > emitter.committed:
            self._keep_last(emitter.progress())
            emitter.start_at(cursor.epoch, cursor.sequence)
        if emitter.peer != peer:
            # On an unbroken connection, the events that were requested are still on their way.
            emitter.resend_requested_after = NO_SEQUENCE
        emitter.peer = peer
        emitter.process = process
        emitter.name = cursor.name
        emitter.is_epoch_past = cursor.epoch <= latest
        if not emitter.is_journaled:
            self._unjournaled.use(emitter)
        return emitter.committed

    def note_rollback(self, emitter: KnownEmitter, missing: int) -> None:
        """Count the `missing` events as lost, and have the next batch journal its cursor.

        Otherwise the next process of the relay would find once more that the journal lacks them.
        """
        self.lost_by_rollback += missing
        self.keep_cursor(emitter)

    def journal_was_replaced(self) -> None:
        """Note that what was committed is in no journal any more."""
        for emitter in self:
            emitter.is_committed = False

    def note_dropped(self, header: Header) -> None:
        """Note that an event was dropped, although it may be the next one."""
        emitter = self._known.get(header.emitter_id)
        if emitter is not None and emitter.epoch == header.epoch:
            self._note_drop(emitter)

    def note_unasked(self, emitter: KnownEmitter) -> None:
        """Note that a request to send again did not reach `emitter`."""
        emitter.drops = next(self._drop_numbers)

    def request_dropped(self) -> None:
        """Have the emitters of dropped events asked to send them again."""
        for emitter in self._dropped:
            emitter.resend_requested_after = emitter.sequence
            self._missing_events[emitter] = None
        self._dropped.clear()

    def advance(self, header: Header) -> SequenceVerdict:
        """Take the event with `header` if it is its emitter's next one."""
        emitter = self._known.get(header.emitter_id)
        if emitter is None:
            return SequenceVerdict.NOT_ADMITTED
        if header.epoch != emitter.epoch:
            verdict = SequenceVerdict.NOT_ADMITTED
        elif header.sequence == emitter.sequence + 1:
            emitter.sequence += 1
            emitter.taken += 1
            self._touched.add(emitter)
            return SequenceVerdict.TAKE
        elif header.sequence <= emitter.sequence:
            # It is acknowledged again: its emitter has missed the first acknowledgement.
            verdict = SequenceVerdict.DUPLICATE
            self._touched.add(emitter)
        else:
            verdict = SequenceVerdict.OUT_OF_SEQUENCE
            # One request for each gap: all events behind the gap are out of sequence as well.
            if emitter.resend_requested_after != emitter.sequence:
                emitter.resend_requested_after = emitter.sequence
                self._missing_events[emitter] = None
        emitter.refused[verdict] += 1
        return verdict

    def keep_cursor(self, emitter: KnownEmitter) -> None:
        """Have the next batch journal the cursor of `emitter`, which no event has moved."""
        emitter.handed_over = NO_SEQUENCE
        self._touched.add(emitter)

    def take_progress(self) -> list[Progress]:
        """Return how far the emitters have come, for the batch that now goes to the journal."""
        # In this order: of one emitter, the newest process comes last.
        progress = [*self._replaced, *(each.progress() for each in self._touched)]
        for each in self._touched:
            each.handed_over = each.sequence
        self._replaced.clear()
        self._touched.clear()
        return progress

    def commit(self, progress: Iterable[Progress]) -> list[KnownEmitter]:
        """Note that the journal has a batch; return the emitters to be acknowledged.

        Batches are committed in the order in which they were taken.
        """
        acknowledged = []
        for emitter, epoch, sequence, has_moved in progress:
            # Its successor may have been admitted while the disk was written.
            if emitter.epoch == epoch:
                if has_moved:
                    emitter.committed = sequence
                    emitter.is_journaled = emitter.is_committed = True
                    self._unjournaled.discard(emitter)
                acknowledged.append(emitter)
        return acknowledged

    def roll_back(self, progress: Iterable[Progress]) -> None:
        """Undo the taken events of all batches without a commit, and those taken since.

        They are not in the journal: their emitters send them again.
        """
        for emitter in {*(each.emitter for each in progress), *self._touched}:
            emitter.taken -= emitter.sequence - emitter.committed
            emitter.sequence = emitter.handed_over = emitter.committed
            emitter.resend_requested_after = NO_SEQUENCE
            self._note_drop(emitter)
        self._replaced.clear()
        self._touched.clear()

    def take_missing_events(self) -> list[KnownEmitter]:
        """Return each emitter whose events after `committed` are missing, once."""
        emitters = list(self._missing_events)
        self._missing_events.clear()
        return emitters

    def forget(self, silent: Iterable[bytes], reach: Reach) -> None:
        """Drop the emitters that the journal has no cursor of and that are not connected.

        `silent` are the ids whose cursors the journal has just removed.
        """
        for emitter_id in silent:
            if (emitter := self._known.get(emitter_id)) is not None:
                emitter.is_journaled = False
                self._unjournaled.use(emitter)
        for emitter in tuple(self._unjournaled):
            if emitter.may_be_forgotten and not reach(emitter):
                self._forget(emitter)

    def _know(self, cursor: Cursor) -> KnownEmitter:
        is_full = len(self._known) >= MAX_KNOWN_EMITTERS
        # The journal bounds the number of cursors. One with events on their way there stays.
        if is_full and (oldest := self._unjournaled.oldest(lambda each: each.may_be_forgotten)):
            self._forget(oldest)
        emitter = KnownEmitter(cursor, is_journaled=False)
        # It may have been known and forgotten, and have sent events since.
        emitter.drops = next(self._drop_numbers)
        self._known[cursor.emitter_id] = emitter
        return emitter

    def _keep_last(self, progress: Progress) -> None:
        """Have the next batch journal the cursor that its events have moved."""
        if progress.has_moved:
            self._replaced.append(progress)

    def _note_drop(self, emitter: KnownEmitter) -> None:
        emitter.drops = next(self._drop_numbers)
        self._dropped.add(emitter)

    def _forget(self, emitter: KnownEmitter) -> None:
        del self._known[emitter.emitter_id]
        self._unjournaled.discard(emitter)
        self._dropped.discard(emitter)


def _in_use(name: str) -> Refusal:
    return Refusal("emitter_in_use", f"another live process has the spool of {name!r}")


def _is_anothers(emitter: KnownEmitter, peer: bytes, process: bytes) -> bool:
    """Whether another process than `process`, at `peer`, was admitted last."""
    return emitter.peer not in (None, peer) and emitter.process not in (b"", process)


def _replace(emitter: KnownEmitter, cursor: Cursor, reach: Reach, latest: int) -> None:
    """Let the process of `cursor` follow the one that `emitter` was, or raise `Refusal`."""
    # That process, and not this one, is reached: it may have ended unnoticed.
    is_connected = emitter.peer is not None and reach(emitter)
    if cursor.epoch > emitter.epoch:
        if is_connected:
            raise _in_use(cursor.name)
    elif is_connected or emitter.epoch <= latest:
        raise Refusal("stale_epoch", f"a newer process has taken over the spool of {cursor.name!r}")
    emitter.start_at(cursor.epoch, cursor.sequence)
