"""`ConnectionCatchUp`: sends one connection the events that it missed (protocol section 7).

The order of replayed events is decided here: stream by stream, each in the order of its offsets.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from itertools import islice
from typing import NamedTuple

from edge.core.catch_up.last_events import LastEventsSearch
from edge.core.catch_up.selection import PendingSubscription, Selection
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import may_receive
from edge.core.protocol import messages
from edge.core.streams.record import Record, lost_run
from edge.core.streams.streams import Stream, Streams

STEP_BYTES = 64 * 1024
"""Bytes of frames that one step hands to the connection, unless a single frame is larger."""
STEP_RECORDS = 512
"""Records that one step looks at before other clients have their turn."""
STEP_COMPARISONS = 2048
"""Subscriptions that match a new topic, compared before the step ends."""


class CatchUpState(Enum):
    """States of one catch-up; `ConnectionCatchUp._update_state` is the table of transitions."""

    SEARCHING = auto()
    """Looks for the offsets where the events requested with `last` begin."""
    REPLAYING = auto()
    """Sends the events between the client's offsets and the heads of the streams."""
    AWAITING_STREAMS = auto()
    """Everything is sent; the client claims offsets beyond the heads, from an edge further on.

    It must not go live: this edge would send it events that it has, a second time."""
    COMPLETE = auto()
    """Every stream is at its head: the connection goes live in this very turn."""
    ABANDONED = auto()
    """A new epoch began: the client's offsets mean nothing any more."""

    @property
    def is_final(self) -> bool:
        """Whether the catch-up has ended."""
        return self in (CatchUpState.COMPLETE, CatchUpState.ABANDONED)


class JournalRange(NamedTuple):
    """Records that have to be read from the relay's journal."""

    stream: str
    after: int
    limit: int


class ReplayFailed(Exception):  # noqa: N818 - the name says what it is at every call site
    """The relay does not replay records that its journal should hold; the text says why."""


class StepResult(NamedTuple):
    """The result of one step."""

    state: CatchUpState
    deliveries: int = 0
    """Events that were handed to the connection."""
    missing: JournalRange | None = None
    """The next step needs a part of these records, from the beginning of the range."""
    looked_at: int = 0
    """Records that were looked at, or as much other work."""
    sent_bytes: int = 0
    """Bytes of frames that were handed to the connection."""


class _Allowance:
    """The remaining allowance of the current step."""

    __slots__ = ("bytes", "comparisons", "deliveries", "records")

    def __init__(self, compared: int) -> None:
        """`compared` is the number of comparisons before the step."""
        self.comparisons = compared + STEP_COMPARISONS
        """The number of comparisons at which the step ends."""
        self.bytes = STEP_BYTES
        self.records = STEP_RECORDS
        self.deliveries = 0

    @property
    def is_spent(self) -> bool:
        """Whether the step must end."""
        return self.bytes <= 0 or self.records <= 0


class ConnectionCatchUp:
    """Brings one connection from its offsets to the heads of the streams, in bounded steps."""

    def __init__(
        self,
        connection: Connection,
        manager: ConnectionManager,
        streams: Streams,
        selection: Selection,
        on_end: Callable[["ConnectionCatchUp"], None],
    ) -> None:
        """The offsets in `selection` are of the present epoch. The last step calls `on_end`."""
        self._connection = connection
        self._manager = manager
        self._streams = streams
        self._epoch = streams.epoch
        self._selection = selection
        self._on_end = on_end
        self._searches = [
            (pending, self._search_for(pending, stream)) for pending, stream in selection.searches()
        ]
        """The searches that are not complete, each with its subscription."""
        self._positions: dict[str, int]
        """Stream to the last offset that is dealt with."""
        self._claimed: dict[str, int]
        """Stream to the highest offset that the client claims to have."""
        self._positions, self._claimed = selection.offsets()
        self._gaps: dict[str, int] = {}
        """Stream to the last offset that was lost."""
        must_search = self._searches and selection.is_active
        self.state = CatchUpState.SEARCHING if must_search else CatchUpState.REPLAYING
        self._update_state()

    def step(self, records: Sequence[Record] = ()) -> StepResult:
        """Send the next records; `records` are those that the step before was missing.

        The last step also lets the connection go live. Both happen in one turn: an event that
        arrived in between would be neither replayed nor sent live.
        """
        self._update_state()
        allowance, missing = _Allowance(self._selection.comparisons), None
        match self.state:
            case CatchUpState.SEARCHING:
                missing = self._search(records, allowance)
            case CatchUpState.REPLAYING:
                missing = self._replay(records, allowance)
            case _:
                pass
        self._update_state()
        if self.state.is_final:
            self._on_end(self)
        looked_at, sent_bytes = STEP_RECORDS - allowance.records, STEP_BYTES - allowance.bytes
        return StepResult(self.state, allowance.deliveries, missing, looked_at, sent_bytes)

    @property
    def has_reached_claims(self) -> bool:
        """Whether everything that exists after the client's claims was sent, with gaps named."""
        return self.state is CatchUpState.COMPLETE and not self._searches

    def has_recovered(self, pending: PendingSubscription) -> bool:
        """Whether `pending` was sent every event that it asked for."""
        if self.state is not CatchUpState.COMPLETE or self._searches:
            return False
        if pending.is_withdrawn or not pending.recovered:
            return False
        return all(self._gaps.get(stream, 0) <= since for stream, since in pending.since.items())

    def _update_state(self) -> None:
        """Enter the state that follows from the work done: the only place where it changes."""
        match self.state:
            case CatchUpState.COMPLETE | CatchUpState.ABANDONED:
                pass
            case _ if self._streams.epoch != self._epoch:
                self.state = CatchUpState.ABANDONED
            case CatchUpState.SEARCHING if self._searches:
                pass
            case CatchUpState.SEARCHING:
                self.state = CatchUpState.REPLAYING
            case _ if not self._selection.is_active:
                # The client has unsubscribed from everything that was pending.
                self.state = CatchUpState.COMPLETE
            case _ if self._is_behind:
                self.state = CatchUpState.REPLAYING
            case _ if self._is_ahead:
                self.state = CatchUpState.AWAITING_STREAMS
            case _:
                self.state = CatchUpState.COMPLETE

    @property
    def _is_behind(self) -> bool:
        """Whether a stream has records that are not dealt with."""
        return any(
            position < stream.history.head
            for name, position in self._positions.items()
            if (stream := self._streams.get(name)) is not None
        )

    @property
    def _is_ahead(self) -> bool:
        """Whether the client claims offsets beyond a head that may still reach them."""
        return any(
            stream.history.head < claimed
            for name, claimed in self._claimed.items()
            if (stream := self._streams.get(name)) is not None
        )

    def _search_for(self, pending: PendingSubscription, name: str) -> LastEventsSearch:
        stream = self._streams.get(name)
        count = pending.request.last
        assert stream is not None
        assert count is not None
        return LastEventsSearch(stream, count, partial(self._matches, pending))

    def _matches(self, pending: PendingSubscription, record: Record) -> bool:
        """Whether `record` counts among the newest events that `pending` asks for."""
        topic = record.topic.text
        return (
            pending.selects(topic)
            and self._streams.serves(topic)
            and bool(record.read(self._streams.unreadable))
            and may_receive(self._connection.identity, record.addressed_to)
        )

    def _search(self, replayed: Sequence[Record], allowance: _Allowance) -> JournalRange | None:
        """Continue the first search; return the records that it misses."""
        pending, search = self._searches[0]
        stream, history = search.stream, search.stream.history
        if self._streams.get(stream.kind) is not stream:
            # A restarted relay no longer journals it, and would answer no question about it.
            del self._searches[0]
            return None
        while not search.is_complete:
            if allowance.is_spent:
                return None
            records = records_after(stream, search.position, replayed)
            if records is not None:
                allowance.records -= search.look_at(records)
            elif history.is_gone(search.position):
                search.skip_lost()
            else:
                return JournalRange(stream.kind, *history.missing(search.position))
        self._selection.set_newest(pending, stream.kind, search.since, search.until)
        self._positions, self._claimed = self._selection.offsets()
        del self._searches[0]
        return None

    def _replay(self, replayed: Sequence[Record], allowance: _Allowance) -> JournalRange | None:
        """Send what one step may; return the missing records."""
        for name in self._positions:
            stream = self._streams.get(name)
            if stream is None:
                continue
            missing = self._replay_stream(stream, replayed, allowance)
            if missing is not None or allowance.is_spent:
                return missing
        return None

    def _replay_stream(
        self, stream: Stream, replayed: Sequence[Record], allowance: _Allowance
    ) -> JournalRange | None:
        """Replay as much of `stream` as the allowance permits; return the missing records."""
        name, history = stream.kind, stream.history
        while (position := self._positions[name]) < history.head and not allowance.is_spent:
            records = records_after(stream, position, replayed)
            if records is not None and (count := lost_run(records)):
                self._positions[name] = self._gaps[name] = records[count - 1].offset
                gap = messages.gap(name, position + 1, self._gaps[name], "damaged")
                self._manager.send_to_client(self._connection, gap)
            elif records is not None:
                self._positions[name] = self._send(records, allowance)
            elif history.is_gone(position):
                last = min(history.first_after(position) - 1, history.head)
                self._positions[name] = self._gaps[name] = last
                gap = messages.gap(name, position + 1, last)
                self._manager.send_to_client(self._connection, gap)
            else:
                return JournalRange(name, *history.missing(position))
        return None

    def _send(self, records: Sequence[Record], allowance: _Allowance) -> int:
        """Send those of `records` that are for this client; return the last offset dealt with.

        It ends before a record that is lost.
        """
        offset = records[0].offset - 1
        for record in islice(records, allowance.records):
            if record.is_lost:
                break
            if self._selection.wants(record):
                frame = record.read(self._streams.unreadable)
                # Asked for each event: the client's identity may be another one by now.
                if frame and may_receive(self._connection.identity, record.addressed_to):
                    if len(frame) > allowance.bytes and allowance.deliveries:
                        # The next step sends it first. Else a step could hand over 1 MiB more.
                        allowance.bytes = 0
                        break
                    self._manager.forward_to_client(self._connection, frame)
                    allowance.deliveries += 1
                    allowance.bytes -= len(frame)
            offset = record.offset
            allowance.records -= 1
            if self._selection.comparisons >= allowance.comparisons:
                allowance.records = 0
                break
        return offset


def records_after(
    stream: Stream, position: int, replayed: Sequence[Record]
) -> Sequence[Record] | None:
    """Return records that follow `position`, from the history or `replayed`; None if neither has.

    `replayed` counts because the history may have no room to keep what the relay replayed.
    """
    records = stream.history.after(position)
    if records is not None or not replayed or replayed[0].topic.kind != stream.kind:
        return records
    run = [record for record in replayed if position < record.offset <= stream.history.head]
    return run if run and run[0].offset == position + 1 else None
